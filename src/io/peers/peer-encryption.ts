/**
 * TLS 1.3 between gateways, keyed by the cluster secret (PSK with a Diffie-Hellman exchange, RFC 8446 §2.2):
 * no certificates, and who has another secret does not get to the handshake (handshake.ts).
 *
 *   off      dials in the clear           accepts both
 *   prefer   dials TLS                    accepts both: while a cluster changes over
 *   remote   dials TLS to other machines  accepts in the clear what comes from this one
 *   on       dials TLS                    accepts TLS only
 *
 * Rule: a connection that is reset must be reset below TLS (`resetAndDestroy`): one that ends in good order
 * says that this process has ended.
 */
import { hkdfSync } from 'node:crypto';
import { connect, createServer, isIP, type Server, type Socket } from 'node:net';
import { connect as connectTls, createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { assert } from '../../lib/assert.ts';
import { Strangers } from '../wire/strangers.ts';
import { socketBelow, tlsHandshakeRecord } from '../wire/tls-server.ts';
import { linkReason, type LinkReason } from './link-reason.ts';

export type PeerTlsMode = 'off' | 'prefer' | 'remote' | 'on';

/** What both ends of a cluster's connections need. */
export interface PeerSecurity {
  readonly secret: string;
  readonly tls: PeerTlsMode;
}

const pskIdentity = 'mtm-gateway';
const tls13Only = {
  ciphers: 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384',
  minVersion: 'TLSv1.3',
  ALPNProtocols: ['mtm-peer'],
} as const;

const wrongSecret = linkReason('wrong-secret', 'it has another cluster secret');
const inTheClearReason = linkReason('in-the-clear', 'it came without TLS (peer_tls)');

function keyOf(secret: string): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, '', 'mtm-gateway links between gateways', 32));
}

/** What is written before the connection is there waits for it. */
export function dialPeer({ secret, tls }: PeerSecurity, host: string, port: number): Socket {
  const socket = connect({ host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: 10_000 });
  if (tls === 'off' || (tls === 'remote' && isThisMachine(host))) return socket;
  const secure = connectTls({
    ...tls13Only,
    socket,
    pskCallback: () => ({ psk: keyOf(secret), identity: pskIdentity }),
    // There is no certificate: who has the key is a gateway of the cluster.
    checkServerIdentity: () => undefined,
  });
  return resettable(secure, socket);
}

/** `localhost` or a loopback address. */
export function isThisMachine(host: string): boolean {
  if (host === 'localhost') return true;
  const address = host.replace(/^::ffff:/, '');
  return isIP(address) === 4 ? address.startsWith('127.') : address === '::1';
}

/** TLS has no reset of its own. */
function resettable(secure: TLSSocket, below: Socket): TLSSocket {
  secure.resetAndDestroy = () => {
    below.resetAndDestroy();
    return secure;
  };
  return secure;
}

export interface PeerServerEvents {
  /** TLS is there, where there is to be TLS. */
  readonly connected: (socket: Socket) => void;
  /** Nothing of the cluster's was said to it. */
  readonly refused: (address: string, reason: LinkReason) => void;
}

export interface PeerServerLimits {
  readonly handshakeTimeoutMs: number;
  /** Connections that have not said whether they are TLS, or are about to be; one more ends the oldest. */
  readonly maxStrangers: () => number;
}

/** A server for the peer port, not listening yet. */
export function newPeerServer(
  { secret, tls }: PeerSecurity,
  { handshakeTimeoutMs, maxStrangers }: PeerServerLimits,
  { connected, refused }: PeerServerEvents,
): Server {
  const strangers = new Strangers<Socket>();
  const secureServer = createTlsServer(
    {
      ...tls13Only,
      handshakeTimeout: handshakeTimeoutMs,
      pskCallback: (_socket, identity) => (identity === pskIdentity ? keyOf(secret) : null),
    },
    (secure) => {
      const below = socketBelow(secure);
      assert(below !== undefined, 'a TLS connection knows the one below');
      strangers.delete(below);
      connected(resettable(secure, below));
    },
  );
  secureServer.on('tlsClientError', (error: NodeJS.ErrnoException, secure) => {
    // What else fails here was no gateway's.
    if (error.code === 'ERR_SSL_BINDER_DOES_NOT_VERIFY') refused(addressOf(secure), wrongSecret);
    secure.destroy();
  });
  return createServer({ noDelay: true }, (socket) => {
    if (strangers.size >= maxStrangers()) strangers.oldestOfCrowd?.destroy();
    strangers.add(socket, socket.remoteAddress);
    const deadline = setTimeout(() => socket.destroy(), handshakeTimeoutMs);
    const broken = (): void => void socket.destroy();
    socket.on('error', broken);
    socket.once('close', () => {
      clearTimeout(deadline);
      strangers.delete(socket);
    });
    socket.once('data', (chunk: Buffer) => {
      socket.pause();
      clearTimeout(deadline);
      const inTheClear = chunk[0] !== tlsHandshakeRecord;
      if (inTheClear && (tls === 'on' || (tls === 'remote' && !isThisMachine(socket.remoteAddress ?? '')))) {
        refused(addressOf(socket), inTheClearReason);
        return void socket.destroy();
      }
      socket.unshift(chunk);
      if (!inTheClear) return void secureServer.emit('connection', socket);
      strangers.delete(socket);
      socket.off('error', broken);
      connected(socket);
      socket.resume();
    });
  });
}

function addressOf(socket: Socket): string {
  return `${socket.remoteAddress ?? 'unknown'}:${socket.remotePort ?? 0}`;
}
