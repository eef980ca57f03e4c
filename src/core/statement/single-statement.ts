/**
 * Is this text certainly one statement? For texts that are too big, or too deeply nested, for the parser.
 * It follows PostgreSQL's lexer (scan.l, standard_conforming_strings on) only as far as to know what is
 * quoted. Rule: true is a proof that no semicolon but the last one ends a statement; in doubt it says false.
 */
const dollarQuote = /\$(?:[A-Za-z_\u0080-\uffff][A-Za-z0-9_\u0080-\uffff]*)?\$/uy;

function continuesWord(text: string, index: number): boolean {
  return index >= 0 && /[A-Za-z0-9_$\u0080-\uffff]/u.test(text.charAt(index));
}

/**
 * The index after a '…' whose opening quote stands at `start`; -1 when it does not end or may go on on a
 * new line.
 */
function stringEnd(text: string, start: number): number {
  const escapes = /^[eE]$/u.test(text.charAt(start - 1)) && !continuesWord(text, start - 2);
  if (!escapes) {
    const close = text.indexOf("'", start + 1);
    return close < 0 ? -1 : close + 1;
  }
  let index = start + 1;
  while (index < text.length) {
    const character = text[index];
    if (character === '\\') index += 2;
    else if (character !== "'") index += 1;
    else if (text[index + 1] === "'") index += 2;
    else {
      // E'…' followed by a line break and another quote is one string with escapes: doubt.
      return /^\s*(?:'|--)/u.test(text.slice(index + 1, index + 200)) ||
        /^\s{199}/u.test(text.slice(index + 1))
        ? -1
        : index + 1;
    }
  }
  return -1;
}

function blockCommentEnd(text: string, start: number): number {
  let depth = 1;
  let index = start + 2;
  while (index < text.length && depth > 0) {
    const pair = text.slice(index, index + 2);
    if (pair === '/*' || pair === '*/') {
      depth += pair === '/*' ? 1 : -1;
      index += 2;
    } else index += 1;
  }
  return depth === 0 ? index : -1;
}

function afterNext(text: string, wanted: string, from: number): number {
  const found = text.indexOf(wanted, from);
  return found < 0 ? -1 : found + wanted.length;
}

function lineCommentEnd(text: string, start: number): number {
  const feed = text.indexOf('\n', start);
  const carriage = text.indexOf('\r', start);
  const ends = [feed, carriage].filter((index) => index >= 0);
  return ends.length === 0 ? text.length : Math.min(...ends) + 1;
}

function dollarEnd(text: string, start: number): number {
  if (continuesWord(text, start - 1)) return start + 1;
  dollarQuote.lastIndex = start;
  const tag = dollarQuote.exec(text)?.[0];
  return tag === undefined ? start + 1 : afterNext(text, tag, start + tag.length);
}

/** True when `text` is one statement, closed by a semicolon or not. */
export function isSingleStatement(text: string): boolean {
  const interesting = /['"$;]|--|\/\*/gu;
  for (let found = interesting.exec(text); found !== null; found = interesting.exec(text)) {
    const start = found.index;
    let end: number;
    switch (found[0]) {
      case ';':
        return /^\s*$/u.test(text.slice(start + 1));
      case "'":
        end = stringEnd(text, start);
        break;
      case '"':
        end = afterNext(text, '"', start + 1);
        break;
      case '$':
        end = dollarEnd(text, start);
        break;
      case '--':
        end = lineCommentEnd(text, start);
        break;
      default:
        end = blockCommentEnd(text, start);
    }
    if (end < 0) return false;
    interesting.lastIndex = end;
  }
  return true;
}
