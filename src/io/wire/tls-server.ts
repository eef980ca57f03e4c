/** What the two ports that speak TLS and something else on one socket know of it. */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';

/** The first byte of a TLS connection: a record of the handshake. */
export const tlsHandshakeRecord = 0x16;

/** The connection that was handed to a TLS server by `emit('connection', …)`. */
export function socketBelow(secure: TLSSocket): Socket | undefined {
  return (secure as unknown as { readonly _parent?: Socket })._parent;
}
