/**
 * Writes Parse, Bind and Execute messages of one apply connection into one buffer (manual, "Extended Query").
 *
 * Rule: it only knows what was *sent*. A statement that was parsed in a packet in which an error came may or
 * may not exist on the server: `forget` drops every name that is not confirmed yet and closes it, which is
 * allowed for names that do not exist. The number of statements kept on the server is bounded (least recently
 * used is closed).
 *
 * Code of others may run in the session, of commands and of rows (row-writer.ts): it can change settings,
 * and close a prepared statement and put its own in that place. From then on the session is *tainted*: every
 * statement is an unnamed one, until `clean` has discarded everything.
 */
import type { Tuple, TupleValue } from '../pgoutput/messages.ts';
import { frontend } from '../wire/codes.ts';
import { MessageWriter } from '../wire/message-writer.ts';
import type { Statement } from './relation-plan.ts';

interface Prepared {
  readonly name: string;
  confirmed: boolean;
}

/** The one setting of the session that is not in its startup packet: before 17 there is none. */
export const noTransactionTimeout =
  "SELECT pg_catalog.set_config('transaction_timeout', '0', false) " +
  "WHERE pg_catalog.current_setting('transaction_timeout', true) IS NOT NULL";
const restoring = ['RESET ALL', noTransactionTimeout];

const statementKind = 0x53; // 'S' in Close
const copyChunkBytes = 65_536;

/** Under which a prepared statement is remembered. */
export function statementKey(sql: string, types: readonly number[]): string {
  return types.length === 0 ? sql : `${types.join()}\0${sql}`;
}

export class StatementPipeline {
  readonly #limit: number;
  readonly #prepared = new Map<string, Prepared>();
  /** Parsed since the last `confirm`. */
  #fresh: string[] = [];
  /** Names closed since the last `confirm`: after an error the server may have skipped the Close. */
  #closed: string[] = [];
  readonly #writer = new MessageWriter(4096);
  #counter = 0;
  #tainted = false;
  /** Sent since the last `confirm`: an error before it may have kept it from happening. */
  #cleaning = false;
  /** The COPY that is open: rows may still follow; whatever else is written ends it. */
  #copying: string | undefined;

  constructor(limit = 500) {
    this.#limit = limit;
  }

  /** Code of others runs in the session. */
  taint(): void {
    this.#tainted = true;
  }

  /** Behind code of others: the settings are what they were when the session began. */
  restoreSettings(): void {
    for (const sql of restoring) this.runOnce(sql);
  }

  /** Runs statements that may run code of others. */
  runForeign(statements: readonly string[]): void {
    this.taint();
    for (const sql of statements) this.runOnce(sql);
    this.restoreSettings();
  }

  /** Before a transaction: nothing is left of what code of others did to the session. */
  clean(): void {
    if (!this.#tainted) return;
    this.#tainted = false;
    this.#cleaning = true;
    this.#prepared.clear();
    this.#fresh = [];
    this.#closed = [];
    for (const sql of ['DISCARD ALL', 'BEGIN', noTransactionTimeout, 'COMMIT']) this.runOnce(sql);
  }

  get size(): number {
    return this.#writer.size;
  }

  take(): Uint8Array {
    return this.#writer.take();
  }

  /** What `take` gave was sent and is not needed any more: its memory is used again. */
  giveBack(bytes: Uint8Array): void {
    this.#writer.giveBack(bytes);
  }

  /** True while rows of this COPY follow each other. */
  copies(sql: string): boolean {
    return this.#copying === sql;
  }

  /** Begins a message that is no row of the open COPY. */
  #begin(type: number): MessageWriter {
    if (this.#copying !== undefined) {
      this.#copying = undefined;
      this.#writer.begin(frontend.copyDone).end();
    }
    return this.#writer.begin(type);
  }

  /** Everything sent so far succeeded. */
  confirm(): void {
    for (const key of this.#fresh) {
      const prepared = this.#prepared.get(key);
      if (prepared !== undefined) prepared.confirmed = true;
    }
    this.#fresh = [];
    this.#closed = [];
    this.#cleaning = false;
  }

  /** Something failed since the last `confirm`. Must be followed by a Sync before it takes effect. */
  forget(): void {
    for (const key of this.#fresh) {
      const prepared = this.#prepared.get(key);
      if (prepared === undefined || prepared.confirmed) continue;
      this.#prepared.delete(key);
      this.#close(prepared.name);
    }
    this.#fresh = [];
    for (const name of this.#closed.splice(0)) this.#close(name);
    this.#tainted ||= this.#cleaning;
    this.#cleaning = false;
  }

  #close(name: string): void {
    this.#begin(frontend.close).byte(statementKind).cstring(name).end();
  }

  /** Name of the prepared statement; parses it when it is new. */
  #statement(sql: string, types: readonly number[], key = statementKey(sql, types)): string {
    if (this.#tainted) {
      this.#parse('', sql, types);
      return '';
    }
    const known = this.#prepared.get(key);
    if (known !== undefined) {
      if (this.#prepared.size * 2 > this.#limit) {
        this.#prepared.delete(key);
        this.#prepared.set(key, known);
      }
      return known.name;
    }
    if (this.#prepared.size >= this.#limit) this.#evict();
    const name = `a${this.#counter++}`;
    this.#prepared.set(key, { name, confirmed: false });
    this.#fresh.push(key);
    this.#parse(name, sql, types);
    return name;
  }

  #evict(): void {
    const oldest = this.#prepared.entries().next().value;
    if (oldest === undefined) return;
    this.#prepared.delete(oldest[0]);
    this.#close(oldest[1].name);
    this.#closed.push(oldest[1].name);
  }

  /** Parse: String name, String query, Int16 number of types, Int32 type oid for each. */
  #parse(name: string, sql: string, types: readonly number[]): void {
    const writer = this.#begin(frontend.parse).cstring(name).cstring(sql).int16(types.length);
    for (const type of types) writer.int32(type);
    writer.end();
  }

  /**
   * Bind: String portal, String statement, Int16 0 (all parameters are text), Int16 number of parameters, for
   * each Int32 length (-1: NULL) and bytes, Int16 0 (results are text). Execute: String portal, Int32 0 (all
   * rows).
   */
  #bind(name: string, count: number): void {
    this.#begin(frontend.bind).byte(0).cstring(name).int16(0).int16(count);
  }

  #value(value: TupleValue): void {
    if (value === null || value === undefined) this.#writer.int32(-1);
    else this.#writer.int32(value.length).bytes(value);
  }

  #execute(): void {
    this.#writer.int16(0).end();
    this.#begin(frontend.execute).byte(0).int32(0).end();
  }

  /** Runs a statement of a relation plan with the values of a change. */
  row(statement: Statement, row: Tuple | undefined, old: Tuple | undefined): void {
    const name = this.#statement(statement.sql, statement.types, statement.key);
    const { parameters } = statement;
    this.#bind(name, parameters.length);
    for (const parameter of parameters) {
      this.#value((parameter.row === 'new' ? row : old)?.values[parameter.column]);
    }
    this.#execute();
  }

  /** Runs a statement that will come again. */
  run(sql: string, types: readonly number[] = [], values: readonly (Uint8Array | null)[] = []): void {
    const name = this.#statement(sql, types);
    this.#bind(name, values.length);
    for (const value of values) this.#value(value);
    this.#execute();
  }

  /** Runs a statement that will not come again, as the unnamed one. */
  runOnce(sql: string): void {
    this.#parse('', sql, []);
    this.#bind('', 0);
    this.#execute();
  }

  /**
   * Rows of a COPY … FROM STDIN, which goes on until something else is written: to begin one costs the server
   * as much as hundreds of rows. After an error it drops the data by itself.
   */
  copy(sql: string, data: Uint8Array): void {
    if (this.#copying !== sql) this.run(sql);
    this.#copying = sql;
    for (let at = 0; at < data.length; at += copyChunkBytes) {
      this.#writer
        .begin(frontend.copyData)
        .bytes(data.subarray(at, at + copyChunkBytes))
        .end();
    }
  }

  flush(): void {
    this.#begin(frontend.flush).end();
  }

  sync(): void {
    this.#begin(frontend.sync).end();
  }

  /** A simple query; ends with its own ReadyForQuery. */
  simple(sql: string): void {
    this.#begin(frontend.query).cstring(sql).end();
  }
}
