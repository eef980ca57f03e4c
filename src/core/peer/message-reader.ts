/**
 * Bytes into messages, for any split of the byte stream (frame.ts has the frame, message-writer.ts the
 * bodies).
 * Rule: what a peer sends is never trusted. Nonsense is an error value, after which the reader gives nothing
 * else; memory is taken for bytes that came, never for bytes that were claimed.
 *
 * A frame that lies inside one chunk is read in place; one that does not is collected into memory of its own.
 */
import { assert } from '../../lib/assert.ts';
import { pieceMemory } from '../../lib/byte-pool.ts';
import type { AddedNode, Ballot, GenerationRecord } from '../generation/record.ts';
import type { Gid, Lsn, NodeId, Refusal } from '../identity.ts';
import { ByteReader } from './byte-reader.ts';
import {
  frameHeadBytes,
  frameLengthBytes,
  frameType,
  maxBodyBytes,
  maxFrameBytes,
  maxGidBytes,
  maxNode,
  maxTextLength,
  optionalTypeBit,
} from './frame.ts';
import { gidsOf } from './gid-runs.ts';
import type { PeerMessage } from './message.ts';
import { refusalTexts } from './message-writer.ts';

/** They broke the protocol: the link ends. `text` is for the log. */
export interface CodecError {
  readonly kind: 'codec-error';
  readonly reason: 'frame-length' | 'unknown-type' | 'out-of-sequence' | 'malformed-body';
  readonly text: string;
}

/** Room that is made at once, for a frame of transaction-data; beyond it for at most twice what has come. */
const wholeAtOnceBytes = 131_072;
const nothing = new Uint8Array(0);

export class MessageReader {
  #chunk: Uint8Array = nothing;
  #offset = 0;
  /** The beginning of a frame whose end has not come; never written again once a message was read from it. */
  #spill: Uint8Array = nothing;
  #spillBytes = 0;
  #sequence = 0;
  #error: CodecError | undefined;

  /**
   * Hands in what the socket gave; call `next` until it returns undefined before the next push. The chunk
   * may be overwritten after that: the data of a transaction-data have memory of their own.
   */
  push(chunk: Uint8Array): void {
    assert(
      this.#offset === this.#chunk.length || this.#error !== undefined,
      'push before the last chunk was read',
    );
    this.#chunk = chunk;
    this.#offset = 0;
  }

  /**
   * The next message; undefined when more bytes are needed; an error, for ever, when the peer broke the
   * rules.
   */
  next(): PeerMessage | CodecError | undefined {
    while (this.#error === undefined) {
      const frame = this.#spillBytes > 0 ? this.#frameAcrossChunks() : this.#frameInChunk();
      if (frame === undefined) return this.#error;
      const message = this.#read(frame);
      if (message !== undefined) return message;
    }
    return this.#error;
  }

  /** Type, sequence and body of the frame at the offset; undefined, the rest spilled, when not whole. */
  #frameInChunk(): Uint8Array | undefined {
    const available = this.#chunk.length - this.#offset;
    let whole = available;
    if (available >= frameLengthBytes) {
      const length = readLength(this.#chunk, this.#offset);
      if (!this.#lengthIsSound(length)) return undefined;
      if (available >= frameLengthBytes + length) {
        const start = this.#offset + frameLengthBytes;
        this.#offset = start + length;
        return this.#chunk.subarray(start, this.#offset);
      }
      whole = frameLengthBytes + length;
    }
    this.#spillUpTo(available, whole);
    return undefined;
  }

  /** Completes the spilled frame from the chunk, first its length, then the rest. */
  #frameAcrossChunks(): Uint8Array | undefined {
    this.#spillUpTo(frameLengthBytes);
    if (this.#spillBytes < frameLengthBytes) return undefined;
    const length = readLength(this.#spill, 0);
    if (!this.#lengthIsSound(length)) return undefined;
    this.#spillUpTo(frameLengthBytes + length);
    if (this.#spillBytes < frameLengthBytes + length) return undefined;
    const frame = this.#spill.subarray(frameLengthBytes, frameLengthBytes + length);
    this.#spill = nothing;
    this.#spillBytes = 0;
    return frame;
  }

  /** Moves bytes to the spill until it holds `total`. */
  #spillUpTo(total: number, whole = total): void {
    const bytes = Math.min(total - this.#spillBytes, this.#chunk.length - this.#offset);
    if (bytes <= 0) return;
    const needed = this.#spillBytes + bytes;
    if (needed > this.#spill.length) {
      const most = Math.max(2 * needed, wholeAtOnceBytes);
      const grown = pieceMemory.room(Math.max(needed, Math.min(whole, most)));
      grown.set(this.#spill.subarray(0, this.#spillBytes));
      this.#spill = grown;
    }
    this.#spill.set(this.#chunk.subarray(this.#offset, this.#offset + bytes), this.#spillBytes);
    this.#spillBytes = needed;
    this.#offset += bytes;
  }

  #lengthIsSound(length: number): boolean {
    if (length >= frameHeadBytes && length <= maxFrameBytes) return true;
    this.#break('frame-length', `a frame claims ${length} bytes`);
    return false;
  }

  /** The frame's message; undefined when it is to be skipped or broke the rules. */
  #read(frame: Uint8Array): PeerMessage | undefined {
    const reader = new ByteReader(frame);
    const type = reader.u8();
    const sequence = reader.u32();
    if (sequence !== this.#sequence) {
      this.#break('out-of-sequence', `frame ${sequence} came where ${this.#sequence} was due`);
      return undefined;
    }
    this.#sequence = (sequence + 1) % 0x1_0000_0000;
    const message = readBody(type, reader);
    if (message === undefined) {
      if ((type & optionalTypeBit) === 0) this.#break('unknown-type', `a message of unknown type ${type}`);
      return undefined;
    }
    if (reader.failed || reader.remaining > 0) {
      this.#break('malformed-body', `a malformed ${message.kind} message`);
      return undefined;
    }
    const lent = message.kind === 'transaction-data' && frame.buffer === this.#chunk.buffer;
    return lent ? { ...message, data: message.data.slice() } : message;
  }

  #break(reason: CodecError['reason'], text: string): void {
    this.#error = { kind: 'codec-error', reason, text };
    this.#chunk = nothing;
    this.#offset = 0;
    this.#spill = nothing;
    this.#spillBytes = 0;
  }
}

function readLength(bytes: Uint8Array, offset: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset + offset, frameLengthBytes).getUint32(0);
}

/** The message as far as it can be read (the reader tells whether it could); undefined: an unknown type. */
function readBody(type: number, reader: ByteReader): PeerMessage | undefined {
  switch (type) {
    case frameType.heartbeat:
      return readHeartbeat(reader);
    case frameType.heartbeatAnswer:
      return {
        kind: 'heartbeat-answer',
        sentAt: reader.f64(),
        maxVoted: reader.u53(),
        withheld: reader.bool(),
        clock: reader.f64(),
      };
    case frameType.transactionStart:
      return readTransactionStart(reader);
    case frameType.transactionData:
      return { kind: 'transaction-data', gid: readGid(reader), offset: reader.u53(), data: reader.rest() };
    case frameType.transactionEnd:
      return { kind: 'transaction-end', gid: readGid(reader) };
    case frameType.vote:
      return { kind: 'vote', gid: readGid(reader), refusal: reader.bool() ? readRefusal(reader) : undefined };
    case frameType.rollbackRequest:
      return { kind: 'rollback-request', gid: readGid(reader) };
    case frameType.rolledBack:
      return { kind: 'rolled-back', gid: readGid(reader) };
    case frameType.outcome:
      return { kind: 'outcome', gid: readGid(reader), outcome: reader.bool() ? 'commit' : 'abort' };
    case frameType.finished:
      return { kind: 'finished', gid: readGid(reader) };
    case frameType.finishedEverywhere:
      return {
        kind: 'finished-everywhere',
        gids: readGids(reader),
        generation: reader.u53(),
        floor: reader.u53(),
      };
    case frameType.refuseRequest:
      return { kind: 'refuse-request', gid: readGid(reader), winner: readGid(reader) };
    case frameType.flow:
      return { kind: 'flow', open: reader.bool() };
    case frameType.serverPosition:
      return readServerPosition(reader);
    case frameType.serverPositionVerdict:
      return { kind: 'server-position-verdict', refusal: readText(reader) };
    case frameType.request:
      return {
        kind: 'request',
        id: reader.u53(),
        verb: readText(reader),
        body: reader.text(maxBodyBytes),
      };
    case frameType.reply:
      return { kind: 'reply', id: reader.u53(), ok: reader.bool(), body: reader.text(maxBodyBytes) };
    default:
      return readElectionBody(type, reader);
  }
}

function readElectionBody(type: number, reader: ByteReader): PeerMessage | undefined {
  switch (type) {
    case frameType.voteRequest:
      return {
        kind: 'vote-request',
        ballot: readBallot(reader),
        members: readNodes(reader),
        configured: readNodes(reader),
      };
    case frameType.electionVote:
      return {
        kind: 'election-vote',
        ballot: readBallot(reader),
        incarnation: reader.u53(),
        lastOnline: reader.u53(),
        accepted: reader.bool() ? readRecord(reader) : undefined,
        prepared: readRuns(reader),
        committed: readRuns(reader),
      };
    case frameType.voteRefused:
      return {
        kind: 'vote-refused',
        ballot: readBallot(reader),
        reason: readText(reader),
        retryAfterMs: reader.f64(),
        promised: readBallot(reader),
      };
    case frameType.acceptRequest:
      return { kind: 'accept-request', record: readRecord(reader) };
    case frameType.accepted:
      return { kind: 'accepted', ballot: readBallot(reader) };
    case frameType.acceptRefused:
      return { kind: 'accept-refused', ballot: readBallot(reader), promised: readBallot(reader) };
    case frameType.record:
      return { kind: 'record', record: readRecord(reader) };
    case frameType.recordRequest:
      return { kind: 'record-request', above: reader.u53() };
    default:
      return undefined;
  }
}

// The fields of an object literal are read in the order in which they are written: that of the body.
function readHeartbeat(reader: ByteReader): PeerMessage {
  return {
    kind: 'heartbeat',
    sentAt: reader.f64(),
    generation: reader.u53(),
    maxVoted: reader.u53(),
    lastOnline: reader.u53(),
    onlineIn: reader.u53(),
    level: reader.bool(),
    connected: readNodes(reader),
    healthy: reader.bool(),
    reason: readText(reader),
    clock: reader.f64(),
  };
}

function readTransactionStart(reader: ByteReader): PeerMessage {
  return {
    kind: 'transaction-start',
    gid: readGid(reader),
    startTime: reader.f64(),
    ddl: reader.bool(),
    members: readNodes(reader),
    deps: readGids(reader),
  };
}

function readServerPosition(reader: ByteReader): PeerMessage {
  return {
    kind: 'server-position',
    systemIdentifier: readText(reader),
    timeline: reader.u32(),
    flushed: readLsn(reader),
    branches: reader.list(reader.u32(), () => ({ timeline: reader.u32(), at: readLsn(reader) })),
  };
}

function readLsn(reader: ByteReader): Lsn {
  const high = BigInt(reader.u32());
  return (high << 32n) | BigInt(reader.u32());
}

function readRefusal(reader: ByteReader): Refusal {
  const sqlstate = readText(reader);
  const message = readText(reader);
  const present = reader.u8();
  if (present >= 1 << refusalTexts.length) reader.fail();
  const texts: { -readonly [Name in (typeof refusalTexts)[number]]?: string } = {};
  refusalTexts.forEach((name, bit) => {
    if ((present & (1 << bit)) !== 0) texts[name] = readText(reader);
  });
  const node = reader.u8();
  if (node > maxNode) reader.fail();
  return { sqlstate, message, ...texts, node, retryable: reader.bool() };
}

function readText(reader: ByteReader): string {
  return reader.text(maxTextLength * 3);
}

function readGid(reader: ByteReader): Gid {
  const gid = reader.text(maxGidBytes);
  if (gid === '') reader.fail();
  return gid;
}

function readGids(reader: ByteReader): Gid[] {
  return reader.list(reader.u32(), () => readGid(reader));
}

/** Proposer 0 stands in the ballot of a node that has promised nothing. */
function readBallot(reader: ByteReader): Ballot {
  const ballot = { generation: reader.u53(), proposer: reader.u8() };
  if (ballot.proposer > maxNode) reader.fail();
  return ballot;
}

function readRecord(reader: ByteReader): GenerationRecord {
  const record = {
    number: reader.u53(),
    proposer: reader.u8(),
    members: readNodes(reader),
    configured: readNodes(reader),
    joining: readNodes(reader),
    added: reader.list(reader.u8(), () => readAddedNode(reader)),
    ...readFormer(reader),
    donors: readNodes(reader),
    commits: readRuns(reader),
  };
  if (record.number < 1 || record.proposer < 1 || record.proposer > maxNode) reader.fail();
  return record;
}

function readFormer(reader: ByteReader): Pick<GenerationRecord, 'former'> {
  const former = readNodes(reader);
  return former.length === 0 ? {} : { former };
}

function readAddedNode(reader: ByteReader): AddedNode {
  const node = {
    id: reader.u8(),
    host: readText(reader),
    port: reader.u32(),
    conninfo: readText(reader),
    since: reader.u53(),
  };
  if (node.id < 1 || node.id > maxNode || node.port > 0xffff) reader.fail();
  return node;
}

function readRuns(reader: ByteReader): Gid[] {
  const total = reader.u32();
  const runs = reader.list(reader.u32(), () => {
    return {
      node: reader.u8(),
      generation: reader.u53(),
      incarnation: reader.u53(),
      first: reader.u53(),
      length: reader.u32(),
    };
  });
  const gids = reader.failed ? undefined : gidsOf(runs, total);
  if (gids === undefined) reader.fail();
  return gids ?? [];
}

function readNodes(reader: ByteReader): NodeId[] {
  return reader.list(reader.u8(), () => {
    const node = reader.u8();
    if (node < 1 || node > maxNode) reader.fail();
    return node;
  });
}
