/**
 * Text of a startup packet, which comes before any encoding is agreed on: a role may be named in LATIN1. What
 * is UTF-8 becomes a string as usual; in anything else each byte above 127 becomes half of a surrogate pair,
 * which no valid text is made of.
 * Rule: `bytesOfText(anyText(bytes))` are the same bytes.
 */
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** The byte 128 + n is told as this + 128 + n. */
const surrogate = 0xdc00;
/** A pair of UTF-8's own has its first half before it. */
const escaped = /^[\0-\x7f\udc80-\udcff]*$/;

export function anyText(bytes: Uint8Array): string {
  try {
    return strict.decode(bytes);
  } catch {
    let text = ''; // not UTF-8
    for (const byte of bytes) text += String.fromCharCode(byte < 0x80 ? byte : surrogate + byte);
    return text;
  }
}

export function bytesOfText(text: string): Uint8Array {
  if (!escaped.test(text)) return encoder.encode(text);
  return Uint8Array.from(text, (char) => char.charCodeAt(0) & 0xff);
}
