/**
 * What can be wrong with a list-append history, and which of it is wrong at which isolation level (surface.md, Guarantees).
 *
 * Never, whatever the level of the transactions (READ COMMITTED and REPEATABLE READ are cluster-wide):
 *   unexpected-value    an element that nobody has appended
 *   duplicate-element   an append that took effect twice
 *   incompatible-order  two reads of a key of which neither is the beginning of the other: nodes that differ
 *   internal            a transaction does not see its own writes, or what it has seen is gone
 *   G1a                 an element of a transaction that was refused is read, or is there at the end
 *   G1b                 a list that ends in the middle of what one transaction has appended to it
 *   G0                  a cycle of write dependencies (ww)
 *   G1c                 a cycle of ww and wr
 *   lost-append         an acknowledged (or once read) element that is not there at the end
 *   half-committed      a transaction of unknown outcome of which some appends are there and others are not
 *   wrong-outcome       mtm.transaction_outcome said something else than the rows do
 * Never at REPEATABLE READ (parallel snapshot isolation): what matters is the level of the transaction that has *read*:
 *   G-single            a cycle of ww, wr and one rw that leaves a REPEATABLE READ transaction (read skew)
 *   lost-update         two transactions read the same version and both append; the later one is REPEATABLE READ
 * Never when a commit is answered after it is visible everywhere (wait_peer_commits, option realTime): the same cycles with
 * edges from an acknowledged *write* to what was begun after its answer:
 *   G0-realtime, G1c-realtime, stale-read (one rw; of a READ COMMITTED transaction when it was begun after the answer)
 * Reported, and allowed below SERIALIZABLE: G2 (two rw or more: write skew, long fork), and at READ COMMITTED G-single.
 */

export const anomalyKinds = [
  'unexpected-value',
  'duplicate-element',
  'incompatible-order',
  'internal',
  'G1a',
  'G1b',
  'G0',
  'G1c',
  'lost-append',
  'half-committed',
  'wrong-outcome',
  'G-single',
  'lost-update',
  'G0-realtime',
  'G1c-realtime',
  'stale-read',
] as const;

export type AnomalyKind = (typeof anomalyKinds)[number];

export interface Anomaly {
  readonly kind: AnomalyKind;
  /** Lines for a person. */
  readonly text: string;
}

/** The texts of one kind that are kept; the rest is counted. */
const keptOfAKind = 5;

/** Collects what is found; a broken history can have very much of one kind. */
export class AnomalyList {
  readonly found: Anomaly[] = [];
  readonly #counts = new Map<AnomalyKind, number>();

  /** `text` is made only when it is kept. */
  add(kind: AnomalyKind, text: () => string): void {
    const count = (this.#counts.get(kind) ?? 0) + 1;
    this.#counts.set(kind, count);
    if (count <= keptOfAKind) this.found.push({ kind, text: text() });
  }

  get counts(): ReadonlyMap<AnomalyKind, number> {
    return this.#counts;
  }
}
