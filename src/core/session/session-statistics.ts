/**
 * What a session has done so far, counted where it happens: plain numbers on plain objects.
 * Rules: nothing is allocated for a unit or a message; bytes are counted for chunks. Whoever shows them
 * (console, metrics) makes sums of them when it is asked.
 */

export interface SessionCounts {
  /** Units: simple queries, and extended messages up to Sync. */
  readonly queries: number;
  /** Units that began outside of a transaction: each is one, or begins one. */
  readonly transactions: number;
  /** Transactions that wrote, or that the client or the gateway opened explicitly, by their end. */
  readonly commits: number;
  readonly rollbacks: number;
  /** Units that waited for RESUME or for a new generation, and how long, ms. */
  readonly waits: number;
  readonly waitedMs: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
}

export class SessionStatistics implements SessionCounts {
  queries = 0;
  transactions = 0;
  commits = 0;
  rollbacks = 0;
  waits = 0;
  waitedMs = 0;
  bytesReceived = 0;
  bytesSent = 0;
  /** A unit waits for RESUME: nothing of it was sent to the server. */
  waitsForResume = false;

  /** A unit begins. */
  begun(outside: boolean): void {
    this.queries++;
    if (outside) this.transactions++;
  }

  add(counts: SessionCounts): void {
    this.queries += counts.queries;
    this.transactions += counts.transactions;
    this.commits += counts.commits;
    this.rollbacks += counts.rollbacks;
    this.waits += counts.waits;
    this.waitedMs += counts.waitedMs;
    this.bytesReceived += counts.bytesReceived;
    this.bytesSent += counts.bytesSent;
  }
}
