/** Plans that outlive a transaction, on one connection, by the bytes of the origin's relation message. */
import type { RelationPlan } from './relation-plan.ts';

export interface PlanStore {
  find(key: string): RelationPlan | undefined;
  /** To be read before the catalog is asked: what it says is as old as that. */
  readonly epoch: number;
  store(key: string, plan: RelationPlan, epoch: number): void;
}

/** The bytes of a relation message as a key. */
export function relationKey(buffer: Uint8Array, start: number, end: number): string {
  let key = '';
  for (let index = start; index < end; index++) key += String.fromCharCode(buffer[index]!);
  return key;
}
