/** Proofs in what a gateway writes into its server (architecture §3), and in what its server asks of it. */
import { createHash, createHmac } from 'node:crypto';
import type { Gid } from '../core/identity.ts';

/** HMAC-SHA-256 of the gid under the cluster secret, hex: only gateways can make a header. */
export function headerProof(secret: string, gid: Gid): string {
  return createHmac('sha256', secret).update('mtm-header:').update(gid).digest('hex');
}

/** Tells whether a header's proof is that of its gid. */
export function headerVerifier(secret: string): (gid: Gid, hmac: string) => boolean {
  return (gid, hmac) => hmac === headerProof(secret, gid);
}

/** hex(sha256(key || sha256(key || text))), with mtm.secret.announce_key as our functions compute it. */
export function keyProof(key: Uint8Array, text: string): string {
  const inner = createHash('sha256').update(key).update(text).digest();
  return createHash('sha256').update(key).update(inner).digest('hex');
}
