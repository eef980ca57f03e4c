/**
 * What one database's node has counted since the process began; a node that starts anew goes on counting
 * here.
 * Rule: plain numbers, incremented where things happen and read when somebody asks. Nothing is allocated for
 * a transaction, and no text of a user is ever a key.
 */
import { abortReasons, type AbortReason } from '../core/commit/abort-reason.ts';
import { SessionTally } from '../core/session/tally.ts';
import { Histogram } from './histogram.ts';

export const commitPhases = ['prepare', 'votes', 'finish', 'whole'] as const;
export type CommitPhase = (typeof commitPhases)[number];

export class NodeTally {
  readonly session = new SessionTally();
  sessionsStarted = 0;
  committed = 0;
  /** Prepared, and nothing in it was to be replicated. */
  empty = 0;
  aborted = 0;
  unknown = 0;
  readonly conflicts = Object.fromEntries(Object.keys(abortReasons).map((reason) => [reason, 0])) as Record<
    AbortReason,
    number
  >;
  votesYes = 0;
  votesNo = 0;
  /** Of one plain read in sixteen, of each session. */
  readonly read = new Histogram();
  readonly commit: Readonly<Record<CommitPhase, Histogram>> = {
    prepare: new Histogram(),
    votes: new Histogram(),
    finish: new Histogram(),
    whole: new Histogram(),
  };
  generationsJoined = 0;
  unsupervisedWrites = 0;
  alarms = 0;
  notificationsLost = 0;
  clientsEndedForMemory = 0;
  /** The node began anew inside the process: its server, or a connection to it, was lost. */
  restarts = 0;

  get conflictsInAll(): number {
    let sum = 0;
    for (const reason of Object.keys(this.conflicts) as AbortReason[]) sum += this.conflicts[reason];
    return sum;
  }
}
