/**
 * What the client takes default_transaction_read_only for, while the server's own setting is the gateway's
 * sensor.
 * Rule: as any setting: SET counts at once, is undone with its transaction, and RESET returns to what the
 * session began with.
 */
import type { StatementClass } from '../statement/statement-class.ts';

type Setting = Extract<StatementClass, { kind: 'set-guarded' }>;

const guarded = 'default_transaction_read_only';

export class ReadOnlyWish {
  readonly #atStart: boolean;
  /** Outside of a transaction. */
  #session: boolean;
  /** Set in the open transaction; `local` ends with it. */
  #inBlock: { value: boolean; local: boolean } | undefined;

  constructor(atStart: boolean) {
    this.#atStart = atStart;
    this.#session = atStart;
  }

  get value(): boolean {
    return this.#inBlock?.value ?? this.#session;
  }

  /** The statement has succeeded. */
  set(setting: Setting, inBlock: boolean): void {
    if (setting.name !== guarded) return;
    const value = this.valueOf(setting);
    if (value === undefined) return;
    if (inBlock) this.#inBlock = { value, local: setting.local };
    else if (!setting.local) this.#session = value;
  }

  /** RESET ALL and DISCARD ALL. */
  reset(inBlock: boolean): void {
    if (inBlock) this.#inBlock = { value: this.#atStart, local: false };
    else this.#session = this.#atStart;
  }

  /** The value that a SET gives; undefined for one that the server will refuse. */
  valueOf(setting: Setting): boolean | undefined {
    return setting.value === undefined ? this.#atStart : booleanOf(setting.value);
  }

  blockEnded(committed: boolean): void {
    const set = this.#inBlock;
    this.#inBlock = undefined;
    if (committed && set !== undefined && !set.local) this.#session = set.value;
  }
}

/** PostgreSQL's parse_bool: unique prefixes of true, false, yes, no, and on, off, 1, 0. */
export function booleanOf(text: string): boolean | undefined {
  const value = text.trim();
  if (/^(?:t|tr|tru|true|y|ye|yes|on|1)$/i.test(value)) return true;
  return /^(?:f|fa|fal|fals|false|n|no|of|off|0)$/i.test(value) ? false : undefined;
}
