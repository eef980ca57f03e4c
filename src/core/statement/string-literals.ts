/**
 * Where a text reads otherwise with standard_conforming_strings off: backslashes in ordinary '…' literals
 * are escapes then, and U&'…' is an error. And the same text in words that read alike in both.
 * It follows PostgreSQL's lexer (scan.l). Rule: exact for every text that a server accepts; its time is
 * linear in the text.
 */

/** A place of the text at which so many characters are replaced. */
export interface Edit {
  readonly at: number;
  readonly remove: number;
  readonly insert: string;
}

export interface Literals {
  /** What makes the text read alike in both; none: it does already, but for what U&'…' means. */
  readonly edits: readonly Edit[];
  /** It holds U&'…', which a server refuses unless strings conform to the standard. */
  readonly unicode: boolean;
  /** Nothing is open at its end; otherwise a server that reads it so refuses it. */
  readonly ends: boolean;
}

const alike: Literals = { edits: [], unicode: false, ends: true };

/** False for a text that certainly reads alike in both. */
function isDoubtful(text: string): boolean {
  return text.includes('\\') || /u&'/iu.test(text);
}

/** The literals of a text as a server reads it. `standard`: its standard_conforming_strings. */
export function literalsOf(text: string, standard: boolean): Literals {
  if (!isDoubtful(text)) return alike;
  const reader = new LiteralReader(text, standard);
  reader.readAll();
  return reader;
}

/** True when it reads alike in both. */
export function readsAlike(text: string, standard: boolean): boolean {
  const { edits, unicode } = literalsOf(text, standard);
  return edits.length === 0 && !unicode;
}

export function edited(text: string, edits: readonly Edit[]): string {
  const parts: string[] = [];
  let from = 0;
  for (const { at, remove, insert } of edits) {
    parts.push(text.slice(from, at), insert);
    from = at + remove;
  }
  parts.push(text.slice(from));
  return parts.join('');
}

const quote = 0x27;
const backslash = 0x5c;

const dollarQuote = /\$(?:[A-Za-z_\u0080-\uffff][A-Za-z0-9_\u0080-\uffff]*)?\$/uy;
const word = /[A-Za-z_\u0080-\uffff][A-Za-z0-9_$\u0080-\uffff]*/uy;
const number = /[0-9][A-Za-z0-9_\u0080-\uffff]*/uy;

class LiteralReader implements Literals {
  readonly edits: Edit[] = [];
  unicode = false;
  ends = true;
  readonly #text: string;
  readonly #standard: boolean;

  constructor(text: string, standard: boolean) {
    this.#text = text;
    this.#standard = standard;
  }

  readAll(): void {
    for (let at = 0; at < this.#text.length && this.ends;) at = this.#next(at);
  }

  /** Where what begins at `at` ends. */
  #next(at: number): number {
    const text = this.#text;
    const code = text.charCodeAt(at);
    switch (code) {
      case quote:
        return this.#ordinary(at, at);
      case 0x22: // "
        return this.#behind('"', at + 1);
      case 0x24: {
        const tag = match(dollarQuote, text, at);
        return tag === '' ? at + 1 : this.#behind(tag, at + tag.length);
      }
      case 0x2d: // -
        return text.charCodeAt(at + 1) === code ? lineEnd(text, at) : at + 1;
      case 0x2f: // /
        return text.charCodeAt(at + 1) === 0x2a ? this.#commentEnd(at) : at + 1;
      default:
    }
    const found = match(word, text, at);
    if (found !== '') return this.#word(at, found);
    return at + (match(number, text, at).length || 1);
  }

  /** A word may be the first letter of a literal. */
  #word(at: number, found: string): number {
    const behind = at + found.length;
    const first = found.toLowerCase();
    if (first === 'u' && this.#text.startsWith("&'", behind)) {
      this.unicode = true;
      return this.#literalEnd(behind + 1, false, () => undefined);
    }
    if (this.#text.charCodeAt(behind) !== quote) return behind;
    if (first === 'e') return this.#literalEnd(behind, true, () => undefined);
    if (first === 'b' || first === 'x') return this.#literalEnd(behind, false, () => undefined);
    return first === 'n' ? this.#ordinary(at, behind) : behind;
  }

  /** A literal that the setting decides about. `at`: its first character, an N or its quote. */
  #ordinary(at: number, start: number): number {
    const backslashes: number[] = [];
    const end = this.#literalEnd(start, !this.#standard, (place) => backslashes.push(place));
    if (backslashes.length === 0) return end;
    const isNational = at < start;
    const touches = /[A-Za-z0-9_$\u0080-\uffff]/u.test(this.#text.charAt(at - 1));
    const insert = isNational ? 'nchar E' : touches ? ' E' : 'E';
    this.edits.push({ at, remove: start - at, insert });
    if (this.#standard)
      for (const place of backslashes) this.edits.push({ at: place, remove: 0, insert: '\\' });
    return end;
  }

  /** Behind the literal whose quote stands at `start`, with the parts that follow on lines of their own. */
  #literalEnd(start: number, escapes: boolean, seen: (place: number) => void): number {
    const text = this.#text;
    for (let at = start + 1; at < text.length; at++) {
      const code = text.charCodeAt(at);
      if (code === backslash) {
        seen(at);
        if (escapes) at += 1;
      } else if (code === quote) {
        if (text.charCodeAt(at + 1) === quote) at += 1;
        else {
          const next = continuation(text, at + 1);
          if (next < 0) return at + 1;
          at = next;
        }
      }
    }
    this.ends = false;
    return text.length;
  }

  #behind(wanted: string, from: number): number {
    const found = this.#text.indexOf(wanted, from);
    this.ends = found >= 0;
    return found + wanted.length;
  }

  #commentEnd(start: number): number {
    let depth = 1;
    for (let at = start + 2; at < this.#text.length; at++) {
      const mark = this.#text.slice(at, at + 2);
      if (mark !== '/*' && mark !== '*/') continue;
      depth += mark === '/*' ? 1 : -1;
      at += 1;
      if (depth === 0) return at + 1;
    }
    this.ends = false;
    return this.#text.length;
  }
}

function match(pattern: RegExp, text: string, at: number): string {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0] ?? '';
}

/** The quote with which the literal goes on: behind white space with a line break, and comments; or -1. */
function continuation(text: string, start: number): number {
  let isNewLine = false;
  for (let at = start; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === quote) return isNewLine ? at : -1;
    if (code === 0x2d && text.charCodeAt(at + 1) === code) at = lineEnd(text, at) - 1;
    else if (code !== 0x20 && (code < 0x09 || code > 0x0d)) return -1;
    const last = text.charCodeAt(at);
    isNewLine ||= last === 0x0a || last === 0x0d;
  }
  return -1;
}

/** Behind the line break. */
function lineEnd(text: string, start: number): number {
  for (let at = start; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 0x0a || code === 0x0d) return at + 1;
  }
  return text.length;
}
