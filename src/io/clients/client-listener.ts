/**
 * The client port: accepts connections, answers requests for encryption, and turns a startup packet into a
 * session.
 * Rule: until it has logged in, a connection costs a socket and at most a startup packet of memory, and it
 * has a deadline.
 */
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { errorResponse } from '../../core/wire/messages.ts';
import type { ErrorText } from '../../core/wire/messages.ts';
import { readStartupPacket } from '../../core/wire/startup-packet.ts';
import { startupRefusal, startupSettings } from '../../core/session/startup-settings.ts';
import { protocol30 } from '../../core/wire/codes.ts';
import { GatewayError } from '../../lib/gateway-error.ts';
import { ClientSession } from './client-session.ts';
import type { SessionServices } from './session-services.ts';

/** PostgreSQL's default authentication_timeout. */
const loginTimeoutMs = 60_000;
const refusal = Uint8Array.of(0x4e);

/** Who takes care of a new connection; an error: nobody does, and this is why. */
export type Reception = SessionServices | ErrorText;

export interface ReceptionDesk {
  /** Asked for each connection, when its startup packet has come. */
  reception(database: string): Reception;
  /** Passes a cancel request on to the session that it fits. */
  cancel(processId: number, key: Uint8Array): void;
}

export class ClientListener {
  readonly #server: Server;
  readonly #desk: ReceptionDesk;

  constructor(desk: ReceptionDesk) {
    this.#desk = desk;
    this.#server = createServer({
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: 30_000,
      pauseOnConnect: true,
    });
    this.#server.on('connection', (socket) => this.#accept(socket));
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

  #accept(socket: Socket): void {
    let received: Uint8Array = new Uint8Array(0);
    const deadline = setTimeout(() => socket.destroy(), loginTimeoutMs);
    deadline.unref();
    const give = (): void => {
      clearTimeout(deadline);
      socket.removeListener('data', onData);
      socket.removeListener('error', onError);
      socket.pause();
    };
    const onError = (): void => void socket.destroy();
    const onData = (chunk: Uint8Array): void => {
      received = received.length === 0 ? chunk : concatenated(received, chunk);
      const done = this.#read(socket, received, give);
      received = received.subarray(done);
    };
    socket.on('close', () => clearTimeout(deadline));
    socket.on('error', onError);
    socket.on('data', onData);
    socket.resume();
  }

  /** Returns how many bytes are done with. */
  #read(socket: Socket, received: Uint8Array, give: () => void): number {
    const packet = readStartupPacket(received);
    switch (packet.kind) {
      case 'incomplete':
        return 0;
      case 'violation':
        give();
        end(socket, { severity: 'FATAL', sqlstate: '08P01', message: packet.reason });
        return 0;
      case 'ssl-request':
      case 'gss-request':
        if (received.length > packet.bytes) {
          // Bytes that came in the clear behind a request for encryption may be somebody else's
          // (CVE-2021-23214).
          give();
          const message = 'received unencrypted data after encryption request';
          end(socket, { severity: 'FATAL', sqlstate: '08P01', message });
          return 0;
        }
        socket.write(refusal);
        return packet.bytes;
      case 'cancel':
        give();
        this.#desk.cancel(packet.processId, packet.key);
        socket.end();
        return 0;
      case 'startup': {
        give();
        const { parameters } = packet;
        const services = this.#admit(parameters);
        if ('severity' in services) {
          end(socket, services);
          return 0;
        }
        const protocol = packet.major === 3 ? (packet.major << 16) | packet.minor : protocol30;
        new ClientSession(socket, { protocol, parameters, rest: received.slice(packet.bytes) }, services);
        return 0;
      }
    }
  }

  #admit(parameters: ReadonlyMap<string, string>): Reception {
    const user = parameters.get('user') ?? '';
    if (user === '') {
      return {
        severity: 'FATAL',
        sqlstate: '28000',
        message: 'no PostgreSQL user name specified in startup packet',
      };
    }
    const admin = parameters.get('application_name') === 'mtm_admin';
    if (!admin && !/^(?:|false|off|no|0)$/i.test(parameters.get('replication') ?? '')) {
      return {
        severity: 'FATAL',
        sqlstate: '0A000',
        message: '[multimaster] replication connections through the gateway are not supported',
        hint: 'Connect to the PostgreSQL server of one node, or with application_name=mtm_admin.',
      };
    }
    const refused = admin ? undefined : startupRefusal(startupSettings(parameters));
    if (refused !== undefined) return refused;
    const database = parameters.get('database') ?? '';
    const services = this.#desk.reception(database === '' ? user : database);
    return 'severity' in services ? services : (services.admission() ?? services);
  }
}

function concatenated(left: Uint8Array, right: Uint8Array): Uint8Array {
  const joined = new Uint8Array(left.length + right.length);
  joined.set(left);
  joined.set(right, left.length);
  return joined;
}

function end(socket: Socket, error: ErrorText): void {
  socket.on('error', () => socket.destroy());
  socket.end(errorResponse(error));
}
