/**
 * What the two ends of a copy stream say to each other: the server's base backup, on its way from a node to
 * the machine of a new one.
 *
 *     frame      = length:uint32 (of what follows) kind:uint8 body
 *     request    R → D                                first; nothing else before it
 *     refused    D → R  reason:utf8                   instead of everything else
 *     waiting    D → R  for:utf8                      nothing to send yet: a checkpoint, the end of the WAL …
 *     started    D → R  json                          once; before the first archive
 *     archive    D → R  folder:utf8                   contents of this folder of the data directory follow
 *     data       D → R  bytes                         of the archive
 *     done       D → R  json                          all of it was sent
 *     failed     D → R  reason:utf8                   instead of done
 *     alive      R → D                                every few seconds
 *
 * Rule: a frame that breaks the grammar ends the connection; both ends are authenticated.
 */
import { FrameCutter, frameBytes } from './frame-cutter.ts';

export type CopyFrame =
  | { readonly kind: 'request' | 'alive' }
  | { readonly kind: 'refused' | 'failed' | 'waiting' | 'archive'; readonly text: string }
  | { readonly kind: 'started' | 'done'; readonly json: unknown }
  | { readonly kind: 'data'; readonly bytes: Uint8Array };

const kinds = [
  'request',
  'refused',
  'waiting',
  'started',
  'archive',
  'data',
  'done',
  'failed',
  'alive',
] as const satisfies readonly CopyFrame['kind'][];

/** PostgreSQL sends a backup in pieces of 32 KB. */
const maxFrameBytes = 1_048_576;

/** One buffer; what it is made of is copied. */
export function encodeCopyFrame(frame: CopyFrame): Buffer {
  return frameBytes(kinds.indexOf(frame.kind), bodyOf(frame));
}

function bodyOf(frame: CopyFrame): Uint8Array {
  if ('bytes' in frame) return frame.bytes;
  if ('text' in frame) return Buffer.from(frame.text, 'utf8');
  return 'json' in frame ? Buffer.from(JSON.stringify(frame.json), 'utf8') : Buffer.alloc(0);
}

/** Cuts a stream of bytes into frames, for any split of it. */
export class CopyFrameReader {
  readonly #cutter = new FrameCutter(maxFrameBytes);

  /**
   * The frames that are whole now; data are ranges of the bytes that came. Throws when they are no frames.
   */
  *push(chunk: Buffer): Generator<CopyFrame> {
    this.#cutter.push(chunk);
    for (let bytes = this.#cutter.next(); bytes !== undefined; bytes = this.#cutter.next())
      yield decode(bytes);
  }
}

function decode(bytes: Buffer): CopyFrame {
  const kind = kinds[bytes[0]!];
  const body = bytes.subarray(1);
  switch (kind) {
    case 'request':
    case 'alive':
      return { kind };
    case 'refused':
    case 'failed':
    case 'waiting':
    case 'archive':
      return { kind, text: body.toString('utf8') };
    case 'started':
    case 'done':
      return { kind, json: JSON.parse(body.toString('utf8')) as unknown };
    case 'data':
      return { kind, bytes: body };
    default:
      throw new Error(`a frame of unknown kind ${bytes[0]}`);
  }
}
