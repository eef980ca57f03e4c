/**
 * Is this text certainly one statement? For texts that are too big, or too deeply nested, for the parser.
 * It follows PostgreSQL's lexer (scan.l, standard_conforming_strings on) only as far as to know what is
 * quoted. Rule: true is a proof that no semicolon but the last one ends a statement; in doubt it says false.
 * Its time is linear in the text, whatever stands there: nothing looks for what may not come at all twice.
 */
const dollarQuote = /\$(?:[A-Za-z_\u0080-\uffff][A-Za-z0-9_\u0080-\uffff]*)?\$/uy;

function continuesWord(text: string, index: number): boolean {
  if (index < 0) return false;
  const code = text.charCodeAt(index);
  const letter = code | 0x20;
  if (letter >= 0x61 && letter <= 0x7a) return true;
  return (code >= 0x30 && code <= 0x39) || code === 0x5f || code === 0x24 || code >= 0x80;
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
    const code = text.charCodeAt(index);
    if (code === 0x5c) index += 2;
    else if (code !== 0x27) index += 1;
    else if (text.charCodeAt(index + 1) === 0x27) index += 2;
    else {
      // E'…' followed by a line break and another quote is one string with escapes: doubt.
      const behind = text.slice(index + 1, index + 200);
      return /^\s*(?:'|--)/u.test(behind) || /^\s{199}/u.test(behind) ? -1 : index + 1;
    }
  }
  return -1;
}

function blockCommentEnd(text: string, start: number): number {
  let depth = 1;
  for (let index = start + 2; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code !== 0x2a && code !== 0x2f) continue;
    const next = text.charCodeAt(index + 1);
    if (code + next !== 0x2a + 0x2f || next === code) continue;
    depth += code === 0x2f ? 1 : -1;
    index += 1;
    if (depth === 0) return index + 1;
  }
  return -1;
}

function afterNext(text: string, wanted: string, from: number): number {
  const found = text.indexOf(wanted, from);
  return found < 0 ? -1 : found + wanted.length;
}

function lineCommentEnd(text: string, start: number): number {
  for (let index = start; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === 0x0a || code === 0x0d) return index + 1;
  }
  return text.length;
}

function dollarEnd(text: string, start: number): number {
  if (continuesWord(text, start - 1)) return start + 1;
  dollarQuote.lastIndex = start;
  const tag = dollarQuote.exec(text)?.[0];
  return tag === undefined ? start + 1 : afterNext(text, tag, start + tag.length);
}

/** Where what begins at `index` ends; -1 when it does not, or in doubt. */
function partEnd(text: string, index: number): number {
  const next = text.charCodeAt(index + 1);
  switch (text.charCodeAt(index)) {
    case 0x27: // '
      return stringEnd(text, index);
    case 0x22: // "
      return afterNext(text, '"', index + 1);
    case 0x24: // $
      return dollarEnd(text, index);
    case 0x2d: // -
      return next === 0x2d ? lineCommentEnd(text, index) : index + 1;
    case 0x2f: // /
      return next === 0x2a ? blockCommentEnd(text, index) : index + 1;
    default:
      return index + 1;
  }
}

/** True when `text` is one statement, closed by a semicolon or not. */
export function isSingleStatement(text: string): boolean {
  for (let index = 0; index < text.length;) {
    if (text.charCodeAt(index) === 0x3b) return /^\s*$/u.test(text.slice(index + 1));
    index = partEnd(text, index);
    if (index < 0) return false;
  }
  return true;
}
