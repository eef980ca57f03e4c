/**
 * Notes, while a transaction is written, which keys its foreign keys must be checked for, and writes the
 * checks.
 * Rule: the checks stand behind the last row. Only where memory would grow without bound are parents locked
 * before, and keys whose parent is not there yet come back and wait for the end.
 */
import type { DeleteMessage, Tuple, UpdateMessage } from '../pgoutput/messages.ts';
import { ForeignKeyKeys, sameKey } from './foreign-key-keys.ts';
import {
  foreignKeyNamesSql,
  leftChildrenSql,
  lockParentsEarlySql,
  lockParentsOfWrittenSql,
  lockParentsSql,
} from './foreign-key-plan.ts';
import type { ForeignKeyFacts } from './facts.ts';
import type { KeyPlaces, RelationPlan } from './relation-plan.ts';
import type { StatementPipeline } from './statement-pipeline.ts';

const keysPerCheck = 1000;
/** Beyond this many distinct keys the parents are locked before the end. */
const keysKept = 20_000;
const lookupMark = 'mtm-key:';
const missingMark = 'mtm-missing:';
const namesMark = 'mtm-names:';
const textArrayOid = 1009;
const encoder = new TextEncoder();

export class ForeignKeyChecks {
  readonly #pipeline: StatementPipeline;
  readonly #keys = new ForeignKeyKeys();
  /** By oid, as it stands behind the mark of an answer. */
  readonly #asked = new Map<string, ForeignKeyFacts>();
  /** Those of generated columns, by oid: the server finds the rows. */
  readonly #unsent = new Map<number, ForeignKeyFacts>();
  /**
   * What was noted before a command of this transaction, by oid: as it is behind it, undefined once it is
   * gone.
   */
  #renewed: Map<number, ForeignKeyFacts | undefined> | undefined;
  #stale = false;
  #open = false;

  constructor(pipeline: StatementPipeline) {
    this.#pipeline = pipeline;
  }

  /**
   * A command comes: foreign keys and tables that keys were noted for may be gone behind it, or have other
   * names.
   */
  definitionsChange(): void {
    this.#stale ||= this.#keys.count > 0 || this.#unsent.size > 0;
  }

  #askForNames(): void {
    const all = [...this.#keys.foreignKeys(), ...this.#unsent.values()];
    this.#renewed = new Map(all.map(({ oid }) => [oid, undefined]));
    for (const key of all) this.#ask(key);
    const oids = encoder.encode(`{${all.map(({ oid }) => oid).join()}}`);
    this.#pipeline.run(foreignKeyNamesSql(namesMark), [textArrayOid], [oids]);
  }

  /** True once after questions were sent whose answers `finish` needs: they must have come before it. */
  takeOpen(): boolean {
    if (this.#stale) this.#askForNames();
    this.#stale = false;
    const open = this.#open;
    this.#open = false;
    return open;
  }

  inserted(plan: RelationPlan, row: Tuple): void {
    if (plan.asChild.length === 0) return;
    for (const places of plan.asChild) this.#addChild(places, row);
    this.#relieve();
  }

  #addChild(places: KeyPlaces, row: Tuple): void {
    if (places.columns.includes(-1)) this.#unsent.set(places.foreignKey.oid, places.foreignKey);
    else this.#keys.add(places, 'child', row);
  }

  /** After an UPDATE: the new keys of a child, as far as they may have changed. */
  updated(plan: RelationPlan, message: UpdateMessage): void {
    if (plan.asChild.length === 0) return;
    for (const places of plan.asChild) {
      const keyStays = places.inIdentity && message.old === undefined;
      const sent = !places.columns.includes(-1);
      const same = sent && message.old?.kind === 'full' && sameKey(places, message.old.row, message.row);
      if (!keyStays && !same) this.#addChild(places, message.row);
    }
    this.#relieve();
  }

  /**
   * Before an UPDATE or DELETE: notes the key that a parent loses, or asks the server for it before it is
   * gone.
   */
  parentGoes(plan: RelationPlan, message: UpdateMessage | DeleteMessage): void {
    for (const places of plan.asParent) {
      if (!places.inIdentity) {
        const mark = lookupMark + this.#ask(places.foreignKey);
        const row = message.kind === 'update' ? message.row : undefined;
        this.#pipeline.row(plan.lookup(places, message, mark), row, message.old?.row);
      } else if (message.old !== undefined) {
        const stays = message.kind === 'update' && sameKey(places, message.old.row, message.row);
        if (!stays) this.#keys.add(places, 'parent', message.old.row);
      }
    }
  }

  #ask(key: ForeignKeyFacts): string {
    const mark = String(key.oid);
    this.#asked.set(mark, key);
    this.#open = true;
    return mark;
  }

  #relieve(): void {
    if (this.#keys.count < keysKept) return;
    for (const batch of this.#keys.batches(keysPerCheck, ['child'])) {
      const sql = lockParentsEarlySql(batch.foreignKey, missingMark + this.#ask(batch.foreignKey));
      this.#pipeline.run(sql, types(batch.arrays), batch.arrays);
    }
    this.#keys.clearChildren();
  }

  /** A row of an answer: a mark with the foreign key's oid, then the key. Others are not for us. */
  answer(first: string, columns: readonly string[]): void {
    const named = first.startsWith(namesMark) ? this.#asked.get(first.slice(namesMark.length)) : undefined;
    if (named !== undefined) {
      const [childSchema = '', childTable = '', parentSchema = '', parentTable = ''] = columns.slice(1);
      this.#renewed?.set(named.oid, { ...named, childSchema, childTable, parentSchema, parentTable });
    }
    for (const [mark, side] of [
      [lookupMark, 'parent'],
      [missingMark, 'child'],
    ] as const) {
      const key = first.startsWith(mark) ? this.#asked.get(first.slice(mark.length)) : undefined;
      if (key !== undefined) this.#keys.addText(key, side, columns.slice(1));
    }
  }

  /** Writes the checks of everything noted. */
  finish(): void {
    for (const noted of this.#unsent.values()) {
      const key = this.#present(noted);
      if (key !== undefined) this.#pipeline.run(lockParentsOfWrittenSql(key));
    }
    for (const { foreignKey, side, arrays } of this.#keys.batches(keysPerCheck)) {
      const key = this.#present(foreignKey);
      if (key === undefined) continue;
      this.#pipeline.run(
        side === 'child' ? lockParentsSql(key) : leftChildrenSql(key),
        types(arrays),
        arrays,
      );
    }
  }

  /** Undefined: it was dropped behind the rows. */
  #present(key: ForeignKeyFacts): ForeignKeyFacts | undefined {
    return this.#renewed?.has(key.oid) === true ? this.#renewed.get(key.oid) : key;
  }
}

function types(arrays: readonly unknown[]): number[] {
  return arrays.map(() => textArrayOid);
}
