/**
 * Elections as one node takes part in them: proposer, voter, acceptor and learner behind one door
 * (architecture §3, Decision rule: an election is the consensus on all older gids at once).
 *
 * Rule: what it sends to itself goes the same way as what it sends to others. The effects are to be carried
 * out in their order; 'leave-generation' before anything that follows it.
 */
import { unreachable } from '../../lib/assert.ts';
import type { Gid, NodeId } from '../identity.ts';
import type { ElectionMessage } from '../peer/message.ts';
import { Acceptor } from './acceptor.ts';
import { candidates } from './candidates.ts';
import { nodesOf, type ConfigurationWish } from './configuration.ts';
import type { ElectionEffect, ElectionNode, ElectionOptions } from './election-event.ts';
import { Proposer } from './proposer.ts';
import type { Ballot, Configuration, DurableState, GenerationRecord } from './record.ts';

export class Election {
  readonly #options: ElectionOptions;
  readonly #node: ElectionNode;
  readonly #acceptor: Acceptor;
  readonly #proposer: Proposer;
  #effects: ElectionEffect[] = [];
  /** Sent to this node itself. */
  #own: ElectionMessage[] = [];
  #now: number;
  #random = 0.5;
  #askedAt = -Infinity;

  /** `state`: what the server keeps. `now`: when this process began. */
  constructor(options: ElectionOptions, node: ElectionNode, state: DurableState, now: number) {
    this.#options = options;
    this.#node = node;
    this.#now = now;
    const emit = (effect: ElectionEffect): void => {
      if (effect.kind === 'send' && effect.to === options.self) this.#own.push(effect.message);
      else this.#effects.push(effect);
    };
    this.#acceptor = new Acceptor(options, node, state, emit);
    this.#proposer = new Proposer(options, node, this.#acceptor, emit);
  }

  get promised(): Ballot {
    return this.#acceptor.promised;
  }

  get chosen(): GenerationRecord | undefined {
    return this.#acceptor.chosen;
  }

  get lastOnline(): number {
    return this.#acceptor.lastOnline;
  }

  get configuration(): Configuration {
    return this.#acceptor.configuration;
  }

  /** A change of the configuration that this node proposes until it is there; undefined: none any more. */
  wish(wish: ConfigurationWish | undefined): void {
    this.#proposer.wish = wish;
  }

  /**
   * Commits of the record that this node has executed, until all its members have (`releasedIn`): whoever
   * takes this node for complete must hear of them, although nothing here remembers them as unfinished.
   */
  carried(releasedIn: number): readonly Gid[] {
    const { chosen, lastOnline } = this;
    if (chosen === undefined || lastOnline < chosen.number || releasedIn === chosen.number) return [];
    return chosen.commits;
  }

  /** Why a generation is needed and not there yet; empty when none is needed or there is no majority. */
  get waiting(): string {
    return this.#proposer.waiting;
  }

  /** The number of the generation that this node would be the only member of, if the referee granted it. */
  get wanted(): number | undefined {
    return this.#proposer.wanted;
  }

  /**
   * At least every heartbeat_send_timeout, and when a heartbeat or a link brings news. `random`: between 0
   * and 1, anew each time. `taking`: this node takes part in the chosen generation.
   */
  tick(now: number, random: number, taking: boolean): ElectionEffect[] {
    this.#now = now;
    this.#random = random;
    this.#proposer.tick(now, random, taking);
    this.#askForRecord(now);
    return this.#drain();
  }

  /** A node that hears of a generation that it does not know asks those who are in it. */
  #askForRecord(now: number): void {
    if (now - this.#askedAt < this.#options.sendTimeoutMs / 2) return;
    const above = this.chosen?.number ?? 0;
    const knowing = this.#node.contacts(now).filter(({ generation }) => generation > above);
    if (knowing.length === 0) return;
    this.#askedAt = now;
    for (const { node: to } of knowing) {
      this.#effects.push({ kind: 'send', to, message: { kind: 'record-request', above } });
    }
  }

  received(from: NodeId, message: ElectionMessage, now: number): ElectionEffect[] {
    this.#now = now;
    this.#handle(from, message);
    return this.#drain();
  }

  persisted(token: number): ElectionEffect[] {
    this.#acceptor.persisted(token);
    return this.#drain();
  }

  /** The node may have become quiet. */
  look(): ElectionEffect[] {
    this.#acceptor.look();
    return this.#drain();
  }

  /** This node has executed what the record of the chosen generation says. */
  noteOnline(number: number): ElectionEffect[] {
    this.#acceptor.noteOnline(number);
    return this.#drain();
  }

  peerRestarted(node: NodeId, now: number): void {
    this.#proposer.restarted(node, now);
  }

  #handle(from: NodeId, message: ElectionMessage): void {
    switch (message.kind) {
      case 'vote-request':
        return this.#voteRequest(from, message);
      case 'election-vote':
        return this.#proposer.vote(from, message, this.#now);
      case 'vote-refused':
        return this.#proposer.refused(from, message, this.#now, this.#random);
      case 'accept-request':
        return this.#acceptor.acceptRequest(from, message.record);
      case 'accepted':
        return this.#proposer.accepted(from, message.ballot, this.#now);
      case 'accept-refused':
        return this.#proposer.acceptRefused(message, this.#now, this.#random);
      case 'record':
        return this.#acceptor.recordLearned(message.record);
      case 'record-request':
        return this.#acceptor.recordRequested(from, message.above);
      default:
        return unreachable(message);
    }
  }

  #voteRequest(from: NodeId, message: Extract<ElectionMessage, { kind: 'vote-request' }>): void {
    const before = this.promised.generation;
    // Two that ask each other must not both give way: the one with the lower id goes on.
    const rival = from === this.#options.self ? undefined : this.#proposer.rivalOf(message.ballot);
    this.#acceptor.voteRequest(from, message, this.#now, rival, (proposed, now) =>
      this.#blockedBy(proposed, now),
    );
    if (from !== this.#options.self && this.promised.generation > before)
      this.#proposer.yieldTo(from, this.#now, this.#random);
  }

  /** Whoever this node knows may be configured in a record that it has only accepted, and hold a lease. */
  #blockedBy(
    { members, configured }: Pick<GenerationRecord, 'members' | 'configured'>,
    now: number,
  ): ReturnType<ElectionNode['exclusion']['blockedBy']> {
    const { self } = this.#options;
    const { exclusion } = this.#node;
    const { configuration } = this;
    const left = new Set([...nodesOf(configuration), ...configured]);
    for (const member of [...members, self]) left.delete(member);
    const blocked = exclusion.blockedBy(left, now);
    if (blocked === undefined) return undefined;
    // This node would leave it out as well: then it stops prolonging what the others wait for.
    const contacts = this.#node.contacts(now);
    const heard = contacts.some(({ node }) => node === blocked.node);
    const referee = this.#node.grant !== undefined;
    const best = candidates(self, contacts, configuration, this.chosen, referee);
    if (heard && best?.includes(blocked.node) === false) exclusion.withhold(blocked.node, now);
    return blocked;
  }

  /** Own messages are handled before anything else happens. */
  #drain(): ElectionEffect[] {
    for (let message = this.#own.shift(); message !== undefined; message = this.#own.shift()) {
      this.#handle(this.#options.self, message);
    }
    const effects = this.#effects;
    this.#effects = [];
    for (const effect of effects) {
      if (effect.kind !== 'record-chosen') continue;
      this.#proposer.recordChosen(this.#now);
      this.#node.exclusion.admit(effect.record.members);
    }
    return effects;
  }
}
