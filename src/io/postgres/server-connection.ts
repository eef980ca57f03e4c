/**
 * Connections to the local server for client sessions and cancel requests, with TLS where the configuration
 * says so (manual, "SSL Session Encryption").
 * Rule: nothing is said in the clear to a server that should speak TLS.
 */
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { TlsSettings } from '../../config/tls-settings.ts';
import { cancelRequest, sslRequest } from '../../core/wire/messages.ts';
import { tlsOptions } from '../wire/tls-options.ts';
import { serverAddress } from './server-address.ts';

export interface ServerPlace {
  readonly host: string;
  readonly port: number;
  /** Left out: without TLS. */
  readonly tls?: TlsSettings;
}

/** As whom the gateway itself works there, and in which database. */
export interface ServerAddress extends ServerPlace {
  readonly user: string;
  readonly password: string | undefined;
  readonly database: string;
}

/** What `pg` needs to log in. Throws file-unreadable. */
export function pgLogin({ host, port, user, password, database, tls }: ServerAddress) {
  const options = tls === undefined ? undefined : tlsOptions(tls);
  // pg checks a certificate against the host only when that is a name.
  return { host, port, user, password, database, ssl: options === undefined ? false : { ...options, host } };
}

export function usesTls({ tls }: ServerPlace): boolean {
  return tls !== undefined && tls.mode !== 'disable';
}

/** Resolves with an encrypted connection, paused; rejects with why there is none. */
export function connectSecurely(place: ServerPlace, timeoutMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const plain = connect(serverAddress(place.host, place.port));
    const deadline = setTimeout(
      () => plain.destroy(new Error(`no answer within ${timeoutMs} ms`)),
      timeoutMs,
    );
    const fail = (error: Error): void => {
      clearTimeout(deadline);
      reject(error);
      plain.destroy();
    };
    plain.on('error', fail);
    plain.on('close', () => fail(new Error('closed')));
    plain.write(sslRequest);
    plain.once('data', (answer: Buffer) => {
      if (answer.length !== 1 || answer[0] !== 0x53) return fail(new Error(refusalOf(answer)));
      plain.pause();
      const { host } = place;
      let options;
      try {
        options = tlsOptions(place.tls!);
      } catch (error) {
        return fail(error as Error);
      }
      const secure = connectTls({ ...options, socket: plain, host, ALPNProtocols: ['postgresql'] });
      secure.once('error', fail);
      secure.once('secureConnect', () => {
        clearTimeout(deadline);
        plain.removeAllListeners('close').on('error', () => undefined); // the TLS socket tells
        secure.off('error', fail).pause();
        resolve(secure);
      });
    });
  });
}

function refusalOf(answer: Buffer): string {
  if (answer[0] === 0x4e) return 'the server does not offer TLS, which sslmode demands';
  return 'the server did not answer the request for TLS as PostgreSQL does';
}

/**
 * A server that stands still takes the request out of its queue when it goes on, whatever became of the
 * connection: until then the request is on its way.
 */
const cancelLimitMs = 60_000;

/**
 * Sends a CancelRequest; PostgreSQL closes the connection when it has dealt with it. Never rejects: a cancel
 * is a hint. False: it may still come, at any time, and hit whatever runs then.
 */
export async function sendCancel(place: ServerPlace, pid: number, key: Uint8Array): Promise<boolean> {
  const request = cancelRequest(pid, key);
  if (!usesTls(place)) return delivered(connect(serverAddress(place.host, place.port)), request);
  try {
    return await delivered(await connectSecurely(place, cancelLimitMs), request);
  } catch {
    return true; // it was never sent
  }
}

function delivered(socket: Socket, request: Uint8Array): Promise<boolean> {
  return new Promise((resolve) => {
    socket.setTimeout(cancelLimitMs, () => {
      resolve(false);
      socket.destroy();
    });
    socket.on('data', () => undefined);
    socket.on('error', () => resolve(true));
    socket.on('close', () => resolve(true));
    socket.end(request);
  });
}
