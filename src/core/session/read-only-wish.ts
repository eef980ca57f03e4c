/**
 * What the client takes default_transaction_read_only for, while the server's own setting is the gateway's
 * sensor.
 * Rule: as any setting: SET counts at once, is undone with its transaction, and RESET returns to what the
 * session began with.
 */
import type { StatementClass } from '../statement/statement-class.ts';

type Setting = Extract<StatementClass, { kind: 'set-guarded' }>;
type Savepoint = Extract<StatementClass, { kind: 'savepoint' }>;

/** Set in the open transaction: by SET until the session's end, by SET LOCAL until the transaction's. */
interface InBlock {
  readonly set?: boolean;
  readonly local?: boolean;
}

const guarded = 'default_transaction_read_only';

export class ReadOnlyWish {
  /** undefined: role and database say it, and were not asked yet. */
  #atStart: boolean | undefined;
  /** Outside of a transaction. */
  #session: boolean;
  #inBlock: InBlock = {};
  /** The open transaction's savepoints, with what was set before each. */
  #savepoints: { readonly name: string; readonly before: InBlock }[] = [];

  constructor(atStart: boolean | undefined) {
    this.#atStart = atStart;
    this.#session = atStart ?? false;
  }

  get isKnown(): boolean {
    return this.#atStart !== undefined;
  }

  /** What role and database say. */
  begin(value: boolean): void {
    this.#atStart = value;
    this.#session = value;
  }

  get value(): boolean {
    return this.#inBlock.local ?? this.#inBlock.set ?? this.#session;
  }

  /** The statement has succeeded. */
  set(setting: Setting, inBlock: boolean): void {
    if (setting.name !== guarded) return;
    const value = this.valueOf(setting);
    if (value === undefined) return;
    if (!inBlock) {
      if (!setting.local) this.#session = value;
    } else {
      this.#inBlock = setting.local ? { ...this.#inBlock, local: value } : { set: value };
    }
  }

  /** RESET ALL and DISCARD ALL. */
  reset(inBlock: boolean): void {
    const value = this.#atStart ?? false;
    if (inBlock) this.#inBlock = { set: value };
    else this.#session = value;
  }

  /** The value that a SET gives; undefined for one that the server will refuse. */
  valueOf(setting: Setting): boolean | undefined {
    return setting.value === undefined ? (this.#atStart ?? false) : booleanOf(setting.value);
  }

  /** SAVEPOINT, RELEASE and ROLLBACK TO, in a transaction, have succeeded. */
  savepoint({ act, name }: Savepoint): void {
    const index = this.#savepoints.findLastIndex((each) => each.name === name);
    // One that is not known was made in a string that failed behind it: nothing was set since.
    const before = this.#savepoints[index]?.before ?? this.#inBlock;
    if (act !== 'savepoint' && index >= 0) this.#savepoints.length = index;
    if (act === 'rollback') this.#inBlock = before;
    if (act !== 'release') this.#savepoints.push({ name, before: this.#inBlock });
  }

  blockEnded(committed: boolean): void {
    const { set } = this.#inBlock;
    this.#inBlock = {};
    this.#savepoints = [];
    if (committed && set !== undefined) this.#session = set;
  }
}

/** PostgreSQL's parse_bool: unique prefixes of true, false, yes, no, and on, off, 1, 0. */
export function booleanOf(text: string): boolean | undefined {
  const value = text.trim();
  if (/^(?:t|tr|tru|true|y|ye|yes|on|1)$/i.test(value)) return true;
  return /^(?:f|fa|fal|fals|false|n|no|of|off|0)$/i.test(value) ? false : undefined;
}
