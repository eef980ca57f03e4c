/**
 * The voter's and acceptor's side of elections, and all that this node keeps durably of them.
 *
 * A vote goes through: promised (the node leaves its generation, the promise is being persisted) → durable →
 * told, once the node is quiet. What it tells does not change any more until a higher ballot or a record
 * comes.
 *
 * Rules: a promise is durable before the vote is sent. One vote per generation number, so at most one record
 * per number is chosen. A record is accepted only by the process that voted for its ballot, and nothing is
 * done with a chosen record before it is noted durably. Members that are no majority are voted for and
 * accepted only by the one who holds the referee's grant of exactly that number.
 */
import { assert } from '../../lib/assert.ts';
import type { NodeId } from '../identity.ts';
import type { ElectionMessage } from '../peer/message.ts';
import { initialConfiguration } from './configuration.ts';
import type { ElectionEffect, ElectionNode, ElectionOptions } from './election-event.ts';
import { isMajority } from './quorum.ts';
import { ballotOf, compareBallots, higherRecord } from './record.ts';
import type { Ballot, Configuration, DurableChange, DurableState, GenerationRecord } from './record.ts';

type Message<Kind extends ElectionMessage['kind']> = Extract<ElectionMessage, { kind: Kind }>;

interface Vote {
  readonly ballot: Ballot;
  durable: boolean;
  /** Set when it was told: from then on it is repeated, never made anew. */
  told: Message<'election-vote'> | undefined;
}

/** What a confirmed token means. */
type Written =
  | { readonly kind: 'promise'; readonly ballot: Ballot }
  | { readonly kind: 'accept'; readonly ballot: Ballot }
  | { readonly kind: 'choice'; readonly record: GenerationRecord }
  | { readonly kind: 'online'; readonly number: number };

export class Acceptor {
  readonly #options: ElectionOptions;
  readonly #node: ElectionNode;
  readonly #emit: (effect: ElectionEffect) => void;
  readonly #initial: Configuration;
  /** As it will be when everything ordered is written: what a promise is checked against. */
  #state: DurableState;
  /** Written: what may be acted upon or told. */
  #chosen: GenerationRecord | undefined;
  #lastOnline: number;
  #acceptedBallot: Ballot | undefined;
  #vote: Vote | undefined;
  #token = 0;
  readonly #written = new Map<number, Written>();

  constructor(
    options: ElectionOptions,
    node: ElectionNode,
    state: DurableState,
    emit: (effect: ElectionEffect) => void,
  ) {
    this.#options = options;
    this.#node = node;
    this.#state = state;
    this.#chosen = state.chosen;
    this.#lastOnline = state.lastOnline;
    this.#emit = emit;
    this.#initial = initialConfiguration(options.configured);
  }

  /** The highest ballot that this node has promised, durably or soon. */
  get promised(): Ballot {
    return this.#state.promised;
  }

  /** The highest record that is chosen, noted here. */
  get chosen(): GenerationRecord | undefined {
    return this.#chosen;
  }

  /** As the chosen record says; before there is one, as the configuration file does. */
  get configuration(): Configuration {
    return this.#chosen ?? this.#initial;
  }

  /**
   * The highest record that this node has accepted or knows to be chosen: what is chosen was accepted by
   * others, if not here, so telling it can only help.
   */
  get highest(): GenerationRecord | undefined {
    return higherRecord(this.#state.accepted, this.#state.chosen);
  }

  get lastOnline(): number {
    return this.#lastOnline;
  }

  // ---- voting

  /** `rival`: the ballot of a round of this node's own that is to be preferred. */
  voteRequest(
    from: NodeId,
    message: Message<'vote-request'>,
    now: number,
    rival: Ballot | undefined,
    mayLeaveOut: LeaveOut,
  ): void {
    const { ballot, members, configured } = message;
    if (this.#vote !== undefined && compareBallots(ballot, this.#vote.ballot) === 0) {
      if (this.#vote.told !== undefined) this.#send(from, this.#vote.told);
      return;
    }
    if (ballot.generation <= this.promised.generation) {
      return this.#refuse(from, ballot, `it voted in generation ${this.promised.generation}`, 0);
    }
    if (rival !== undefined) {
      const reason = `it proposes generation ${rival.generation} itself`;
      return this.#refuse(from, ballot, reason, 0, rival);
    }
    // Where there are no records yet, the files must agree; afterwards the proposer's votes tell it.
    const fresh = this.highest === undefined;
    if (fresh && configured.join() !== this.#options.configured.join()) {
      const reason = `it is configured with the nodes ${this.#options.configured.join(', ')}`;
      return this.#refuse(from, ballot, reason, this.#options.recvTimeoutMs);
    }
    if (!members.includes(this.#options.self)) return;
    if (!this.#enough(from, ballot, { members, configured })) {
      return this.#refuse(from, ballot, 'its members are no majority, and there is no grant', 0);
    }
    const blocked = mayLeaveOut(message, now);
    if (blocked !== undefined) {
      const reason = `node ${blocked.node} may still hold a lease that it answered`;
      return this.#refuse(from, ballot, reason, blocked.forMs);
    }
    this.#vote = { ballot, durable: false, told: undefined };
    this.#emit({ kind: 'leave-generation', ballot });
    this.#persist({ promised: ballot }, { kind: 'promise', ballot });
  }

  /** The referee stands for the other node, for this node's own ballot only. */
  #enough(
    from: NodeId,
    ballot: Ballot,
    { members, configured }: Pick<GenerationRecord, 'members' | 'configured'>,
  ): boolean {
    const { self } = this.#options;
    if (isMajority(members, configured)) return true;
    return from === self && members.length === 1 && this.#node.grant?.() === ballot.generation;
  }

  #refuse(
    to: NodeId,
    ballot: Ballot,
    reason: string,
    retryAfterMs: number,
    promised: Ballot = this.promised,
  ): void {
    this.#send(to, { kind: 'vote-refused', ballot, reason, retryAfterMs, promised });
  }

  /** To be called when the node may have become quiet: a vote that waits for it is told. */
  look(): void {
    const vote = this.#vote;
    if (vote === undefined || !vote.durable || vote.told !== undefined || !this.#node.quiet()) return;
    vote.told = {
      kind: 'election-vote',
      ballot: vote.ballot,
      incarnation: this.#options.incarnation,
      lastOnline: this.#lastOnline,
      accepted: this.highest,
      ...this.#node.holdings(),
    };
    this.#send(vote.ballot.proposer, vote.told);
  }

  // ---- accepting and learning

  acceptRequest(from: NodeId, record: GenerationRecord): void {
    const ballot = ballotOf(record);
    const voted = this.#vote?.told !== undefined && compareBallots(this.#vote.ballot, ballot) === 0;
    const enough = this.#enough(from, ballot, record);
    if (!voted || !enough || compareBallots(ballot, this.promised) !== 0) {
      return this.#send(from, { kind: 'accept-refused', ballot, promised: this.promised });
    }
    const { accepted } = this.#state;
    if (accepted !== undefined && compareBallots(ballotOf(accepted), ballot) === 0) {
      if (this.#acceptedBallot !== undefined && compareBallots(this.#acceptedBallot, ballot) === 0)
        this.#send(from, { kind: 'accepted', ballot });
      return;
    }
    this.#persist({ accepted: record }, { kind: 'accept', ballot });
  }

  /** Somebody says that the record is chosen. */
  recordLearned(record: GenerationRecord): void {
    if (record.number <= (this.#state.chosen?.number ?? 0)) return;
    const ballot = ballotOf(record);
    const higher = compareBallots(ballot, this.promised) > 0;
    // Left out or restarted: its own generation is over all the same, and no lower one begins any more.
    if (higher) this.#emit({ kind: 'leave-generation', ballot });
    this.#persist({ chosen: record, ...(higher ? { promised: ballot } : {}) }, { kind: 'choice', record });
  }

  recordRequested(from: NodeId, above: number): void {
    const record = this.#chosen;
    if (record !== undefined && record.number > above) this.#send(from, { kind: 'record', record });
  }

  /** This node has executed what the record of the generation says. */
  noteOnline(number: number): void {
    assert(number > this.#state.lastOnline, `generation ${number} is noted once`);
    assert(number === this.#chosen?.number, 'a node is online only in a chosen generation');
    this.#persist({ lastOnline: number }, { kind: 'online', number });
  }

  // ---- the store

  #persist(change: DurableChange, written: Written): void {
    this.#token += 1;
    this.#state = { ...this.#state, ...change };
    this.#written.set(this.#token, written);
    this.#emit({ kind: 'persist', token: this.#token, change });
  }

  /** The change of the token, and all before it, are durable. */
  persisted(token: number): void {
    const written = this.#written.get(token);
    assert(written !== undefined, `nothing was to be persisted with token ${token}`);
    this.#written.delete(token);
    switch (written.kind) {
      case 'promise':
        if (this.#vote !== undefined && compareBallots(this.#vote.ballot, written.ballot) === 0)
          this.#vote.durable = true;
        this.look();
        return;
      case 'accept':
        // Also when a higher ballot was promised meanwhile: that vote tells of it.
        this.#acceptedBallot = written.ballot;
        this.#send(written.ballot.proposer, { kind: 'accepted', ballot: written.ballot });
        return;
      case 'choice':
        this.#recordNoted(written.record);
        return;
      case 'online':
        this.#lastOnline = written.number;
        this.#emit({ kind: 'online-noted', number: written.number });
        return;
    }
  }

  #recordNoted(record: GenerationRecord): void {
    this.#chosen = record;
    const ballot = ballotOf(record);
    const voted = this.#vote?.told !== undefined && compareBallots(this.#vote.ballot, ballot) === 0;
    this.#emit({ kind: 'record-chosen', record, voted });
  }

  #send(to: NodeId, message: ElectionMessage): void {
    this.#emit({ kind: 'send', to, message });
  }
}

/** Who forbids an election with these members only, and for how long at most; undefined: nobody. */
export type LeaveOut = (
  proposed: Pick<GenerationRecord, 'members' | 'configured'>,
  now: number,
) => { readonly node: NodeId; readonly forMs: number } | undefined;
