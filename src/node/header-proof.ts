/** The proof in a transaction's header that a gateway of the cluster has made it (architecture §3). */
import { createHmac } from 'node:crypto';
import type { Gid } from '../core/identity.ts';

/** HMAC-SHA-256 of the gid under the cluster secret, hex: only gateways can make a header. */
export function headerProof(secret: string, gid: Gid): string {
  return createHmac('sha256', secret).update('mtm-header:').update(gid).digest('hex');
}

/** Tells whether a header's proof is that of its gid. */
export function headerVerifier(secret: string): (gid: Gid, hmac: string) => boolean {
  return (gid, hmac) => hmac === headerProof(secret, gid);
}
