/**
 * Why transactions abort, in a few words that never change: the label of a metric.
 * Rule: bounded, whatever a refusal says; it is told by the SQLSTATE and by the gateway's own words, because
 * nothing more of it travels between nodes.
 */
import type { Refusal } from '../identity.ts';

/** Each with its meaning, for people. */
export const abortReasons = {
  conflict: 'an older transaction of another node wanted the same rows',
  gave_way: 'an open session held locks that an older transaction needed',
  lock: 'a lock of an unsupervised session or of a prepared transaction was not released in time',
  member: 'a member of the generation went away before it had voted',
  generation: 'a generation ended before the transaction was decided',
  constraint: 'a constraint was violated on another node',
  cancelled: 'its client cancelled it',
  serialization: 'a server could not serialize it, or found a deadlock',
  other: 'anything else that a member refused',
} as const;

export type AbortReason = keyof typeof abortReasons;

/** Parts of the messages in refusal.ts and coordinator.ts. */
const words: readonly (readonly [string, AbortReason])[] = [
  ['conflict with a transaction of another node', 'conflict'],
  ['conflict with a session of another node', 'gave_way'],
  ['older transaction of another node needs the locks', 'gave_way'],
  ['holds a lock that transaction', 'lock'],
  ['a member of the generation', 'member'],
  ['the member lost its server connection', 'member'],
  ['the generation ended', 'generation'],
];

export function abortReason({ sqlstate, message }: Pick<Refusal, 'sqlstate' | 'message'>): AbortReason {
  if (sqlstate === '57014') return 'cancelled';
  if (sqlstate.startsWith('23')) return 'constraint';
  for (const [part, reason] of words) if (message.includes(part)) return reason;
  return sqlstate === '40001' || sqlstate === '40P01' ? 'serialization' : 'other';
}
