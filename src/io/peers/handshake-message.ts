/**
 * The four messages of the handshake as bytes. All are of fixed size, so neither side reads, keeps or answers
 * more than these few bytes for somebody who has not proved anything.
 *
 *     hello      dialler → listener   magic:8 minVersion:uint16 maxVersion:uint16 from:uint8 to:uint8
 *                                     incarnation:uint53 since:uint53 nonce:32 clusterName:text64
 *     challenge  listener → dialler   magic:8 nonce:32
 *     proof      dialler → listener   mac:32
 *     verdict    listener → dialler   magic:8 code:uint8 node:uint8 incarnation:uint53 since:uint53
 *                                     version:uint16 minVersion:uint16 maxVersion:uint16
 *                                     clusterName:text64 mac:32
 *     text64 = length:uint8 utf8, filled up with zeros to 64 bytes
 *
 * The highest bits of `from` and `to` say what the connection is for: 0 0 a link for messages, 0 1 a stream
 * of bytes (recovery), 1 0 a life line, 1 1 a copy of the server (a stream for a command that is no gateway:
 * incarnation 0, and `to` 0 for whoever listens there). `since` is the generation that added the node at run
 * time, 0 for a node of the configuration files: ids are used again, (id, since) is not.
 *
 * A verdict `wrong-secret` has zeros for everything behind its code. What is said behind any other code is
 * covered by the mac. The form of the handshake itself never changes within one magic.
 */
import { maxNode } from '../../core/peer/frame.ts';

const magic = Buffer.from('mtmpeer2', 'latin1');

export const nonceBytes = 32;
export const macBytes = 32;
export const maxClusterNameBytes = 63;
export const helloBytes = 8 + 4 + 2 + 8 + 8 + nonceBytes + 64;
export const challengeBytes = 8 + nonceBytes;
export const verdictBytes = 8 + 2 + 8 + 8 + 6 + 64 + macBytes;

/**
 * What a connection is for: messages of the protocol, bytes that its owner understands, nothing but its end,
 * or the bytes of a whole server.
 */
export type ConnectionPurpose = 'link' | 'stream' | 'life-line' | 'copy';

const purposeBit = 0x80;
/** Where the numbers and the names begin. */
const at = {
  hello: { since: 22, nonce: 30, name: 30 + nonceBytes },
  verdict: { since: 18, version: 26, name: 32 },
};
/** The purpose `copy`, to whoever listens there. */
export const anyNode = 0;

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
  readonly since: number;
  readonly nonce: Buffer;
  readonly clusterName: string;
}

export interface Verdict {
  /** Index into `rejections`. */
  readonly code: number;
  readonly node: number;
  readonly incarnation: number;
  readonly since: number;
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
  const { purpose } = hello;
  const [fromBit, toBit] = [
    purpose === 'life-line' || purpose === 'copy',
    purpose === 'stream' || purpose === 'copy',
  ];
  bytes.writeUInt8(hello.from | (fromBit ? purposeBit : 0), 12);
  bytes.writeUInt8(hello.to | (toBit ? purposeBit : 0), 13);
  bytes.writeBigUInt64BE(BigInt(hello.incarnation), 14);
  bytes.writeBigUInt64BE(BigInt(hello.since), at.hello.since);
  hello.nonce.copy(bytes, at.hello.nonce);
  writeName(bytes, hello.clusterName, at.hello.name);
  return bytes;
}

/** Undefined when the bytes are not a hello of ours. */
export function decodeHello(bytes: Buffer): Hello | undefined {
  const incarnation = readNumber(bytes, 14);
  const since = readNumber(bytes, at.hello.since);
  const clusterName = readName(bytes, at.hello.name);
  if (!hasMagic(bytes) || clusterName === undefined) return undefined;
  if (incarnation === undefined || since === undefined) return undefined;
  const from = bytes.readUInt8(12) & ~purposeBit;
  const to = bytes.readUInt8(13) & ~purposeBit;
  const purpose = purposeOf(bytes.readUInt8(12), bytes.readUInt8(13));
  const lowestTarget = purpose === 'copy' ? anyNode : 1;
  if (from < 1 || from > maxNode || to < lowestTarget || to > maxNode) return undefined;
  return {
    versions: { min: bytes.readUInt16BE(8), max: bytes.readUInt16BE(10) },
    from,
    to,
    purpose,
    incarnation,
    since,
    nonce: bytes.subarray(at.hello.nonce, at.hello.nonce + nonceBytes),
    clusterName,
  };
}

function purposeOf(from: number, to: number): ConnectionPurpose {
  const alone = (to & purposeBit) === 0;
  if ((from & purposeBit) !== 0) return alone ? 'life-line' : 'copy';
  return alone ? 'link' : 'stream';
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
  bytes.writeBigUInt64BE(BigInt(verdict.since), at.verdict.since);
  bytes.writeUInt16BE(verdict.version, at.verdict.version);
  bytes.writeUInt16BE(verdict.versions.min, at.verdict.version + 2);
  bytes.writeUInt16BE(verdict.versions.max, at.verdict.version + 4);
  writeName(bytes, verdict.clusterName, at.verdict.name);
  return bytes;
}

/** Undefined when the bytes are not a verdict. Believe nothing but the code before its mac is checked. */
export function decodeVerdict(bytes: Buffer): Verdict | undefined {
  const incarnation = readNumber(bytes, 10);
  const since = readNumber(bytes, at.verdict.since);
  const clusterName = readName(bytes, at.verdict.name);
  if (!hasMagic(bytes) || clusterName === undefined) return undefined;
  if (incarnation === undefined || since === undefined) return undefined;
  return {
    code: bytes.readUInt8(8),
    node: bytes.readUInt8(9),
    incarnation,
    since,
    version: bytes.readUInt16BE(at.verdict.version),
    versions: {
      min: bytes.readUInt16BE(at.verdict.version + 2),
      max: bytes.readUInt16BE(at.verdict.version + 4),
    },
    clusterName,
  };
}

function readNumber(bytes: Buffer, offset: number): number | undefined {
  const number = Number(bytes.readBigUInt64BE(offset));
  return Number.isSafeInteger(number) ? number : undefined;
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
