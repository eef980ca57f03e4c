/**
 * What all sessions of a node count together, since the process began; what one session counts for itself
 * goes with it (session-statistics.ts). Rule: numbers that only grow, nothing else: counting costs an
 * addition.
 */
import type { StatementClass } from '../statement/statement-class.ts';

export class SessionTally {
  /** Units and transactions that only read, answered by the local server alone. */
  reads = 0;
  /** Attempts of the gateway's own blocks that were repeated, unseen by the client. */
  repeats = 0;

  /** What ran outside of a transaction has ended well. */
  ranOutside(classes: readonly StatementClass[]): void {
    if (classes.some(isRead)) this.reads++;
  }
}

function isRead({ kind }: StatementClass): boolean {
  return kind === 'read';
}
