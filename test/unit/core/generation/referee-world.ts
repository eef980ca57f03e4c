/**
 * Two data nodes, one referee and everything that can happen to them, as a model: the nodes' machines are the
 * real ones, elections are reduced to their durable steps, the referee applies the rules of referee-record.ts.
 * It checks from outside: whoever decides alone has everything that was ever decided, and nobody else works.
 */
import { RefereeMachine } from '../../../../src/core/generation/referee.ts';
import type { RefereeAnswer, RefereeEffect } from '../../../../src/core/generation/referee.ts';
import { afterReport, judgeGrant } from '../../../../src/core/generation/referee-record.ts';
import type { RefereeRecord } from '../../../../src/core/generation/referee-record.ts';

const pair = { low: 1, high: 2 };
const timing = { callTimeoutMs: 50, retryMs: 20, reportEveryMs: 200 };

type Call = Extract<RefereeEffect, { kind: 'request-grant' | 'report-online' }>;

interface Accepted {
  readonly number: number;
  readonly proposer: number;
  /** What it decides, for ever. */
  readonly decided: ReadonlySet<number>;
}

/** One life of a gateway. */
class Process {
  readonly machine: RefereeMachine;
  /** The generation that it is online in; 0: none. */
  onlineIn = 0;
  alone = false;
  /** The number of its own single-node ballot that runs, and whether it has been accepted. */
  ballot: { number: number; accepted: boolean } | undefined;
  /** A full generation that it accepted and is not online in yet. */
  joining: { number: number; complete: boolean } | undefined;

  constructor(self: number) {
    this.machine = new RefereeMachine({ self, other: 3 - self, ...timing });
  }
}

export class Site {
  readonly id: number;
  promised = { generation: 0, proposer: 0 };
  accepted: Accepted | undefined;
  lastOnline = 0;
  lastOnlineFull = false;
  known = 0;
  data = new Set<number>();
  process: Process | undefined;

  constructor(id: number) {
    this.id = id;
  }
}

export interface Rules {
  readonly judgeGrant: typeof judgeGrant;
  readonly afterReport: typeof afterReport;
}

export class World {
  readonly sites: readonly [Site, Site] = [new Site(1), new Site(2)];
  readonly #rules: Rules;
  record: RefereeRecord | undefined;
  now = 0;
  linked = true;
  refereeUp = true;
  readonly decided = new Set<number>();
  #counter = 0;
  readonly calls: { readonly site: Site; readonly process: Process; readonly call: Call }[] = [];
  readonly answers: { readonly process: Process; readonly token: number; readonly answer: RefereeAnswer }[] =
    [];
  /** What was seen, for a look at whether the tests reach it. */
  readonly seen = { reigns: 0, refusals: 0, full: 0, returned: 0, ignored: 0 };
  violation: string | undefined;

  constructor(rules: Rules = { judgeGrant, afterReport }) {
    this.#rules = rules;
    for (const site of this.sites) this.start(site);
  }

  site(id: number): Site {
    return this.sites[id === 1 ? 0 : 1];
  }

  other(site: Site): Site {
    return this.site(3 - site.id);
  }

  reaches(site: Site): boolean {
    return this.linked && this.other(site).process !== undefined;
  }

  start(site: Site): void {
    site.process = new Process(site.id);
    if (this.refereeUp) this.#step(site, { kind: 'referee-connected', now: this.now });
  }

  crash(site: Site): void {
    site.process = undefined;
  }

  referee(up: boolean): void {
    this.refereeUp = up;
    const { now } = this;
    for (const site of this.sites) {
      const event = up
        ? ({ kind: 'referee-connected', now } as const)
        : ({ kind: 'referee-lost', now, reason: 'it stopped' } as const);
      this.#step(site, event);
    }
  }

  #step(site: Site, event: Parameters<RefereeMachine['step']>[0]): void {
    const { process } = site;
    if (process === undefined) return;
    for (const effect of process.machine.step(event)) {
      if (effect.kind === 'request-grant' || effect.kind === 'report-online')
        this.calls.push({ site, process, call: effect });
    }
  }

  wanted(site: Site): number | undefined {
    const { process } = site;
    if (process === undefined || this.reaches(site) || process.alone || process.ballot !== undefined)
      return undefined;
    return Math.max(site.known, site.promised.generation) + 1;
  }

  tick(site: Site): void {
    const { lastOnline, lastOnlineFull, promised } = site;
    const situation = {
      promised: promised.generation,
      lastOnline,
      lastOnlineFull,
      wanted: this.wanted(site),
    };
    this.#step(site, { kind: 'ticked', now: this.now, situation });
  }

  /** The referee handles one of the calls that are under way. */
  handle(index: number, keep: boolean): void {
    const entry = this.calls[index];
    if (entry === undefined || !this.refereeUp) return;
    if (!keep) this.calls.splice(index, 1);
    const { site, process, call } = entry;
    const node = site.id;
    let answer: RefereeAnswer;
    if (call.kind === 'request-grant') {
      answer = this.#rules.judgeGrant(this.record, { ...call, node });
      if (answer.kind === 'granted') this.record = answer.record;
      else this.seen.refusals++;
    } else {
      const before = this.record?.generation ?? 0;
      this.record = this.#rules.afterReport(this.record, pair, { ...call, node });
      if (this.record.generation < before) this.seen.returned++;
      answer = { kind: 'reported', record: this.record };
    }
    this.answers.push({ process, token: call.token, answer });
  }

  /** One of the answers that are under way arrives. */
  arrive(index: number, keep: boolean): void {
    const entry = this.answers[index];
    if (entry === undefined) return;
    if (!keep) this.answers.splice(index, 1);
    const { process, token, answer } = entry;
    const site = this.sites.find((candidate) => candidate.process === process);
    if (site === undefined) this.seen.ignored++;
    else this.#step(site, { kind: 'referee-answered', now: this.now, token, answer });
  }

  /** The next durable step of a single-node election. */
  advance(site: Site): void {
    const { process } = site;
    if (process === undefined) return;
    const grant = process.machine.grant;
    const { ballot } = process;
    if (ballot === undefined) {
      if (grant === undefined || this.wanted(site) === undefined || grant <= site.promised.generation) return;
      this.#promise(site, grant, site.id);
      process.ballot = { number: grant, accepted: false };
    } else if (site.promised.generation !== ballot.number || (!ballot.accepted && grant !== ballot.number)) {
      process.ballot = undefined;
    } else if (!ballot.accepted) {
      this.#accept(site, ballot.number);
      process.ballot = { ...ballot, accepted: true };
    } else {
      site.lastOnline = process.onlineIn = ballot.number;
      site.lastOnlineFull = false;
      process.alone = true;
      process.ballot = undefined;
      this.seen.reigns++;
    }
  }

  #accept(site: Site, number: number): void {
    this.#mustBeWhole(site, `accepts generation ${number} alone`);
    const decision = ++this.#counter;
    const decided = new Set([...(site.accepted?.decided ?? []), decision]);
    site.accepted = { number, proposer: site.id, decided };
    site.data.add(decision);
    this.decided.add(decision);
  }

  #mustBeWhole(site: Site, what: string): void {
    const lacks = [...this.decided].filter((transaction) => !site.data.has(transaction));
    if (lacks.length > 0) this.violation ??= `node ${site.id} ${what} without ${lacks.length} decisions`;
    if (this.other(site).process?.alone === true)
      this.violation ??= `node ${site.id} ${what} while the other works alone`;
  }

  #promise(site: Site, generation: number, proposer: number): void {
    site.promised = { generation, proposer };
    site.known = Math.max(site.known, generation);
    if (site.process === undefined) return;
    site.process.onlineIn = 0;
    site.process.alone = false;
    site.process.joining = undefined;
    site.process.ballot = undefined;
  }

  /** An election of both that gets `steps` far: promise, promise, accept, accept. */
  elect(proposer: Site, steps: number): void {
    const voter = this.other(proposer);
    if (proposer.process === undefined || !this.reaches(proposer)) return;
    const number = Math.max(proposer.known, proposer.promised.generation) + 1;
    if (steps < 1) return;
    this.#promise(proposer, number, proposer.id);
    if (steps < 2) return;
    if (voter.promised.generation >= number) {
      proposer.known = voter.promised.generation;
      return;
    }
    this.#promise(voter, number, proposer.id);
    const maxOnline = Math.max(proposer.lastOnline, voter.lastOnline);
    const base = [proposer.accepted, voter.accepted].reduce((a, b) =>
      (b?.number ?? 0) > (a?.number ?? 0) ? b : a,
    );
    const decided = base?.decided ?? new Set<number>();
    for (const site of [voter, proposer].slice(0, steps - 2)) {
      site.accepted = { number, proposer: proposer.id, decided };
      const complete = site.lastOnline === maxOnline;
      if (steps >= 4) site.process!.joining = { number, complete };
    }
  }

  /** A member goes online in the full generation, when it may. */
  join(site: Site): void {
    const { process } = site;
    const joining = process?.joining;
    if (process === undefined || joining === undefined || site.accepted?.number !== joining.number) return;
    const donor = this.other(site);
    if (!joining.complete) {
      if (!this.reaches(site) || donor.process?.onlineIn !== joining.number) return;
      for (const transaction of donor.data) site.data.add(transaction);
    }
    for (const transaction of site.accepted.decided) site.data.add(transaction);
    site.lastOnline = process.onlineIn = joining.number;
    site.lastOnlineFull = true;
    process.joining = undefined;
    if (donor.process?.onlineIn === joining.number) this.seen.full++;
  }

  /** A transaction, if the node can commit one now. */
  commit(site: Site): boolean {
    const { process } = site;
    if (process === undefined || process.onlineIn === 0) return false;
    const other = this.other(site);
    const both = this.reaches(site) && other.process?.onlineIn === process.onlineIn;
    if (!process.alone && !both) return false;
    if (process.alone) this.#mustBeWhole(site, `commits alone in generation ${process.onlineIn}`);
    const transaction = ++this.#counter;
    this.decided.add(transaction);
    site.data.add(transaction);
    if (both) other.data.add(transaction);
    return true;
  }

  /** Nothing fails for a while: elections, joins, calls and answers, until nothing changes any more. */
  calm(rounds = 40): void {
    for (let round = 0; round < rounds; round++) {
      this.now += 25;
      for (const site of this.sites) this.tick(site);
      while (this.calls.length > 0 && this.refereeUp) this.handle(0, false);
      while (this.answers.length > 0) this.arrive(0, false);
      for (const site of this.sites) {
        this.tick(site);
        this.advance(site);
        this.join(site);
      }
      const [a, b] = this.sites;
      const proposer = this.sites[round % 2]!;
      const together = a.process?.onlineIn === b.process?.onlineIn && a.process?.onlineIn !== 0;
      const joining = this.sites.some((site) => site.process?.joining !== undefined);
      // One that joins gets time, but not for ever: its donor may be gone.
      if (this.reaches(proposer) && !together && (!joining || round % 9 === 0)) this.elect(proposer, 4);
    }
  }
}
