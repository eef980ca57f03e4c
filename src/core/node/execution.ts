/**
 * From a chosen record to "online": what this node does with the record, once per record.
 *
 *   complete   it is one of the donors and holds every commit of the record: those are committed, everything
 *              else that is older is rolled back; when that is executed it is noted that the node is online.
 *   catch-up   any other: it waits for a donor that is online, rolls back whatever is prepared, replays the
 *              donor's history, as a member up to its mark, else until it is voted in.
 *
 * Rules: nothing is done while a higher ballot is promised, for that vote told what is held here. A process
 * that did not vote for the record's ballot has no part in it, and a node that was online in it before its
 * restart has nothing left to do.
 */
import type { Election } from '../generation/election.ts';
import type { ElectionEffect } from '../generation/election-event.ts';
import type { Liveness } from '../generation/liveness.ts';
import type { Contact } from '../generation/liveness-event.ts';
import type { GenerationRecord } from '../generation/record.ts';
import type { Gid, NodeId } from '../identity.ts';
import type { CatchUp } from './catch-up.ts';
import type { Machines } from './machines.ts';

const noCommits: ReadonlySet<Gid> = new Set();

export class Execution {
  readonly #self: NodeId;
  readonly #election: Election;
  readonly #machines: Machines;
  readonly #catchUp: CatchUp;
  /** This process voted for the chosen generation and is a member of it. */
  #taking = false;
  #plan: 'complete' | 'catch-up' | undefined;
  /** The generation whose note is on its way to the store. */
  #noting = 0;

  constructor(self: NodeId, election: Election, machines: Machines, catchUp: CatchUp) {
    this.#self = self;
    this.#election = election;
    this.#machines = machines;
    this.#catchUp = catchUp;
  }

  /** This process takes part in the chosen generation and has not voted for a higher one. */
  get takesPart(): boolean {
    const { chosen, promised } = this.#election;
    return this.#taking && chosen !== undefined && promised.generation === chosen.number;
  }

  /** Transactions of former generations are being finished. */
  get settling(): boolean {
    return this.#plan === 'complete';
  }

  recordChosen(record: GenerationRecord, voted: boolean): void {
    this.#taking = voted && record.members.includes(this.#self);
    this.#plan = undefined;
    this.#catchUp.adjust(record, this.#taking);
  }

  /**
   * Goes on as far as it can now. To be called while the node is not online, after everything that happens.
   */
  look(now: number, liveness: Pick<Liveness, 'contacts'>): readonly ElectionEffect[] {
    const { chosen: record, promised, lastOnline } = this.#election;
    if (record === undefined || promised.generation > record.number || lastOnline >= record.number) return [];
    if (!this.#machines.quiet || this.#noting === record.number) return [];
    this.#plan ??= this.#isComplete(record) ? 'complete' : 'catch-up';
    if (this.#plan === 'catch-up') {
      this.#replay(record, liveness.contacts(now), now);
      return [];
    }
    this.#machines.settle(new Set(record.commits), true);
    return this.#machines.settled ? this.#note(record.number) : [];
  }

  /** Its rows are those of a donor, and nothing that the record commits was rolled back here. */
  #isComplete(record: GenerationRecord): boolean {
    if (!this.#taking || !record.donors.includes(this.#self)) return false;
    return record.commits.every((gid) => this.#machines.holds(gid));
  }

  #replay(record: GenerationRecord, contacts: readonly Contact[], now: number): void {
    const donor = this.#catchUp.nextDonor(record, contacts, now);
    if (donor === undefined) return;
    // Before anything is replayed: what is prepared here would block it. What of it committed comes again.
    this.#machines.settle(noCommits, false);
    if (this.#machines.settled) this.#catchUp.begin(donor, this.#taking ? record.number : undefined);
  }

  /** The donor's mark was replayed. */
  markReached(generation: number): readonly ElectionEffect[] {
    if (!this.#catchUp.reached(generation)) return [];
    if (!this.takesPart || this.#election.chosen?.number !== generation) return [];
    return this.#note(generation);
  }

  #note(number: number): readonly ElectionEffect[] {
    this.#noting = number;
    return this.#election.noteOnline(number);
  }
}
