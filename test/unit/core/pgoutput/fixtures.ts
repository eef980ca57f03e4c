/**
 * Messages recorded from real servers: one hex line each (pg_logical_slot_get_binary_changes), the same
 * script on 15 and 18.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export function recorded(major: 15 | 18): Uint8Array[] {
  const file = fileURLToPath(new URL(`../../../fixtures/pgoutput/session-${major}.hex`, import.meta.url));
  const lines = readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line !== '');
  return lines.map((line) => Uint8Array.from(Buffer.from(line, 'hex')));
}

export const text = (value: Uint8Array | null | undefined): string | null | undefined =>
  value instanceof Uint8Array ? new TextDecoder().decode(value) : value;
