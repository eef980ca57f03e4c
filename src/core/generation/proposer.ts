/**
 * The proposer's side of elections: one round at a time, for the clique that fits best.
 *
 * A round: votes of the other members → own vote → value → accepted by all members → chosen. The own vote
 * comes last, so that a refusal leaves this node in its generation. A round fails when a member refuses, is
 * lost or restarts, or when the time is up; then the next one waits, at random and ever longer, so that rival
 * proposers miss each other.
 *
 * Rules: no ballot is used twice (the own promise is durable before a value is sent, and a number that was
 * tried is not tried again by this process). Nothing is proposed that this node would refuse to vote for. One
 * of two nodes proposes itself alone only with the referee's grant, and takes its number. The nodes of the
 * cluster change by one at a time (configuration.ts). A record that was accepted somewhere and is not known
 * to be chosen is carried on first, with its nodes as they are: nothing else can get a majority.
 */
import { assert } from '../../lib/assert.ts';
import type { NodeId } from '../identity.ts';
import type { ElectionMessage } from '../peer/message.ts';
import type { Acceptor } from './acceptor.ts';
import { candidates, electionReason } from './candidates.ts';
import { isFulfilled, nodesOf, obstacleTo, proposedConfiguration } from './configuration.ts';
import type { ConfigurationWish } from './configuration.ts';
import type { ElectionEffect, ElectionNode, ElectionOptions } from './election-event.ts';
import type { Contact } from './liveness-event.ts';
import { Pace } from './pace.ts';
import { isMajority } from './quorum.ts';
import { ballotOf, compareBallots, higherRecord } from './record.ts';
import type { Ballot, Configuration, GenerationRecord } from './record.ts';
import { recordFromVotes, type ElectionVote } from './value.ts';

type Message<Kind extends ElectionMessage['kind']> = Extract<ElectionMessage, { kind: Kind }>;

interface Round {
  readonly ballot: Ballot;
  readonly members: readonly NodeId[];
  readonly wish: ConfigurationWish | undefined;
  readonly until: number;
  sentAt: number;
  readonly votes: Map<NodeId, ElectionVote>;
  /** Set when the value is made: from then on it is proposed to everybody. */
  record: GenerationRecord | undefined;
  readonly accepted: Set<NodeId>;
}

export class Proposer {
  readonly #options: ElectionOptions;
  readonly #node: ElectionNode;
  readonly #acceptor: Acceptor;
  readonly #emit: (effect: ElectionEffect) => void;
  #round: Round | undefined;
  /** When this clique may be proposed. */
  #due: { readonly members: string; readonly at: number } | undefined;
  /** After a failure, at random and ever longer. */
  #backOffUntil = -Infinity;
  /** Rounds that failed since the last generation was chosen. */
  #failures = 0;
  /** No number up to this one is tried again. */
  #highestTried = 0;
  readonly #pace: Pace;
  /** Since when a node is heard that promised more than is chosen. */
  #stuckSince: number | undefined;
  /** The highest record that votes told of. */
  #heard: GenerationRecord | undefined;
  /** Why there is no generation yet, for the status; empty when none is needed. */
  #waiting = '';
  #wanted: number | undefined;
  /** What a person asks for, until it is there or given up. */
  wish: ConfigurationWish | undefined;

  constructor(
    options: ElectionOptions,
    node: ElectionNode,
    acceptor: Acceptor,
    emit: (effect: ElectionEffect) => void,
  ) {
    this.#options = options;
    this.#node = node;
    this.#acceptor = acceptor;
    this.#emit = emit;
    this.#pace = new Pace(options);
  }

  get waiting(): string {
    return this.#waiting;
  }

  /** The number that the referee is to grant; undefined while it is not needed. */
  get wanted(): number | undefined {
    return this.#wanted;
  }

  /** The ballot of the own round, when that one is to be preferred. */
  rivalOf(ballot: Ballot): Ballot | undefined {
    const own = this.#round?.ballot;
    if (own === undefined || own.generation < ballot.generation) return undefined;
    return own.generation > ballot.generation || own.proposer < ballot.proposer ? own : undefined;
  }

  /** This node has voted for another node's ballot. */
  yieldTo(proposer: NodeId, now: number, random: number): void {
    this.#round = undefined;
    this.#pace.waitFor(proposer, now, random);
  }

  /** A generation was chosen. */
  recordChosen(now: number): void {
    this.#round = undefined;
    this.#failures = 0;
    this.#due = undefined;
    this.#backOffUntil = -Infinity;
    this.#pace.chosen(now);
  }

  /** Accepted here or elsewhere, and perhaps chosen: what follows must be based on it. */
  get #unsettled(): GenerationRecord | undefined {
    const { chosen, highest } = this.#acceptor;
    const higher = higherRecord(highest, this.#heard);
    return higher !== undefined && higher.number > (chosen?.number ?? 0) ? higher : undefined;
  }

  /** The nodes of the generation to be proposed, but for a wish. */
  get #configuration(): Configuration {
    const unsettled = this.#unsettled;
    if (unsettled === undefined) return this.#acceptor.configuration;
    return { configured: unsettled.configured, joining: [], added: unsettled.added };
  }

  /** Looks whether a generation is needed. `taking`: this node takes part in the chosen one. */
  tick(now: number, random: number, taking: boolean): void {
    const contacts = this.#node.contacts(now);
    this.#wanted = undefined;
    if (this.#round !== undefined) {
      this.#watchRound(this.#round, contacts, now, random);
      return;
    }
    const { self, sendTimeoutMs } = this.#options;
    const { chosen, configuration } = this.#acceptor;
    const members = this.#candidates(contacts, now);
    const settled = this.#pace.isSettled(now);
    const stuck = this.#promiseStuck(contacts, now);
    const reason =
      members &&
      (electionReason(members, contacts, chosen, taking, settled) ??
        this.#wishReason(members, contacts) ??
        stuck);
    // By an old record it may take itself for a donor: the newer one is asked for and on its way.
    const behind = contacts.some(
      ({ node, generation }) => members?.includes(node) === true && generation > (chosen?.number ?? 0),
    );
    if (members === undefined || reason === undefined || behind) {
      this.#waiting = '';
      this.#due = undefined;
      this.#pace.rest(contacts, now);
      return;
    }
    this.#waiting = reason;
    const excluded = new Set([...nodesOf(configuration), ...this.#configuration.configured]);
    for (const member of members) excluded.delete(member);
    const blocked = this.#node.exclusion.blockedBy(excluded, now);
    if (blocked !== undefined) {
      this.#waiting = `${reason}; node ${blocked.node} may still hold a lease`;
      // It is heard here, but not by everybody: unless this node stops answering it, it is never over.
      if (contacts.some(({ node }) => node === blocked.node))
        this.#node.exclusion.withhold(blocked.node, now);
      return;
    }
    // The first of the clique at once, the others after it and apart from each other. While somebody is left
    // out who is heard, the news of its links may be on their way.
    const rank = members.indexOf(self);
    const leavesOut = contacts.some(({ node, healthy }) => healthy && !members.includes(node));
    const firstMs = leavesOut ? sendTimeoutMs : 0;
    if (this.#due?.members !== members.join()) {
      const at = now + firstMs + (rank === 0 ? 0 : (rank + random) * this.#stepMs);
      this.#due = { members: members.join(), at };
    }
    const { at } = this.#due;
    if (now < Math.max(at, this.#backOffUntil) || this.#pace.isPatient(contacts, now)) return;
    const number = this.#numberFor(members, contacts);
    if (number !== undefined) this.#begin(number, members, contacts, now);
  }

  /** A referee that grants nothing does not keep the other node stuck for ever. */
  #candidates(contacts: readonly Contact[], now: number): readonly NodeId[] | undefined {
    const { self, recvTimeoutMs } = this.#options;
    const { chosen } = this.#acceptor;
    const configuration = this.#configuration;
    const former = this.#unsettled?.former;
    const stuckMs = now - (this.#stuckSince ?? now);
    const majority =
      this.#node.grant === undefined || stuckMs > 3 * recvTimeoutMs
        ? candidates(self, contacts, configuration, chosen, false, former)
        : undefined;
    return (
      majority ?? candidates(self, contacts, configuration, chosen, this.#node.grant !== undefined, former)
    );
  }

  /**
   * Why the wish needs a generation, as a clause; undefined when it needs none or cannot come true now.
   * Nobody is dropped while a member is behind: it may have no other donor, and then those who are left stand
   * still.
   */
  #wishReason(members: readonly NodeId[], contacts: readonly Contact[]): string | undefined {
    const { wish } = this;
    const { chosen, configuration } = this.#acceptor;
    if (wish === undefined || chosen === undefined || this.#unsettled !== undefined) return undefined;
    if (isFulfilled(wish, configuration) || obstacleTo(wish, configuration) !== undefined) return undefined;
    if (wish.kind === 'add') return `node ${wish.node.id} is to be added`;
    if (members.includes(wish.node)) return undefined;
    const online = contacts.filter(({ onlineIn }) => onlineIn === chosen.number).map(({ node }) => node);
    const whole = chosen.members.every((node) => online.includes(node));
    return whole ? `node ${wish.node} is to be dropped` : undefined;
  }

  /** Above all that is known; alone it has to be the one of the grant, which is wanted until it is there. */
  #numberFor(members: readonly NodeId[], contacts: readonly Contact[]): number | undefined {
    const known = Math.max(
      this.#highestTried,
      this.#acceptor.promised.generation,
      this.#acceptor.chosen?.number ?? 0,
      ...contacts.map(({ maxVoted }) => maxVoted),
    );
    if (isMajority(members, this.#configuration.configured)) return known + 1;
    const grant = this.#node.grant?.();
    if (grant !== undefined && grant > known) return grant;
    this.#wanted = known + 1;
    return undefined;
  }

  /**
   * A node that promised more than was ever chosen does nothing with the present generation, not even catch
   * up with it: after a while it needs a higher one, with or without it.
   */
  #promiseStuck(contacts: readonly Contact[], now: number): string | undefined {
    const above = this.#acceptor.chosen?.number ?? 0;
    const stuck = contacts.find(({ healthy, maxVoted }) => healthy && maxVoted > above);
    if (stuck === undefined) {
      this.#stuckSince = undefined;
      return undefined;
    }
    this.#stuckSince ??= now;
    if (now - this.#stuckSince <= this.#options.recvTimeoutMs) return undefined;
    return `node ${stuck.node} has voted for generation ${stuck.maxVoted}, which was not chosen`;
  }

  get #stepMs(): number {
    return this.#options.sendTimeoutMs / 4;
  }

  #begin(number: number, members: readonly NodeId[], contacts: readonly Contact[], now: number): void {
    this.#highestTried = number;
    this.#round = {
      ballot: { generation: number, proposer: this.#options.self },
      members,
      wish: this.#wishReason(members, contacts) === undefined ? undefined : this.wish,
      until: now + this.#pace.roundMs(now),
      sentAt: now,
      votes: new Map(),
      record: undefined,
      accepted: new Set(),
    };
    this.#ask(this.#round, now);
  }

  /** Says again what is not answered yet: any message may be lost with its link. */
  #ask(round: Round, now: number): void {
    const { ballot, members, votes, record, accepted } = round;
    const { self } = this.#options;
    const { configured } = this.#expected(round);
    round.sentAt = now;
    if (record !== undefined) {
      for (const to of members) {
        if (!accepted.has(to)) this.#emit({ kind: 'send', to, message: { kind: 'accept-request', record } });
      }
      return;
    }
    const others = members.filter((node) => node !== self && !votes.has(node));
    for (const to of others.length > 0 ? others : [self]) {
      this.#emit({ kind: 'send', to, message: { kind: 'vote-request', ballot, members, configured } });
    }
  }

  /** The configuration of the round's record, if the votes show nothing that is not known here. */
  #expected({ ballot, members, wish }: Round): Configuration {
    return proposedConfiguration(this.#configuration, { wish, members, generation: ballot.generation });
  }

  #watchRound(round: Round, contacts: readonly Contact[], now: number, random: number): void {
    const { sendTimeoutMs } = this.#options;
    const healthy = new Set(contacts.filter((contact) => contact.healthy).map(({ node }) => node));
    const lost = round.members.some((node) => !healthy.has(node));
    if (lost || now > round.until) this.#fail(now, random, 0);
    else if (now - round.sentAt >= sendTimeoutMs) this.#ask(round, now);
  }

  /** Votes are of one process: what a member that restarts has said does not count, nor what it has begun. */
  restarted(node: NodeId, now: number): void {
    this.#pace.restarted(node);
    if (this.#round?.members.includes(node) === true) this.#fail(now, 0.5, 0);
  }

  #fail(now: number, random: number, atLeastMs: number): void {
    this.#round = undefined;
    this.#failures += 1;
    const backOffMs = this.#stepMs * 2 ** Math.min(this.#failures, 6) * random;
    this.#backOffUntil = now + Math.max(Math.min(backOffMs, this.#options.recvTimeoutMs), atLeastMs);
  }

  vote(from: NodeId, message: Message<'election-vote'>, now: number): void {
    const round = this.#of(message.ballot);
    if (round === undefined || round.record !== undefined || !round.members.includes(from)) return;
    round.votes.set(from, message);
    this.#heard = higherRecord(this.#heard, message.accepted);
    if (round.votes.size === round.members.length) this.#propose(round, now);
    else if (round.votes.size === round.members.length - 1) this.#ask(round, now);
  }

  #propose(round: Round, now: number): void {
    const { ballot, members, votes, wish } = round;
    const { configured } = this.#options;
    const chosen = this.#acceptor.chosen?.number ?? 0;
    // The grant was for the situation in which the round began.
    const grant = this.#node.grant?.();
    const value = recordFromVotes({ ballot, members, configured, wish, chosen, grant }, votes);
    if (value.kind === 'refused') {
      this.#waiting = value.reason;
      return this.#fail(now, 1, 0);
    }
    if (value.kind === 'contradiction') {
      this.#waiting = `the votes contradict each other: ${value.reason}`;
      this.#emit({ kind: 'alarm', gid: '', text: value.reason });
      this.#fail(now, 1, this.#options.recvTimeoutMs);
      return;
    }
    round.record = value.record;
    this.#ask(round, now);
  }

  refused(from: NodeId, message: Message<'vote-refused'>, now: number, random: number): void {
    const round = this.#of(message.ballot);
    if (round === undefined || round.record !== undefined || round.votes.has(from)) return;
    this.#highestTried = Math.max(this.#highestTried, message.promised.generation);
    this.#waiting = `node ${from}: ${message.reason}`;
    // What forbids it may be over sooner than the refuser can know.
    this.#fail(now, random, Math.min(message.retryAfterMs, 2 * this.#options.sendTimeoutMs));
  }

  accepted(from: NodeId, ballot: Ballot, now: number): void {
    const round = this.#of(ballot);
    if (round?.record === undefined || !round.members.includes(from)) return;
    round.accepted.add(from);
    // All members, which contain a majority of the configuration, before and after.
    if (round.accepted.size < round.members.length) return;
    const { record } = round;
    assert(compareBallots(ballotOf(record), ballot) === 0, 'a round proposes one record');
    this.#round = undefined;
    // Until the choice is noted here as well.
    this.#pace.waitFor(this.#options.self, now, 0);
    const told = new Set([...nodesOf(record), ...nodesOf(this.#acceptor.configuration)]);
    for (const to of told) {
      this.#emit({ kind: 'send', to, message: { kind: 'record', record } });
    }
  }

  acceptRefused(message: Message<'accept-refused'>, now: number, random: number): void {
    if (this.#of(message.ballot) === undefined) return;
    this.#highestTried = Math.max(this.#highestTried, message.promised.generation);
    this.#fail(now, random, 0);
  }

  #of(ballot: Ballot): Round | undefined {
    const round = this.#round;
    return round !== undefined && compareBallots(round.ballot, ballot) === 0 ? round : undefined;
  }
}
