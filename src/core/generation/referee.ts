/**
 * One data node's side of the referee: when it asks for the grant, what it may do with the answer, and when
 * it tells the referee that all is well (architecture §4; the referee's own rules are in referee-record.ts).
 *
 * What it is for: two nodes have no majority without each other. A single-node generation may count the
 * referee in place of the other node, for votes and for acceptances, if its number is exactly `grant`.
 *
 *   idle         nothing is wanted, or there is no contact, or it is not time yet
 *   reporting    'report-online' is under way: at each contact, after each new generation of both nodes, and
 *                every reportEveryMs, so that a referee that lost its record learns it again
 *   asking       'request-grant' is under way; only when `wanted` says so
 *   granted      `grant` is a number; ends when the node has gone online in any generation, voted for a
 *                higher one, wants a higher number, or wants none and has not voted for this one
 *
 * Rule: one call at a time, with a deadline; an answer that comes after it, or after the node has gone online
 * in a generation since the question, is not believed. Nothing is lost by that: a grant stays its winner's,
 * who asks again.
 * Only a node that was online in the highest generation that it voted for asks anew; any other can only get
 * its own grant again. Reports come from a node whose last generation had both members and that holds no
 * grant and has not voted higher: a winner that works alone, or soon will, does not vouch for what was
 * before.
 * A grant is given back only by a node that is online in the highest generation it voted for, and only above
 * that: no ballot can have been begun with it.
 * It must never: take a timeout for a grant, use a grant for another number than the one asked for, report
 * for the other node.
 *
 * How to embed it: one instance per process in a cluster of two with referee_connstring. 'ticked' at least
 * twice per heartbeat_send_timeout and whenever `wanted` has changed. `wanted` is the number of the
 * single-node generation that the node would propose now, above all that it knows, and undefined
 *   - while the other node can be reached, or the exclusion time since this node last answered it (or since
 *     the start of the process) has not passed, unless the other said that it stopped;
 *   - while the node is online alone, or its own ballot for such a generation runs.
 * `grant` may be higher than what was wanted; the ballot takes the number of the grant. Its promise comes
 * after the grant, so that a refusal costs nothing.
 */
import { assert, unreachable } from '../../lib/assert.ts';
import type { NodeId } from '../identity.ts';
import type { GrantRefusal, GrantVerdict, RefereeRecord } from './referee-record.ts';
import { clearedUpTo, grantInForce } from './referee-record.ts';

export interface RefereeOptions {
  readonly self: NodeId;
  /** The other data node. */
  readonly other: NodeId;
  /** A call without an answer for so long has failed. */
  readonly callTimeoutMs: number;
  /** Between a refusal or a failure and the next question. */
  readonly retryMs: number;
  /** Between two reports of the same generation. */
  readonly reportEveryMs: number;
}

/** What the node knows of itself; the first three are durable, or follow from what is. */
export interface RefereeSituation {
  /** The number of the highest ballot that it voted for, also while that vote is still being written. */
  readonly promised: number;
  readonly lastOnline: number;
  /** Both nodes are members of `lastOnline`; false when the node does not know. */
  readonly lastOnlineFull: boolean;
  readonly wanted: number | undefined;
}

/** What came of a call; `failed` says nothing about what the referee did. */
export type RefereeAnswer =
  | GrantVerdict
  | { readonly kind: 'reported'; readonly record: RefereeRecord }
  /** A clause without a full stop, without secrets. */
  | { readonly kind: 'failed'; readonly reason: string };

export type RefereeEvent =
  | { readonly kind: 'ticked'; readonly now: number; readonly situation: RefereeSituation }
  /** The referee was reached and found suitable. */
  | { readonly kind: 'referee-connected'; readonly now: number }
  /** A clause without a full stop. */
  | { readonly kind: 'referee-lost'; readonly now: number; readonly reason: string }
  | {
      readonly kind: 'referee-answered';
      readonly now: number;
      readonly token: number;
      readonly answer: RefereeAnswer;
    };

export type RefereeEffect =
  /** Each is answered by one 'referee-answered' with its token, or never. */
  | {
      readonly kind: 'request-grant';
      readonly token: number;
      readonly generation: number;
      readonly since: number;
    }
  | {
      readonly kind: 'report-online';
      readonly token: number;
      readonly generation: number;
      readonly revision: number;
    }
  | { readonly kind: 'grant-gained'; readonly generation: number }
  /** `reason` has changed; empty when all is well. */
  | { readonly kind: 'referee-changed'; readonly reason: string };

type Call =
  | {
      readonly kind: 'asking';
      readonly token: number;
      readonly sentAt: number;
      readonly generation: number;
      readonly lastOnline: number;
    }
  | {
      readonly kind: 'reporting';
      readonly token: number;
      readonly sentAt: number;
      readonly generation: number;
      readonly revision: number;
    };

const nowhere: RefereeSituation = {
  promised: 0,
  lastOnline: 0,
  lastOnlineFull: false,
  wanted: undefined,
};

export class RefereeMachine {
  readonly #options: RefereeOptions;
  #situation: RefereeSituation = nowhere;
  #contact: { readonly lost: string | undefined } = { lost: 'not connected yet' };
  #call: Call | undefined;
  #token = 0;
  #grant: number | undefined;
  /** As the last answer showed it. */
  #record: RefereeRecord | undefined;
  /** The generation of the last report that was answered in this contact, and when; 0: none. */
  #reported = 0;
  #nextReportAt = -Infinity;
  #nextAskAt = -Infinity;
  /** What the referee had cleared when it was last seen level with this node; 0: never in this process. */
  #confirmed = 0;
  #refusal = '';
  #unheardSince: number | undefined;
  #reportedReason = '';

  constructor(options: RefereeOptions) {
    assert(options.self !== options.other, 'the other node is this one');
    assert(
      options.callTimeoutMs > 0 && options.retryMs > 0 && options.reportEveryMs > 0,
      'times are positive',
    );
    this.#options = options;
    this.#reportedReason = this.reason;
  }

  /** The single-node generation in which the referee counts as the other node; undefined: there is none. */
  get grant(): number | undefined {
    return this.#grant;
  }

  /** Handles one event; the effects are to be carried out in order. */
  step(event: RefereeEvent): RefereeEffect[] {
    const effects: RefereeEffect[] = [];
    switch (event.kind) {
      case 'ticked':
        this.#enter(event.situation);
        break;
      case 'referee-connected':
        this.#contact = { lost: undefined };
        this.#reported = 0;
        this.#nextReportAt = this.#nextAskAt = -Infinity;
        break;
      case 'referee-lost':
        this.#contact = { lost: event.reason };
        this.#call = undefined;
        break;
      case 'referee-answered':
        if (this.#call?.token === event.token) this.#answered(this.#call, event.answer, event.now, effects);
        break;
      default:
        unreachable(event);
    }
    this.#expire(event.now);
    if (this.#contact.lost === undefined && this.#call === undefined) this.#act(event.now, effects);
    this.#lookForOther(event.now);
    this.#tell(effects);
    return effects;
  }

  /** Why there is no grant, or what is wrong with the referee: a sentence without a full stop, or empty. */
  get reason(): string {
    if (this.#contact.lost !== undefined) return `no contact with the referee: ${this.#contact.lost}`;
    if (this.#situation.wanted !== undefined && this.#grant === undefined) return this.#refusal;
    if (this.#unheardSince === -Infinity) return this.#otherUnheard();
    return '';
  }

  #enter(situation: RefereeSituation): void {
    const before = this.#situation;
    this.#situation = situation;
    // Online since the grant: in its own generation, or level with the other in whatever number.
    if (situation.lastOnline !== before.lastOnline) {
      this.#layDown();
      this.#nextAskAt = -Infinity;
    }
    // What was refused then says nothing of the next time that it is wanted.
    if (situation.wanted === undefined || situation.lastOnline !== before.lastOnline) this.#refusal = '';
    if (this.#grant !== undefined && situation.promised > this.#grant) this.#grant = undefined;
    if (this.#grant !== undefined && situation.promised < this.#grant && situation.wanted === undefined)
      this.#layDown();
    const call = this.#call;
    if (call?.kind !== 'asking') return;
    if (situation.lastOnline !== call.lastOnline || situation.promised >= call.generation)
      this.#call = undefined;
  }

  /** Nobody needs the grant any more: the next report gives it back. */
  #layDown(): void {
    this.#grant = undefined;
    this.#nextReportAt = -Infinity;
  }

  #expire(now: number): void {
    const call = this.#call;
    if (call === undefined || now - call.sentAt < this.#options.callTimeoutMs) return;
    this.#call = undefined;
    this.#failed(`no answer within ${this.#options.callTimeoutMs} ms`, now);
  }

  #failed(reason: string, now: number): void {
    this.#refusal = `the referee does not answer: ${reason}`;
    this.#nextAskAt = this.#nextReportAt = now + this.#options.retryMs;
  }

  #act(now: number, effects: RefereeEffect[]): void {
    const { wanted, lastOnline } = this.#situation;
    const newer = this.#vouches() && this.#reported < lastOnline;
    if (this.#vouches() && (newer || wanted === undefined) && now >= this.#nextReportAt) {
      this.#report(now, effects);
      return;
    }
    // What it can vouch for itself must not be missing when it asks.
    if (wanted === undefined || newer || now < this.#nextAskAt) return;
    if (this.#grant === undefined || this.#grant < wanted) this.#ask(wanted, now, effects);
  }

  #vouches(): boolean {
    const { promised, lastOnline, lastOnlineFull } = this.#situation;
    // A higher vote may have been one for itself alone, and its record may be all that forbids the other.
    return lastOnlineFull && lastOnline > 0 && promised === lastOnline && this.#grant === undefined;
  }

  #report(now: number, effects: RefereeEffect[]): void {
    const generation = this.#situation.lastOnline;
    const revision = this.#leftover()?.revision ?? 0;
    const token = ++this.#token;
    this.#call = { kind: 'reporting', token, sentAt: now, generation, revision };
    effects.push({ kind: 'report-online', token, generation, revision });
  }

  /** A grant of this node's own, above where both nodes are now, that it does not use. */
  #leftover(): RefereeRecord | undefined {
    const { wanted, promised, lastOnline } = this.#situation;
    const record = this.#record;
    if (record === undefined || wanted !== undefined || this.#grant !== undefined) return undefined;
    // A ballot of its own that it never saw the end of may have been accepted under an earlier number.
    if (promised !== lastOnline) return undefined;
    return record.winner === this.#options.self && record.generation > lastOnline ? record : undefined;
  }

  #ask(wanted: number, now: number, effects: RefereeEffect[]): void {
    const { promised, lastOnline } = this.#situation;
    const record = this.#record;
    const cleared = record === undefined ? 0 : clearedUpTo(record);
    const generation = Math.max(wanted, promised + 1, cleared + 1);
    const complete = lastOnline > 0 && promised === lastOnline;
    const since = complete ? this.#confirmed || lastOnline : 0;
    const token = ++this.#token;
    this.#grant = undefined;
    this.#call = { kind: 'asking', token, sentAt: now, generation, lastOnline };
    effects.push({ kind: 'request-grant', token, generation, since });
  }

  #answered(call: Call, answer: RefereeAnswer, now: number, effects: RefereeEffect[]): void {
    this.#call = undefined;
    if (answer.kind === 'failed') {
      this.#failed(answer.reason, now);
      return;
    }
    this.#see(answer.record);
    switch (answer.kind) {
      case 'reported':
        assert(call.kind === 'reporting', 'a question was answered as a report');
        this.#reported = call.generation;
        this.#nextReportAt = now + this.#options.reportEveryMs;
        // Only an answer shows a leftover, and what was given back with an old revision was not taken.
        if ((this.#leftover()?.revision ?? call.revision) !== call.revision) this.#nextReportAt = now;
        break;
      case 'granted':
        assert(call.kind === 'asking', 'a report was answered as a question');
        this.#refusal = '';
        if (this.#situation.wanted === undefined) {
          this.#layDown();
          break;
        }
        this.#grant = call.generation;
        effects.push({ kind: 'grant-gained', generation: call.generation });
        break;
      case 'refused':
        this.#refusal = this.#refusalText(answer.refusal);
        // The next number is known from the record: no need to wait.
        this.#nextAskAt = answer.refusal === 'cleared' ? now : now + this.#options.retryMs;
        break;
      default:
        unreachable(answer);
    }
  }

  #see(record: RefereeRecord | undefined): void {
    this.#record = record;
    const { lastOnline, lastOnlineFull } = this.#situation;
    if (record === undefined || !lastOnlineFull) return;
    if (lastOnline > 0 && clearedUpTo(record) >= lastOnline) this.#confirmed = clearedUpTo(record);
  }

  /** The other node is online and yet never reports: it may have another referee. */
  #lookForOther(now: number): void {
    const { wanted, lastOnline } = this.#situation;
    const record = this.#record;
    const missing =
      wanted === undefined &&
      this.#contact.lost === undefined &&
      this.#vouches() &&
      this.#reported === lastOnline &&
      record !== undefined &&
      clearedUpTo(record) < lastOnline;
    if (!missing) this.#unheardSince = undefined;
    else if (this.#unheardSince === undefined) this.#unheardSince = now;
    else if (now - this.#unheardSince >= 2 * this.#options.reportEveryMs) this.#unheardSince = -Infinity;
  }

  #otherUnheard(): string {
    const { other } = this.#options;
    const { lastOnline } = this.#situation;
    return (
      `the referee has not heard from node ${other} in generation ${lastOnline}: ` +
      `both nodes must have the same referee_connstring`
    );
  }

  #refusalText(refusal: GrantRefusal): string {
    const { other } = this.#options;
    const { promised, lastOnline } = this.#situation;
    const record = this.#record;
    switch (refusal) {
      case 'no-record':
        return `the referee does not know this cluster yet: both nodes must have been online once`;
      case 'cleared':
        return `the referee has cleared generation ${record === undefined ? 0 : clearedUpTo(record)}`;
      case 'other-winner': {
        const generation = record === undefined ? 0 : (grantInForce(record)?.generation ?? 0);
        return `the referee chose node ${other} in generation ${generation}: start node ${other}`;
      }
      case 'incomplete':
        return (
          `this node voted for generation ${promised} and was last online in ${lastOnline}: ` +
          `node ${other} is needed`
        );
      case 'unconfirmed':
        return this.#otherUnheard();
      default:
        return unreachable(refusal);
    }
  }

  /** The only place where news about the referee leave the machine. */
  #tell(effects: RefereeEffect[]): void {
    const { reason } = this;
    if (reason === this.#reportedReason) return;
    this.#reportedReason = reason;
    effects.push({ kind: 'referee-changed', reason });
  }
}
