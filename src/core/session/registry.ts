/**
 * The prepared statements and portals of one session, as far as the gateway must know them: how each is to be run.
 * Rule: what a group of messages defines counts inside the group at once and outside it only after the server has confirmed it.
 */
import type { Statement, StatementClass } from '../statement/statement-class.ts';

export interface Prepared {
  readonly class: StatementClass;
  /** The text as the client sent it. */
  readonly text: string;
  /** The Parse message as it is sent to the server (some texts are rewritten). */
  readonly message: Uint8Array;
}

const unknown: StatementClass = { kind: 'write', certain: false, temporary: false, copyIn: false };

/** The class of a statement text in the extended protocol: one statement, or the server refuses it. */
export function singleClass(statements: readonly Statement[] | undefined): StatementClass {
  if (statements === undefined) return unknown; // the server says what is wrong, or knows a syntax that the parser does not
  const real = statements.filter((statement) => statement.class.kind !== 'empty');
  if (real.length === 0) return { kind: 'empty' };
  if (real.length > 1) return unknown; // "cannot insert multiple commands into a prepared statement"
  return real[0]!.class;
}

export class Registry {
  readonly #statements = new Map<string, Prepared>();
  readonly #portals = new Map<string, Prepared>();
  #pending: { name: string; prepared: Prepared }[] = [];
  /** The server's unnamed statement was dropped by a simple Query of ours: it must be parsed again before it is bound. */
  unnamedDropped = false;

  parse(name: string, prepared: Prepared): void {
    this.#pending.push({ name, prepared });
    if (name === '') this.unnamedDropped = false;
  }

  /** The server confirmed the oldest Parse that is under way. */
  parseCompleted(): void {
    const oldest = this.#pending.shift();
    if (oldest !== undefined) this.#statements.set(oldest.name, oldest.prepared);
  }

  /** The group has ended: what was not confirmed was never prepared. */
  groupEnded(): void {
    this.#pending = [];
  }

  statement(name: string): Prepared | undefined {
    for (let index = this.#pending.length - 1; index >= 0; index--) {
      const pending = this.#pending[index]!;
      if (pending.name === name) return pending.prepared;
    }
    return this.#statements.get(name);
  }

  /** Confirmed by the server already, so that it need not be sent again. */
  confirmed(name: string, prepared: Prepared): boolean {
    return this.#statements.get(name) === prepared;
  }

  bind(portal: string, statement: string): StatementClass {
    const prepared = this.statement(statement);
    if (prepared === undefined) {
      this.#portals.delete(portal);
      return unknown; // made by SQL-level PREPARE, or not there at all: then the server says so
    }
    this.#portals.set(portal, prepared);
    return prepared.class;
  }

  portal(name: string): Prepared | undefined {
    return this.#portals.get(name);
  }

  portalClass(name: string): StatementClass {
    return this.#portals.get(name)?.class ?? unknown;
  }

  closeStatement(name: string): void {
    this.#statements.delete(name);
  }

  closePortal(name: string): void {
    this.#portals.delete(name);
  }

  /** DEALLOCATE ALL and DISCARD ALL. */
  clear(): void {
    this.#statements.clear();
    this.#portals.clear();
    this.#pending = [];
  }

  /** A simple Query drops the unnamed statement. */
  simpleQuerySent(byClient: boolean): void {
    if (byClient) this.#statements.delete('');
    else if (this.#statements.has('')) this.unnamedDropped = true;
  }
}
