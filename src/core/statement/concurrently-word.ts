/**
 * The word CONCURRENTLY in the text of CREATE INDEX, DROP INDEX and REFRESH MATERIALIZED VIEW, where it
 * stands before every name.
 * Rule: for texts only that the parser has found to be such a command.
 */

/** Comments and white space, one word, or anything else that could hold one. */
const token = /\s+|--[^\n\r]*|[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*|"(?:[^"]|"")*"|[^]/gu;

/** Where the word begins; undefined: there is none before the first name in quotes. */
function placeOf(text: string): number | undefined {
  for (let at = 0; at < text.length; at = token.lastIndex) {
    if (text.startsWith('/*', at)) {
      token.lastIndex = commentEnd(text, at);
      continue;
    }
    token.lastIndex = at;
    const [found] = token.exec(text)!;
    if (found.toLowerCase() === 'concurrently') return at;
    if (found.startsWith('"')) return undefined;
  }
  return undefined;
}

/** Behind a comment, in which others may be nested. */
function commentEnd(text: string, start: number): number {
  let depth = 0;
  for (let at = start; at < text.length; at++) {
    const mark = text.slice(at, at + 2);
    if (mark !== '/*' && mark !== '*/') continue;
    depth += mark === '/*' ? 1 : -1;
    at += 1;
    if (depth === 0) return at + 1;
  }
  return text.length;
}

const length = 'concurrently'.length;

/** The same command, as part of a transaction. */
export function withoutConcurrently(text: string): string {
  const at = placeOf(text);
  return at === undefined ? text : text.slice(0, at) + text.slice(at + length);
}

/** CREATE INDEX CONCURRENTLY ON …, with this name (quoted already) for the index. */
export function withIndexName(text: string, quoted: string): string {
  const at = placeOf(text);
  return at === undefined ? text : `${text.slice(0, at + length)} ${quoted} ${text.slice(at + length)}`;
}
