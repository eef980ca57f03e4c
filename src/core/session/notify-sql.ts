/**
 * The query by which a server's listeners are told what a transaction notifies. Rule: all in ASCII, so that
 * it means the same in every client encoding, and whatever standard_conforming_strings is.
 */
import type { Notification } from '../pgoutput/notification.ts';

function literal(text: string): string {
  const escaped = text.replace(/[\\'\u0080-\u{10ffff}]/gu, (character) => {
    if (character === '\\' || character === "'") return character + character;
    const code = character.codePointAt(0)!.toString(16);
    return code.length > 4 ? `\\U${code.padStart(8, '0')}` : `\\u${code.padStart(4, '0')}`;
  });
  return `E'${escaped}'`;
}

/** One transaction; `notify` is the built-in function. */
export function notifySql(list: readonly Notification[], notify: string): string {
  const rows = list.map(({ channel, payload }) => `(${literal(channel)}, ${literal(payload)})`);
  const values = `(VALUES ${rows.join(', ')}) AS n (channel, payload)`;
  return `SELECT pg_catalog.${notify}(channel, payload) FROM ${values}`;
}
