/**
 * How a node that catches up names its commits, so that they can be told from others in its own WAL: by
 * itself after a restart, and by nodes that it gives its history to.
 */
import { numberSuffix, type NumberedDatabase } from './slot-names.ts';

/** Replication origin of the connection that replays: its commits are cut into transactions by the donor. */
export function recoveryOrigin(database: NumberedDatabase): string {
  return `mtm_recovery${numberSuffix(database)}`;
}

/** Message behind each replayed transaction; only a superuser can write one. */
export const replayedPrefix = 'mtm-replayed';
