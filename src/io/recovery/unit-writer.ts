/**
 * Writes one transaction of the donor after the other into the pipeline, each followed by its header.
 * States: *idle* → `begin` → *writing* (waits for data, for answers, or goes on) → *written* → idle; `drop`
 * leads back to idle from anywhere. Rule: a transaction is written to its end only when its gid is known.
 */
import { assert } from '../../lib/assert.ts';
import type { Gid } from '../../core/identity.ts';
import type { StatementPipeline } from '../../core/apply/statement-pipeline.ts';
import { TransactionWriter } from '../../core/apply/transaction-writer.ts';
import { CatalogEpoch, RelationCatalog } from '../postgres/relation-catalog.ts';
import { writeHeader } from './replay-statements.ts';

export type UnitStep =
  | { readonly kind: 'on' | 'waiting' | 'hungry' | 'idle' }
  | { readonly kind: 'refused'; readonly reason: string }
  | { readonly kind: 'written'; readonly gid: Gid; readonly ddl: boolean };

const idle: UnitStep = { kind: 'idle' };
const on: UnitStep = { kind: 'on' };

export class UnitWriter {
  readonly #pipeline: StatementPipeline;
  readonly #proof: (gid: Gid) => string;
  /** Tells apart functions that two connections make at the same time. */
  readonly #unique: number;
  readonly #epoch = new CatalogEpoch();
  readonly #catalog = new RelationCatalog(this.#epoch);
  #writer: TransactionWriter | undefined;
  #gid: Gid | undefined;

  constructor(pipeline: StatementPipeline, proof: (gid: Gid) => string, unique: number) {
    this.#pipeline = pipeline;
    this.#proof = proof;
    this.#unique = unique;
  }

  get idle(): boolean {
    return this.#writer === undefined;
  }

  /** Of the transaction that is written; undefined while a big one is not at its end. */
  get gid(): Gid | undefined {
    return this.#gid;
  }

  get queuedBytes(): number {
    return this.#writer?.queuedBytes ?? 0;
  }

  /** Without a gid more data come, and `name` at the end. */
  begin(gid: Gid | undefined, data: Uint8Array | undefined): void {
    assert(this.#writer === undefined, 'one transaction is written at a time');
    this.#writer = new TransactionWriter(this.#pipeline, this.#catalog, undefined, '', this.#unique);
    this.#gid = gid;
    if (data !== undefined && data.length > 0) this.#writer.push(data);
  }

  push(data: Uint8Array): void {
    this.#writer?.push(data);
  }

  name(gid: Gid): void {
    this.#gid = gid;
  }

  drop(): void {
    this.#writer = undefined;
    this.#gid = undefined;
  }

  /** Definitions have changed: what is remembered of the catalog is stale. */
  invalidate(): void {
    this.#epoch.invalidate();
  }

  /** A row that the server sent. */
  answer(columns: readonly string[]): void {
    this.#writer?.answer(columns);
  }

  step(): UnitStep {
    const writer = this.#writer;
    if (writer === undefined) return idle;
    let step = writer.step();
    if (step.kind === 'hungry' && this.#gid === undefined) return { kind: 'hungry' };
    if (step.kind === 'hungry') step = writer.finish();
    if (step.kind === 'refused') return { kind: 'refused', reason: `${step.reason} (${step.sqlstate})` };
    if (step.kind === 'waiting') return { kind: 'waiting' };
    if (step.kind !== 'complete') return on;
    const gid = this.#gid;
    assert(gid !== undefined, 'a transaction that is written has its gid');
    writeHeader(this.#pipeline, gid, this.#proof(gid));
    this.drop();
    return { kind: 'written', gid, ddl: writer.ddl };
  }
}
