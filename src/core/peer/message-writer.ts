/**
 * Messages into bytes (frame.ts has the frame). Many messages make one list of segments, one write.
 * Rule: the writer belongs to one link, because the sequence numbers run per link; a new link is a new
 * writer. The grammar of each body stands at its case; message-reader.ts is its mirror.
 *
 *     gid, text = length:uint32 utf8 · nodes = count:uint8 node:uint8… · gids = count:uint32 gid…
 *     lsn = high:uint32 low:uint32
 *     ballot = generation:uint53 proposer:uint8
 *     runs = gids:uint32 count:uint32
 *            (node:uint8 generation:uint53 incarnation:uint53 first:uint53 length:uint32)…
 *     record: see #record
 */
import { assert, unreachable } from '../../lib/assert.ts';
import type { Gid, Lsn, NodeId, Refusal } from '../identity.ts';
import { ByteWriter } from './byte-writer.ts';
import { frameType, maxBodyBytes, maxDataBytes, maxFrameBytes, maxGidBytes, maxTextLength } from './frame.ts';
import type { Ballot, GenerationRecord } from '../generation/record.ts';
import { runsOf } from './gid-runs.ts';
import type { ElectionMessage, PeerMessage } from './message.ts';

type ServerPosition = Extract<PeerMessage, { kind: 'server-position' }>;

/** Refusal's optional texts, in the order of their bits and of their place in the body. */
export const refusalTexts = ['detail', 'hint', 'schema', 'table', 'column', 'constraint'] as const;

export class MessageWriter {
  readonly #bytes = new ByteWriter();
  #sequence = 0;

  /** Bytes written and not yet taken. */
  get pendingBytes(): number {
    return this.#bytes.pendingBytes;
  }

  /**
   * Appends one message. The data of a transaction-data are referenced when they are large: they must not
   * change until the taken segments have left the process. Free text is cut to `maxTextLength`.
   */
  write(message: PeerMessage): void {
    const mark = this.#bytes.beginFrame();
    this.#bytes.u8(typeOf(message));
    this.#bytes.u32(this.#sequence);
    this.#sequence = (this.#sequence + 1) % 0x1_0000_0000;
    this.#body(message);
    const payload = message.kind === 'transaction-data' ? message.data : undefined;
    assert(
      payload === undefined || payload.length <= maxDataBytes,
      'transaction-data longer than maxDataBytes',
    );
    const claimed = this.#bytes.endFrame(mark, payload);
    assert(claimed <= maxFrameBytes, `a ${message.kind} message of ${claimed} bytes is longer than a frame`);
  }

  /** The bytes of all messages since the last call, in order. */
  take(): Uint8Array[] {
    return this.#bytes.take();
  }

  #body(message: PeerMessage): void {
    const bytes = this.#bytes;
    switch (message.kind) {
      case 'heartbeat':
        return this.#heartbeat(message);
      // sentAt:float64 maxVoted:uint53 withheld:uint8 clock:float64
      case 'heartbeat-answer':
        bytes.f64(message.sentAt);
        bytes.u53(message.maxVoted);
        bytes.u8(message.withheld ? 1 : 0);
        return bytes.f64(message.clock);
      // gid startTime:float64 ddl:uint8 nodes gids
      case 'transaction-start':
        this.#gid(message.gid);
        bytes.f64(message.startTime);
        bytes.u8(message.ddl ? 1 : 0);
        this.#nodes(message.members);
        return this.#gids(message.deps);
      // gid offset:uint53, then data to the end of the frame (appended by endFrame)
      case 'transaction-data':
        this.#gid(message.gid);
        return bytes.u53(message.offset);
      // gid
      case 'transaction-end':
      case 'rollback-request':
      case 'rolled-back':
      case 'finished':
        return this.#gid(message.gid);
      // gid refused:uint8 [refusal]
      case 'vote':
        this.#gid(message.gid);
        bytes.u8(message.refusal === undefined ? 0 : 1);
        return message.refusal === undefined ? undefined : this.#refusal(message.refusal);
      // gid commit:uint8
      case 'outcome':
        this.#gid(message.gid);
        return bytes.u8(message.outcome === 'commit' ? 1 : 0);
      // gids generation:uint53 floor:uint53
      case 'finished-everywhere':
        this.#gids(message.gids);
        bytes.u53(message.generation);
        return bytes.u53(message.floor);
      // open:uint8
      case 'flow':
        return bytes.u8(message.open ? 1 : 0);
      // gid winner:gid
      case 'refuse-request':
        this.#gid(message.gid);
        return this.#gid(message.winner);
      case 'server-position':
        return this.#position(message);
      // refusal:text
      case 'server-position-verdict':
        return this.#text(message.refusal);
      case 'request':
      case 'reply':
        return this.#question(message);
      case 'vote-request':
      case 'election-vote':
      case 'vote-refused':
      case 'accept-request':
      case 'accepted':
      case 'accept-refused':
      case 'record':
      case 'record-request':
        return this.#election(message);
      default:
        return unreachable(message);
    }
  }

  /**
   * sentAt:float64 generation:uint53 maxVoted:uint53 lastOnline:uint53 onlineIn:uint53 level:uint8 nodes
   * healthy:uint8 reason:text clock:float64
   */
  #heartbeat(message: Extract<PeerMessage, { kind: 'heartbeat' }>): void {
    const bytes = this.#bytes;
    bytes.f64(message.sentAt);
    bytes.u53(message.generation);
    bytes.u53(message.maxVoted);
    bytes.u53(message.lastOnline);
    bytes.u53(message.onlineIn);
    bytes.u8(message.level ? 1 : 0);
    this.#nodes(message.connected);
    bytes.u8(message.healthy ? 1 : 0);
    this.#text(message.reason);
    bytes.f64(message.clock);
  }

  /** systemIdentifier:text timeline:uint32 flushed:lsn count:uint32 (timeline:uint32 at:lsn)… */
  #position({ systemIdentifier, timeline, flushed, branches }: ServerPosition): void {
    this.#text(systemIdentifier);
    this.#bytes.u32(timeline);
    this.#lsn(flushed);
    this.#bytes.u32(branches.length);
    for (const branch of branches) {
      this.#bytes.u32(branch.timeline);
      this.#lsn(branch.at);
    }
  }

  #election(message: ElectionMessage): void {
    const bytes = this.#bytes;
    switch (message.kind) {
      // ballot members:nodes configured:nodes
      case 'vote-request':
        this.#ballot(message.ballot);
        this.#nodes(message.members);
        return this.#nodes(message.configured);
      // ballot incarnation:uint53 lastOnline:uint53 accepted:uint8 [record] prepared:runs committed:runs
      case 'election-vote':
        this.#ballot(message.ballot);
        bytes.u53(message.incarnation);
        bytes.u53(message.lastOnline);
        bytes.u8(message.accepted === undefined ? 0 : 1);
        if (message.accepted !== undefined) this.#record(message.accepted);
        this.#runs(message.prepared);
        return this.#runs(message.committed);
      // ballot reason:text retryAfterMs:float64 promised:ballot
      case 'vote-refused':
        this.#ballot(message.ballot);
        this.#text(message.reason);
        bytes.f64(message.retryAfterMs);
        return this.#ballot(message.promised);
      // record
      case 'accept-request':
      case 'record':
        return this.#record(message.record);
      // ballot
      case 'accepted':
        return this.#ballot(message.ballot);
      // ballot promised:ballot
      case 'accept-refused':
        this.#ballot(message.ballot);
        return this.#ballot(message.promised);
      // above:uint53
      case 'record-request':
        return bytes.u53(message.above);
      default:
        return unreachable(message);
    }
  }

  #ballot(ballot: Ballot): void {
    this.#bytes.u53(ballot.generation);
    this.#bytes.u8(ballot.proposer);
  }

  /**
   * number:uint53 proposer:uint8 members:nodes configured:nodes joining:nodes count:uint8 (id:uint8 host:text
   * port:uint32 conninfo:text since:uint53)… former:nodes donors:nodes commits:runs; former: none, if empty
   */
  #record(record: GenerationRecord): void {
    this.#bytes.u53(record.number);
    this.#bytes.u8(record.proposer);
    this.#nodes(record.members);
    this.#nodes(record.configured);
    this.#nodes(record.joining);
    this.#bytes.u8(record.added.length);
    for (const { id, host, port, conninfo, since } of record.added) {
      this.#bytes.u8(id);
      this.#text(host);
      this.#bytes.u32(port);
      this.#text(conninfo);
      this.#bytes.u53(since);
    }
    this.#nodes(record.former ?? []);
    this.#nodes(record.donors);
    this.#runs(record.commits);
  }

  /**
   * sqlstate:text message:text present:uint8 text… node:uint8 retryable:uint8; bit i of present is
   * refusalTexts[i]
   */
  #refusal(refusal: Refusal): void {
    this.#text(refusal.sqlstate);
    this.#text(refusal.message);
    let present = 0;
    refusalTexts.forEach((name, bit) => {
      if (refusal[name] !== undefined) present |= 1 << bit;
    });
    this.#bytes.u8(present);
    for (const name of refusalTexts) {
      const text = refusal[name];
      if (text !== undefined) this.#text(text);
    }
    this.#bytes.u8(refusal.node);
    this.#bytes.u8(refusal.retryable ? 1 : 0);
  }

  /**
   * Error fields quote rows, so they can be of any length; a vote must fit into a frame whatever they hold.
   */
  #text(text: string): void {
    this.#bytes.text(text.length > maxTextLength ? text.slice(0, maxTextLength) : text);
  }

  /** id:uint53, then verb:text of a request or ok:uint8 of a reply, then body:text */
  #question(message: Extract<PeerMessage, { kind: 'request' | 'reply' }>): void {
    assert(message.body.length <= maxBodyBytes, `a body of ${message.body.length} characters`);
    this.#bytes.u53(message.id);
    if (message.kind === 'request') this.#text(message.verb);
    else this.#bytes.u8(message.ok ? 1 : 0);
    this.#bytes.text(message.body);
  }

  #lsn(lsn: Lsn): void {
    this.#bytes.u32(Number(lsn >> 32n));
    this.#bytes.u32(Number(lsn & 0xffff_ffffn));
  }

  #nodes(nodes: readonly NodeId[]): void {
    this.#bytes.u8(nodes.length);
    for (const node of nodes) this.#bytes.u8(node);
  }

  #gid(gid: Gid): void {
    assert(gid.length >= 1 && gid.length <= maxGidBytes, `a gid of ${gid.length} characters`);
    this.#bytes.text(gid);
  }

  #runs(gids: readonly Gid[]): void {
    const runs = runsOf(gids);
    // What the runs amount to: a claim that is damaged does not fit, and nothing is expanded.
    this.#bytes.u32(runs.reduce((sum, { length }) => sum + length, 0));
    this.#bytes.u32(runs.length);
    for (const { node, generation, incarnation, first, length } of runs) {
      this.#bytes.u8(node);
      this.#bytes.u53(generation);
      this.#bytes.u53(incarnation);
      this.#bytes.u53(first);
      this.#bytes.u32(length);
    }
  }

  #gids(gids: readonly Gid[]): void {
    this.#bytes.u32(gids.length);
    for (const gid of gids) this.#gid(gid);
  }
}

/** One message as the first frame of a link, in one piece: for tests and tools. */
export function encodeMessage(message: PeerMessage): Uint8Array {
  const writer = new MessageWriter();
  writer.write(message);
  const whole = new Uint8Array(writer.pendingBytes);
  let offset = 0;
  for (const segment of writer.take()) {
    whole.set(segment, offset);
    offset += segment.length;
  }
  return whole;
}

const types = {
  heartbeat: frameType.heartbeat,
  'heartbeat-answer': frameType.heartbeatAnswer,
  'transaction-start': frameType.transactionStart,
  'transaction-data': frameType.transactionData,
  'transaction-end': frameType.transactionEnd,
  vote: frameType.vote,
  'rollback-request': frameType.rollbackRequest,
  'rolled-back': frameType.rolledBack,
  outcome: frameType.outcome,
  finished: frameType.finished,
  'finished-everywhere': frameType.finishedEverywhere,
  'refuse-request': frameType.refuseRequest,
  flow: frameType.flow,
  'vote-request': frameType.voteRequest,
  'election-vote': frameType.electionVote,
  'vote-refused': frameType.voteRefused,
  'accept-request': frameType.acceptRequest,
  accepted: frameType.accepted,
  'accept-refused': frameType.acceptRefused,
  record: frameType.record,
  'record-request': frameType.recordRequest,
  'server-position': frameType.serverPosition,
  'server-position-verdict': frameType.serverPositionVerdict,
  request: frameType.request,
  reply: frameType.reply,
} as const satisfies Record<PeerMessage['kind'], number>;

function typeOf(message: PeerMessage): number {
  return types[message.kind];
}
