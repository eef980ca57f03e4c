/**
 * The client port: what connects is an arrival (arrival.ts) until it is a session.
 * Rule: one stranger too many costs another stranger its place (strangers.ts), never a session.
 */
import { createServer } from 'node:net';
import type { Server } from 'node:net';
import { GatewayError } from '../../lib/gateway-error.ts';
import { Strangers } from '../wire/strangers.ts';
import { Arrival, type ReceptionDesk } from './arrival.ts';

/** Connections that have not asked for a session yet: more than any good crowd, and little memory. */
const maxStrangers = 2000;

export class ClientListener {
  readonly #server: Server;
  readonly #strangers = new Strangers<Arrival>();

  constructor(desk: ReceptionDesk) {
    this.#server = createServer({
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: 30_000,
      pauseOnConnect: true,
    });
    this.#server.on('connection', (socket) => {
      if (this.#strangers.size >= maxStrangers) this.#strangers.oldestOfCrowd?.giveUp();
      const arrival = new Arrival(socket, desk, () => this.#strangers.delete(arrival));
      this.#strangers.add(arrival, socket.remoteAddress);
    });
  }

  /** Connections that have not asked for a session yet. */
  get strangers(): number {
    return this.#strangers.size;
  }

  /** Rejects with a GatewayError `address-in-use` when the port is taken. */
  listen(host: string, port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', (cause: NodeJS.ErrnoException) => {
        const inUse = cause.code === 'EADDRINUSE';
        reject(
          new GatewayError(
            inUse ? 'address-in-use' : 'config-invalid',
            `the client port ${host}:${port} cannot be opened: ` +
              (inUse ? 'another process listens there' : cause.message),
            { cause },
          ),
        );
      });
      this.#server.listen({ host, port, backlog: 1024 }, () => resolve());
    });
  }

  close(): void {
    this.#server.close();
  }
}
