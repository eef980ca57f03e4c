/**
 * What a former process left in the server: transactions of any generation that are prepared here, and those
 * that are committed here and perhaps not everywhere. A restart ended the node's part in all of them, so only
 * the record of a generation elected since says what becomes of them.
 *
 * Rule: a leftover is told in every vote and never touched before a record is chosen.
 */
import type { Holdings } from '../generation/record.ts';
import type { Gid } from '../identity.ts';
import type { CommitEffect, Finish } from './event.ts';

export class Leftovers {
  readonly #prepared: Set<Gid>;
  readonly #committed: Set<Gid>;
  /** Ordered and not yet ended. */
  readonly #finishing = new Set<Gid>();

  /**
   * `prepared`: what pg_prepared_xacts lists after the takeover. `committed`: what the retained slot shows
   * since the syncpoint.
   */
  constructor(prepared: Iterable<Gid>, committed: Iterable<Gid>) {
    this.#prepared = new Set(prepared);
    this.#committed = new Set(committed);
  }

  /** For a vote. What is being finished counts as finished: its outcome was chosen. */
  holdings(): Holdings {
    return { prepared: [...this.#prepared], committed: [...this.#committed] };
  }

  /** Prepared or committed here. */
  holds(gid: Gid): boolean {
    return this.#prepared.has(gid) || this.#committed.has(gid);
  }

  /** The gid is being finished here. */
  isFinishing(gid: Gid): boolean {
    return this.#finishing.has(gid);
  }

  /** Everything is finished that was ordered. */
  get settled(): boolean {
    return this.#finishing.size === 0;
  }

  /** Leftovers whose fate is not known. */
  get size(): number {
    return this.#prepared.size;
  }

  /**
   * A record was chosen: `commits` are committed and the rest is rolled back. `complete` as in the commit
   * machine's 'settled': otherwise everything is rolled back, and comes again from the donor.
   */
  settle(commits: ReadonlySet<Gid>, complete: boolean): CommitEffect[] {
    const effects: CommitEffect[] = [];
    for (const gid of this.#prepared) {
      const finish: Finish = complete && commits.has(gid) ? 'commit' : 'rollback';
      if (finish === 'commit') this.#committed.add(gid);
      this.#finishing.add(gid);
      effects.push({ kind: 'finish', gid, finish });
    }
    this.#prepared.clear();
    return effects;
  }

  /** True when it was one of these. */
  finishEnded(gid: Gid): boolean {
    return this.#finishing.delete(gid);
  }
}
