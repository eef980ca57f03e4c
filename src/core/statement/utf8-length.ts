/** Lengths of texts in bytes: PostgreSQL counts UTF-8, a JavaScript string counts UTF-16 units. */

/** Above it: the encoder of the platform, piece by piece: a twentieth of the time where all is ASCII. */
const pieceLength = 16 * 1024;
const encoder = new TextEncoder();
const scratch = new Uint8Array(3 * pieceLength);

/** Length in bytes of a text as UTF-8; a lone surrogate counts three, as an encoder writes U+FFFD. */
export function utf8Length(text: string): number {
  if (text.length <= pieceLength) return shortLength(text);
  let bytes = 0;
  let end: number;
  for (let at = 0; at < text.length; at = end) {
    end = Math.min(at + pieceLength, text.length);
    if (isPair(text, end - 1)) end -= 1;
    bytes += encoder.encodeInto(text.slice(at, end), scratch).written;
  }
  return bytes;
}

function shortLength(text: string): number {
  let bytes = text.length;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code < 0x80) continue;
    if (code < 0x800) bytes += 1;
    else {
      bytes += 2;
      // A pair is four bytes for two units.
      if (isPair(text, index)) index += 1;
    }
  }
  return bytes;
}

function isPair(text: string, index: number): boolean {
  const code = text.charCodeAt(index);
  if (code < 0xd800 || code > 0xdbff) return false;
  const next = text.charCodeAt(index + 1);
  return next >= 0xdc00 && next <= 0xdfff;
}
