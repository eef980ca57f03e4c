/**
 * Reads the archives of a base backup: headers and contents, for any split of the bytes. PostgreSQL writes
 * plain POSIX ustar (src/port/tar.c): names of at most 99 bytes, no extensions, sizes in octal or in base
 * 256.
 *
 *     entry = header (512 bytes), contents, zeros up to the next multiple of 512; at the end zero blocks
 *
 * Rules: a header that does not match its checksum, or of a kind that PostgreSQL never writes, is an error; a
 * path never leads out of the archive. It must never hold contents: they are ranges of the bytes that came.
 */

export interface TarEntry {
  readonly kind: 'file' | 'folder' | 'link';
  /** Relative, without `.` and `..`; '' is the archive's own root. */
  readonly path: string;
  readonly size: number;
  /** Of a link. */
  readonly target: string;
}

export type TarPart =
  | { readonly kind: 'entry'; readonly entry: TarEntry }
  | { readonly kind: 'data'; readonly bytes: Uint8Array }
  /** Of the file whose entry came last. */
  | { readonly kind: 'end' };

const blockBytes = 512;
const magicAt = 257;
const checksumAt = 148;
const checksumBytes = 8;
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

export class TarReader {
  readonly #header = new Uint8Array(blockBytes);
  #headerBytes = 0;
  #contentLeft = 0;
  #padding = 0;

  /** True between entries: the archive may end here. */
  get complete(): boolean {
    return this.#headerBytes === 0 && this.#contentLeft === 0 && this.#padding === 0;
  }

  /** The parts of the archive in these bytes, in order. Throws when they are no archive of PostgreSQL's. */
  *push(chunk: Uint8Array): Generator<TarPart> {
    let at = 0;
    while (at < chunk.length) {
      const there = chunk.length - at;
      if (this.#contentLeft > 0) {
        const taken = Math.min(there, this.#contentLeft);
        this.#contentLeft -= taken;
        yield { kind: 'data', bytes: chunk.subarray(at, at + taken) };
        if (this.#contentLeft === 0) yield { kind: 'end' };
        at += taken;
      } else if (this.#padding > 0) {
        const taken = Math.min(there, this.#padding);
        this.#padding -= taken;
        at += taken;
      } else {
        const taken = Math.min(there, blockBytes - this.#headerBytes);
        this.#header.set(chunk.subarray(at, at + taken), this.#headerBytes);
        this.#headerBytes += taken;
        at += taken;
        if (this.#headerBytes === blockBytes) yield* this.#headerComplete();
      }
    }
  }

  *#headerComplete(): Generator<TarPart> {
    this.#headerBytes = 0;
    if (this.#header.every((byte) => byte === 0)) return;
    const entry = readHeader(this.#header);
    this.#contentLeft = entry.size;
    this.#padding = (blockBytes - (entry.size % blockBytes)) % blockBytes;
    yield { kind: 'entry', entry };
    if (entry.kind === 'file' && entry.size === 0) yield { kind: 'end' };
  }
}

function readHeader(header: Uint8Array): TarEntry {
  if (textAt(header, magicAt, 5) !== 'ustar') throw new Error('an archive of the copy has no ustar header');
  if (numberAt(header, checksumAt, checksumBytes) !== checksumOf(header)) {
    throw new Error('an archive of the copy has a damaged header');
  }
  const prefix = textAt(header, 345, 155);
  const name = textAt(header, 0, 100);
  const path = cleanPath(prefix === '' ? name : `${prefix}/${name}`);
  const kind = kindOf(header[156]!, path);
  const size = kind === 'file' ? numberAt(header, 124, 12) : 0;
  return { kind, path, size, target: textAt(header, 157, 100) };
}

function kindOf(flag: number, path: string): TarEntry['kind'] {
  if (flag === 0x30 || flag === 0) return 'file';
  if (flag === 0x35) return 'folder';
  if (flag === 0x32) return 'link';
  throw new Error(`an archive of the copy has an entry of unknown kind ${flag}: ${path}`);
}

function cleanPath(name: string): string {
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  if (name.startsWith('/') || parts.includes('..')) {
    throw new Error(`an archive of the copy names a place outside of it: ${name}`);
  }
  return parts.join('/');
}

/** The sum of the header's bytes, its own field counted as blanks. */
function checksumOf(header: Uint8Array): number {
  let sum = 0;
  for (let index = 0; index < blockBytes; index++) {
    const own = index >= checksumAt && index < checksumAt + checksumBytes;
    sum += own ? 0x20 : header[index]!;
  }
  return sum;
}

/** Octal digits, or, with the first bit set, a number in base 256. */
function numberAt(header: Uint8Array, at: number, bytes: number): number {
  if ((header[at]! & 0x80) === 0) {
    const text = textAt(header, at, bytes).trim();
    const value = text === '' ? 0 : Number.parseInt(text, 8);
    if (!Number.isSafeInteger(value)) throw new Error('an archive of the copy has a damaged number');
    return value;
  }
  let value = header[at]! & 0x7f;
  for (let index = at + 1; index < at + bytes; index++) value = value * 256 + header[index]!;
  if (!Number.isSafeInteger(value)) throw new Error('an archive of the copy has a damaged number');
  return value;
}

/** Up to the first zero byte. */
function textAt(header: Uint8Array, at: number, bytes: number): string {
  const field = header.subarray(at, at + bytes);
  const end = field.indexOf(0);
  return decoder.decode(end < 0 ? field : field.subarray(0, end));
}
