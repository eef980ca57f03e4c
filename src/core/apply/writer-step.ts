/** Where the writer of a transaction stands (transaction-writer.ts). */
import type { RelationMessage } from '../pgoutput/messages.ts';
import type { DdlMessage } from './ddl-message.ts';
import type { RelationPlan } from './relation-plan.ts';

export type Step =
  | { readonly kind: 'hungry' | 'full' | 'waiting' | 'complete' }
  | { readonly kind: 'refused'; readonly sqlstate: string; readonly reason: string };

export const hungry: Step = { kind: 'hungry' };
export const full: Step = { kind: 'full' };
export const waiting: Step = { kind: 'waiting' };

/** What drives a writer that has all its data. */
export interface StepWriter {
  readonly ddl: boolean;
  step(): Step;
  answer(columns: readonly string[]): void;
  finish(): Step;
}

export interface KnownRelation {
  readonly message: RelationMessage;
  readonly key: string;
  plan: RelationPlan | undefined;
  /** It does not exist here; a command that makes it may follow. */
  absent: boolean;
}

export type Waiting =
  | { readonly kind: 'facts'; readonly relation: KnownRelation; readonly epoch: number }
  | { readonly kind: 'user'; readonly message: DdlMessage }
  | { readonly kind: 'body' | 'barrier' };
