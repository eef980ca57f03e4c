/**
 * The four messages of the handshake as bytes. All are of fixed size, so neither side reads, keeps or answers
 * more than these few bytes for somebody who has not proved anything.
 *
 *     hello      dialler → listener   magic:8 minVersion:uint16 maxVersion:uint16 from:uint8 to:uint8
 *                                     incarnation:uint53 nonce:32 clusterName:text64
 *     challenge  listener → dialler   magic:8 nonce:32
 *     proof      dialler → listener   mac:32
 *     verdict    listener → dialler   magic:8 code:uint8 node:uint8 incarnation:uint53 version:uint16
 *                                     minVersion:uint16 maxVersion:uint16 clusterName:text64 mac:32
 *     text64 = length:uint8 utf8, filled up with zeros to 64 bytes
 *
 * The highest bits of `from` and `to` say what the connection is for: 0 0 a link for messages, 0 1 a stream
 * of bytes (recovery), 1 0 a life line.
 *
 * A verdict `wrong-secret` has zeros for everything behind its code. What is said behind any other code is
 * covered by the mac. The form of the handshake itself never changes within one magic.
 */
import { maxNode } from '../../core/peer/frame.ts';

const magic = Buffer.from('mtmpeer1', 'latin1');

export const nonceBytes = 32;
export const macBytes = 32;
export const maxClusterNameBytes = 63;
export const helloBytes = 8 + 4 + 2 + 8 + nonceBytes + 64;
export const challengeBytes = 8 + nonceBytes;
export const verdictBytes = 8 + 2 + 8 + 6 + 64 + macBytes;

/**
 * What a connection is for: messages of the protocol, bytes that its owner understands, or nothing but its
 * end.
 */
export type ConnectionPurpose = 'link' | 'stream' | 'life-line';

const purposeBit = 0x80;

export interface VersionRange {
  readonly min: number;
  readonly max: number;
}

export interface Hello {
  readonly versions: VersionRange;
  readonly from: number;
  readonly to: number;
  readonly purpose: ConnectionPurpose;
  readonly incarnation: number;
  readonly nonce: Buffer;
  readonly clusterName: string;
}

export interface Verdict {
  /** Index into `rejections`. */
  readonly code: number;
  readonly node: number;
  readonly incarnation: number;
  /** The one to be spoken; 0 when rejected. */
  readonly version: number;
  readonly versions: VersionRange;
  readonly clusterName: string;
}

export function encodeHello(hello: Hello): Buffer {
  const bytes = Buffer.alloc(helloBytes);
  magic.copy(bytes);
  bytes.writeUInt16BE(hello.versions.min, 8);
  bytes.writeUInt16BE(hello.versions.max, 10);
  bytes.writeUInt8(hello.from | (hello.purpose === 'life-line' ? purposeBit : 0), 12);
  bytes.writeUInt8(hello.to | (hello.purpose === 'stream' ? purposeBit : 0), 13);
  bytes.writeBigUInt64BE(BigInt(hello.incarnation), 14);
  hello.nonce.copy(bytes, 22);
  writeName(bytes, hello.clusterName, 22 + nonceBytes);
  return bytes;
}

/** Undefined when the bytes are not a hello of ours. */
export function decodeHello(bytes: Buffer): Hello | undefined {
  const incarnation = Number(bytes.readBigUInt64BE(14));
  const clusterName = readName(bytes, 22 + nonceBytes);
  if (!hasMagic(bytes) || clusterName === undefined || !Number.isSafeInteger(incarnation)) return undefined;
  const from = bytes.readUInt8(12) & ~purposeBit;
  const to = bytes.readUInt8(13) & ~purposeBit;
  if (from < 1 || from > maxNode || to < 1 || to > maxNode) return undefined;
  return {
    versions: { min: bytes.readUInt16BE(8), max: bytes.readUInt16BE(10) },
    from,
    to,
    purpose: purposeOf(bytes.readUInt8(12), bytes.readUInt8(13)),
    incarnation,
    nonce: bytes.subarray(22, 22 + nonceBytes),
    clusterName,
  };
}

function purposeOf(from: number, to: number): ConnectionPurpose {
  if ((from & purposeBit) !== 0) return 'life-line';
  return (to & purposeBit) === 0 ? 'link' : 'stream';
}

export function encodeChallenge(nonce: Buffer): Buffer {
  return Buffer.concat([magic, nonce]);
}

/** Whether the bytes, of which more may follow, can be the beginning of a message of ours. */
export function hasMagic(bytes: Buffer): boolean {
  const length = Math.min(bytes.length, magic.length);
  return bytes.compare(magic, 0, length, 0, length) === 0;
}

/** The verdict without its mac, which covers these bytes. */
export function encodeVerdict(verdict: Verdict): Buffer {
  const bytes = Buffer.alloc(verdictBytes - macBytes);
  magic.copy(bytes);
  bytes.writeUInt8(verdict.code, 8);
  bytes.writeUInt8(verdict.node, 9);
  bytes.writeBigUInt64BE(BigInt(verdict.incarnation), 10);
  bytes.writeUInt16BE(verdict.version, 18);
  bytes.writeUInt16BE(verdict.versions.min, 20);
  bytes.writeUInt16BE(verdict.versions.max, 22);
  writeName(bytes, verdict.clusterName, 24);
  return bytes;
}

/** Undefined when the bytes are not a verdict. Believe nothing but the code before its mac is checked. */
export function decodeVerdict(bytes: Buffer): Verdict | undefined {
  const incarnation = Number(bytes.readBigUInt64BE(10));
  const clusterName = readName(bytes, 24);
  if (!hasMagic(bytes) || clusterName === undefined || !Number.isSafeInteger(incarnation)) return undefined;
  return {
    code: bytes.readUInt8(8),
    node: bytes.readUInt8(9),
    incarnation,
    version: bytes.readUInt16BE(18),
    versions: { min: bytes.readUInt16BE(20), max: bytes.readUInt16BE(22) },
    clusterName,
  };
}

function writeName(bytes: Buffer, name: string, offset: number): void {
  const length = bytes.write(name, offset + 1, maxClusterNameBytes, 'utf8');
  bytes.writeUInt8(length, offset);
}

function readName(bytes: Buffer, offset: number): string | undefined {
  const length = bytes.readUInt8(offset);
  if (length > maxClusterNameBytes) return undefined;
  return bytes.toString('utf8', offset + 1, offset + 1 + length);
}
