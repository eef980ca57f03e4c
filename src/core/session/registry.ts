/**
 * The prepared statements and portals of one session, as far as the gateway must know them: how each is to
 * be run.
 * Rule: it knows exactly the statements that the server has. What a group of messages defines or closes
 * counts inside the group at once and outside it only after the server has confirmed it; a statement lost
 * from here could hide a COMMIT.
 */
import type { Statement, StatementClass } from '../statement/statement-class.ts';

export interface Prepared {
  readonly class: StatementClass;
  /** The text as the client sent it, or one that means the same. */
  readonly text: string;
  /** The Parse message as it is sent to the server (some texts are rewritten). */
  readonly message: Uint8Array;
  /** The text that was put in place of the client's own. */
  readonly replaced: string | undefined;
  /** The server's standard_conforming_strings when it was parsed. */
  readonly standard: boolean;
}

/** It may do anything: a text that is not understood, a function call. */
export const unknown: StatementClass = { kind: 'write', certain: false, temporary: false, copyIn: false };

const overheadBytes = 400;

function costOf(name: string, { text, message, replaced }: Prepared): number {
  return overheadBytes + name.length + text.length + message.length + (replaced?.length ?? 0);
}

/** The class of a statement text in the extended protocol: one statement, or the server refuses it. */
export function singleClass(statements: readonly Statement[] | undefined): StatementClass {
  // The server says what is wrong, or knows a syntax that the parser does not.
  if (statements === undefined) return unknown;
  const real = statements.filter((statement) => statement.class.kind !== 'empty');
  if (real.length === 0) return { kind: 'empty' };
  if (real.length > 1) return unknown; // "cannot insert multiple commands into a prepared statement"
  return real[0]!.class;
}

/** A Parse (with what it prepares) or a Close (without) that the server has yet to confirm. */
interface Pending {
  readonly closes: boolean;
  /** undefined: the Close of a portal, which changes no statement. */
  readonly name: string | undefined;
  readonly prepared: Prepared | undefined;
  readonly journal: Journal | undefined;
  /** Messages of the group before it. */
  readonly place: number;
}

function pendingCost({ name, prepared }: Pending): number {
  return name === undefined || prepared === undefined ? 0 : costOf(name, prepared);
}

const parsesUnnamed = ({ name, closes }: Pending): boolean => name === '' && !closes;

/** The names that a group has touched, and what stood there before. */
export type Journal = Map<string, Prepared | undefined>;

export class Registry {
  readonly #statements = new Map<string, Prepared>();
  #statementBytes = 0;
  #pendingBytes = 0;
  readonly #portals = new Map<string, Prepared>();
  #pending: Pending[] = [];
  #journal: Journal | undefined;
  /** Messages of the group that were read, and those that the server has answered but for an error. */
  #read = 0;
  #answered = 0;
  #readBeforeJournal = 0;
  /**
   * The server's unnamed statement was dropped by a simple Query of ours: it must be parsed again before it
   * is bound.
   */
  unnamedDropped = false;
  /** The one was, that stands there when the server skips the Parse of a new one. */
  #droppedBefore = false;

  /**
   * Of the statements and their names, with what a statement costs in memory beside. Those that the server
   * has yet to confirm count: its word for a small message may wait for a Sync that never comes.
   */
  get bytes(): number {
    return this.#statementBytes + this.#pendingBytes;
  }

  parse(name: string, prepared: Prepared): void {
    this.#note(name);
    if (name === '') {
      if (!this.#pending.some(parsesUnnamed)) this.#droppedBefore = this.unnamedDropped;
      this.unnamedDropped = false;
    }
    this.#pending.push({ closes: false, name, prepared, journal: this.#journal, place: this.#read });
    this.#pendingBytes += costOf(name, prepared);
  }

  closeStatement(name: string): void {
    this.#note(name);
    this.#pending.push({
      closes: true,
      name,
      prepared: undefined,
      journal: this.#journal,
      place: this.#read,
    });
  }

  closePortal(name: string): void {
    this.#portals.delete(name);
    this.#pending.push({
      closes: true,
      name: undefined,
      prepared: undefined,
      journal: this.#journal,
      place: this.#read,
    });
  }

  /** The server confirmed the oldest Parse that is under way. */
  parseCompleted(): void {
    this.#confirmed(false);
  }

  closeCompleted(): void {
    this.#confirmed(true);
  }

  #confirmed(closes: boolean): void {
    const oldest = this.#pending[0];
    if (oldest?.closes !== closes) return;
    this.#pending.shift();
    this.#pendingBytes -= pendingCost(oldest);
    if (oldest.name === undefined) return;
    if (parsesUnnamed(oldest)) this.#droppedBefore = false;
    this.#put(oldest.name, oldest.prepared);
  }

  /** A message of the group goes to the server. */
  messageRead(): void {
    this.#read++;
  }

  /** The server has answered the next message of the group. */
  messageAnswered(): void {
    this.#answered++;
  }

  /**
   * The group has ended: what was not confirmed did not happen. `failed`: its first message without an
   * answer is an error's.
   */
  groupEnded(failed: boolean): void {
    const next = this.#pending[0];
    if (next !== undefined) {
      // The server drops the old unnamed statement before it looks at the new one, but not when it skips the
      // message.
      if (failed && next.name === '' && !next.closes && next.place === this.#answered) {
        this.#put('', undefined);
      }
      if (this.#pending.some(parsesUnnamed)) this.unnamedDropped ||= this.#droppedBefore;
      this.#pending = [];
      this.#pendingBytes = 0;
    }
    this.#read = 0;
    this.#answered = 0;
    this.#readBeforeJournal = 0;
  }

  /** From here on what stood at each name is remembered, so that a repeat of the group can restore it. */
  beginJournal(): void {
    this.#journal = new Map();
    this.#readBeforeJournal = this.#read;
  }

  #note(name: string): void {
    const journal = this.#journal;
    if (journal !== undefined && !journal.has(name)) journal.set(name, this.statement(name));
  }

  /** Back to what stood there when the journal began; the caller makes the server follow. */
  restore(): Journal {
    const journal = this.#journal ?? new Map<string, Prepared | undefined>();
    this.#read = this.#readBeforeJournal;
    this.#pending = this.#pending.filter((pending) => pending.journal !== journal);
    this.#pendingBytes = this.#pending.reduce((sum, pending) => sum + pendingCost(pending), 0);
    for (const [name, prepared] of journal) {
      this.#put(name, prepared);
    }
    return journal;
  }

  statement(name: string): Prepared | undefined {
    for (let index = this.#pending.length - 1; index >= 0; index--) {
      const pending = this.#pending[index]!;
      if (pending.name === name) return pending.prepared;
    }
    return this.#statements.get(name);
  }

  bind(portal: string, statement: string): void {
    const prepared = this.statement(statement);
    // Unknown: made by SQL-level PREPARE, or not there at all: then the server says so.
    if (prepared === undefined) this.#portals.delete(portal);
    else this.#portals.set(portal, prepared);
  }

  portal(name: string): Prepared | undefined {
    return this.#portals.get(name);
  }

  portalClass(name: string): StatementClass {
    return this.#portals.get(name)?.class ?? unknown;
  }

  /** The gateway has executed it in the server's place: it cannot be run again. */
  portalRan(name: string): void {
    const prepared = this.#portals.get(name);
    if (prepared === undefined) return;
    const message = `portal "${name}" cannot be run`;
    this.#portals.set(name, {
      ...prepared,
      class: { kind: 'refused', sqlstate: '55000', message, hint: '' },
    });
  }

  /** The server has executed it: whether it may run again is the server's to say. */
  portalSent(name: string): void {
    const prepared = this.#portals.get(name);
    if (prepared !== undefined) this.#portals.set(name, { ...prepared, class: { kind: 'session' } });
  }

  /** Portals end with their transaction. */
  transactionEnded(): void {
    if (this.#portals.size > 0) this.#portals.clear();
  }

  /** DEALLOCATE of one. */
  forget(name: string): void {
    this.#put(name, undefined);
  }

  #put(name: string, prepared: Prepared | undefined): void {
    const former = this.#statements.get(name);
    if (former !== undefined) this.#statementBytes -= costOf(name, former);
    if (prepared === undefined) {
      this.#statements.delete(name);
    } else {
      this.#statements.set(name, prepared);
      this.#statementBytes += costOf(name, prepared);
    }
  }

  /** DEALLOCATE ALL and DISCARD ALL. What is still to be confirmed comes behind them; portals stay. */
  clear(): void {
    this.#statements.clear();
    this.#statementBytes = 0;
  }

  /** A simple Query drops the unnamed statement. */
  simpleQuerySent(byClient: boolean): void {
    if (byClient) {
      this.#put('', undefined);
      this.unnamedDropped = false;
    } else if (this.statement('') !== undefined) this.unnamedDropped = true;
  }
}
