/** PostgreSQL's text form of a position in the WAL: two hexadecimal halves. */
import type { Lsn } from '../../core/identity.ts';

export function formatLsn(lsn: Lsn): string {
  return `${(lsn >> 32n).toString(16)}/${(lsn & 0xffffffffn).toString(16)}`;
}

/** Throws for a text that the server would not have written. */
export function parseLsn(text: string): Lsn {
  const [high = '', low = ''] = text.split('/');
  return (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`);
}
