/**
 * What a donor and a node that catches up say to each other on their stream (io/peers/peer-stream.ts).
 *
 *     frame      = length:uint32 (of what follows) kind:uint8 body
 *     request    R → D  lastOnline:uint64 copyEnd:uint64      first; nothing else before it. copyEnd: 0, or
 *                                                             the receiver's server is a copy of the donor's
 *                                                             and holds what was committed before
 *     refused    D → R  reseed:uint8 reason:utf8              instead of everything else
 *     started    D → R  position:uint64                       history begins here
 *     unit       D → R  ddl:uint8 position:uint64 gidLength:uint8 gid data
 *                                                             a whole small transaction
 *     begin      D → R                                        a big one, whose gid stands at its end
 *     piece      D → R  data                                  core/pgoutput/piece-writer.ts
 *     end        D → R  as unit, without data; without gid: nobody's transaction, drop it
 *     mark       D → R  generation:uint64                     the donor went online in it
 *     position   D → R  position:uint64 walEnd:uint64         everything before was sent; 0: unknown
 *     flushed    R → D  position:uint64                       everything before it is durable at the receiver
 *
 * A unit's position is 0 when more of the same commit of the donor follows. Rule: a frame that breaks the
 * grammar ends the connection; both ends are authenticated.
 */
import type { Gid, Lsn } from '../../core/identity.ts';
import { FrameCutter, frameBytes } from './frame-cutter.ts';

export type Frame =
  | { readonly kind: 'request'; readonly lastOnline: number; readonly copyEnd: Lsn }
  | { readonly kind: 'refused'; readonly reseed: boolean; readonly reason: string }
  | { readonly kind: 'started'; readonly position: Lsn }
  | {
      readonly kind: 'unit';
      readonly gid: Gid;
      readonly ddl: boolean;
      readonly position: Lsn;
      readonly data: Uint8Array;
    }
  | { readonly kind: 'begin' }
  | { readonly kind: 'piece'; readonly data: Uint8Array }
  | {
      readonly kind: 'end';
      readonly gid: Gid | undefined;
      readonly ddl: boolean;
      readonly position: Lsn;
    }
  | { readonly kind: 'mark'; readonly generation: number }
  | { readonly kind: 'position'; readonly position: Lsn; readonly walEnd: Lsn }
  | { readonly kind: 'flushed'; readonly position: Lsn };

const kinds = [
  'request',
  'refused',
  'started',
  'unit',
  'begin',
  'piece',
  'end',
  'mark',
  'position',
  'flushed',
] as const satisfies readonly Frame['kind'][];

/** A row may be large (1 GB in PostgreSQL); a frame is hardly larger. */
const maxFrameBytes = 0x4fff_ffff;
const nothing = new Uint8Array(0);

/** The bytes of a frame; large data is a buffer of its own, not copied. */
export function encodeFrame(frame: Frame): readonly Uint8Array[] {
  const body = bodyOf(frame);
  const data = 'data' in frame ? frame.data : nothing;
  const bytes = frameBytes(kinds.indexOf(frame.kind), body, data.length);
  return data.length === 0 ? [bytes] : [bytes, data];
}

function bodyOf(frame: Frame): Buffer {
  switch (frame.kind) {
    case 'request':
      return numbers(BigInt(frame.lastOnline), frame.copyEnd);
    case 'mark':
      return numbers(BigInt(frame.generation));
    case 'started':
    case 'flushed':
      return numbers(frame.position);
    case 'position':
      return numbers(frame.position, frame.walEnd);
    case 'refused':
      return Buffer.concat([Buffer.of(frame.reseed ? 1 : 0), Buffer.from(frame.reason, 'utf8')]);
    case 'unit':
    case 'end': {
      const gid = Buffer.from(frame.gid ?? '', 'latin1');
      const ddl = Buffer.of(frame.ddl ? 1 : 0);
      return Buffer.concat([ddl, numbers(frame.position), Buffer.of(gid.length), gid]);
    }
    default:
      return Buffer.alloc(0);
  }
}

function numbers(...values: readonly bigint[]): Buffer {
  const bytes = Buffer.allocUnsafe(values.length * 8);
  for (const [index, value] of values.entries()) bytes.writeBigUInt64BE(value, index * 8);
  return bytes;
}

/** Cuts a stream of bytes into frames. The data of a frame are ranges of the bytes that came. */
export class FrameReader {
  readonly #cutter = new FrameCutter(maxFrameBytes);

  push(chunk: Buffer): void {
    this.#cutter.push(chunk);
  }

  /** The next whole frame; undefined when more bytes are needed. Throws when the bytes are no frame. */
  next(): Frame | undefined {
    const bytes = this.#cutter.next();
    return bytes === undefined ? undefined : decodeFrame(bytes);
  }
}

function decodeFrame(bytes: Buffer): Frame {
  const kind = kinds[bytes[0]!];
  const body = bytes.subarray(1);
  switch (kind) {
    case 'request':
      return { kind, lastOnline: Number(body.readBigUInt64BE(0)), copyEnd: body.readBigUInt64BE(8) };
    case 'mark':
      return { kind, generation: Number(body.readBigUInt64BE(0)) };
    case 'started':
    case 'flushed':
      return { kind, position: body.readBigUInt64BE(0) };
    case 'position':
      return { kind, position: body.readBigUInt64BE(0), walEnd: body.readBigUInt64BE(8) };
    case 'refused':
      return { kind, reseed: body.readUInt8(0) === 1, reason: body.toString('utf8', 1) };
    case 'unit':
    case 'end': {
      const length = body.readUInt8(9);
      const ddl = body[0] === 1;
      const position = body.readBigUInt64BE(1);
      const gid = body.toString('latin1', 10, 10 + length);
      if (kind === 'end') return { kind, gid: gid === '' ? undefined : gid, ddl, position };
      return { kind, gid, ddl, position, data: body.subarray(10 + length) };
    }
    case 'begin':
      return { kind };
    case 'piece':
      return { kind, data: body };
    default:
      throw new Error(`a frame of unknown kind ${bytes[0]}`);
  }
}
