/**
 * TLS to clients: after an SSLRequest, or directly (PostgreSQL 17's sslnegotiation=direct, which names the
 * protocol "postgresql" by ALPN).
 * Rule: what is wrong with the files is an error at the start; later files that cannot be read leave the
 * former ones in use, and the log says so. Channel binding ends here: it is never offered (scram-bridge.ts).
 */
import { statSync } from 'node:fs';
import type { Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import type { GatewayConfig } from '../../config/schema.ts';
import { GatewayError } from '../../lib/gateway-error.ts';
import type { ErrorText } from '../../core/wire/messages.ts';
import { readPem } from '../wire/tls-options.ts';
import { socketBelow } from '../wire/tls-server.ts';

type ClientTls = GatewayConfig['clientTls'];

const protocolName = 'postgresql';
/** New files are looked for when a client comes, this often at most, ms. */
const lookMs = 1000;

export interface EncryptionLog {
  warn(fields: object, message: string): void;
}

export class ClientEncryption {
  readonly #settings: ClientTls;
  readonly #log: EncryptionLog;
  readonly #server: Server;
  readonly #waiting = new WeakMap<Socket, (secure: TLSSocket) => void>();
  #files: string;
  #lookedAt = 0;

  /** Undefined: without a certificate there is no TLS. Throws file-unreadable, config-invalid. */
  static of(
    settings: ClientTls,
    log: EncryptionLog,
    handshakeTimeoutMs: number,
  ): ClientEncryption | undefined {
    if (settings.certFile === undefined) return undefined;
    return new ClientEncryption(settings, log, handshakeTimeoutMs);
  }

  private constructor(settings: ClientTls, log: EncryptionLog, handshakeTimeoutMs: number) {
    this.#settings = settings;
    this.#log = log;
    this.#files = this.#fingerprint();
    const withCa = settings.caFile !== undefined;
    try {
      this.#server = createServer({
        ...this.#context(),
        requestCert: withCa,
        rejectUnauthorized: withCa && settings.clientCert !== 'optional',
        ALPNProtocols: [protocolName],
        handshakeTimeout: handshakeTimeoutMs,
      });
    } catch (cause) {
      if (cause instanceof GatewayError) throw cause;
      const message = `the certificate or key of tls cannot be used: ${(cause as Error).message}`;
      throw new GatewayError('config-invalid', message, { cause });
    }
    this.#server.on('secureConnection', (secure) => this.#secured(secure));
    this.#server.on('tlsClientError', (_error, secure) => secure.destroy());
  }

  /** `secured` gets the connection when it is encrypted; one that never is ends by itself. */
  secure(socket: Socket, secured: (secure: TLSSocket) => void): void {
    this.#look();
    this.#waiting.set(socket, secured);
    this.#server.emit('connection', socket);
  }

  #secured(secure: TLSSocket): void {
    const below = socketBelow(secure);
    const secured = below === undefined ? undefined : this.#waiting.get(below);
    // Who shows a certificate shows a good one, as with PostgreSQL.
    const shown = secure.getPeerCertificate().subject !== undefined;
    if (secured === undefined || (shown && !secure.authorized)) secure.destroy();
    else secured(secure);
  }

  /**
   * What the settings have against this client's logging in as `user`; undefined: nothing. `secure`:
   * undefined without TLS.
   */
  refusal(secure: Socket | undefined, user: string): ErrorText | undefined {
    const { clientCert, required } = this.#settings;
    if (secure === undefined && required) {
      const hint = 'Connect with sslmode=require or stronger.';
      return { ...notLetIn('connections without TLS are not accepted'), hint };
    }
    if (clientCert === 'optional') return undefined;
    if (secure === undefined) return notLetIn('a client certificate is needed, and so is TLS');
    if (clientCert === 'required') return undefined; // without one TLS would not be there
    const { subject } = (secure as TLSSocket).getPeerCertificate();
    const name = [subject?.CN ?? ''].flat()[0] ?? '';
    if (name === user || this.#settings.clientUsers.includes(`${name}=${user}`)) return undefined;
    return notLetIn(`certificate authentication failed for user "${user}"`);
  }

  #context() {
    const { certFile = '', keyFile = '', caFile, minVersion } = this.#settings;
    return {
      cert: readPem(certFile, 'tls.cert_file'),
      key: readPem(keyFile, 'tls.key_file'),
      ...(caFile === undefined ? {} : { ca: readPem(caFile, 'tls.client_ca_file') }),
      minVersion,
    } as const;
  }

  #fingerprint(): string {
    const { certFile, keyFile, caFile } = this.#settings;
    return [certFile, keyFile, caFile]
      .map((file) => {
        const stat = file === undefined ? undefined : statSync(file, { throwIfNoEntry: false });
        return stat === undefined ? '' : `${stat.mtimeMs} ${stat.size} ${stat.ino}`;
      })
      .join(';');
  }

  /** A renewed certificate is used from the next client on. */
  #look(): void {
    const now = performance.now();
    if (now - this.#lookedAt < lookMs) return;
    this.#lookedAt = now;
    const files = this.#fingerprint();
    if (files === this.#files) return;
    this.#files = files;
    try {
      this.#server.setSecureContext(this.#context());
    } catch (error) {
      this.#log.warn({ err: error }, 'the new certificate for clients cannot be used: the former one stays');
    }
  }
}

/** A connection that began with TLS must have named the protocol: anything else is no PostgreSQL client. */
export function namedProtocol(secure: TLSSocket): boolean {
  return secure.alpnProtocol === protocolName;
}

function notLetIn(why: string): ErrorText {
  return { severity: 'FATAL', sqlstate: '28000', message: `[multimaster] ${why}` };
}
