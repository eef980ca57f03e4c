/** A link between two gateways that can be cut in silence: no end, no reset, no bytes. */
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { once } from 'node:events';

export class CutRelay {
  readonly #target: number;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #cut = false;

  private constructor(target: number) {
    this.#target = target;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  /** In front of a port of the loopback. */
  static async open(target: number): Promise<CutRelay> {
    const relay = new CutRelay(target);
    relay.#server.listen(0, '127.0.0.1');
    await once(relay.#server, 'listening');
    return relay;
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('the relay is closed');
    return address.port;
  }

  #accept(incoming: Socket): void {
    const outgoing = createConnection(this.#target, '127.0.0.1');
    for (const [from, to] of [
      [incoming, outgoing],
      [outgoing, incoming],
    ] as const) {
      this.#sockets.add(from);
      from.on('data', (bytes) => to.write(bytes));
      // During a cut the end of one side must not be heard by the other.
      const end = (): void => {
        this.#sockets.delete(from);
        if (!this.#cut) to.destroy();
      };
      from.on('close', end).on('error', end).on('end', end);
      if (this.#cut) from.pause();
    }
  }

  cut(): void {
    this.#cut = true;
    for (const socket of this.#sockets) socket.pause();
  }

  /** What was under way is lost; new connections pass. */
  mend(): void {
    this.#cut = false;
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.mend();
    this.#server.close();
  }
}
