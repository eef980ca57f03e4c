/**
 * Reads the messages of an extended group as far as the session must understand them, in pieces that can be
 * sent as a whole.
 * Grammar (manual, "Message Formats"): Parse = name, text, types; Bind = portal, statement, …; Execute =
 * portal, row limit; Describe and Close = 'S' or 'P', name.
 * Rule: reading takes effect in the registry, so a piece is read when everything before it has been sent.
 */
import type { StatementClass } from '../statement/statement-class.ts';
import { edited, literalsOf } from '../statement/string-literals.ts';
import { frontend } from '../wire/codes.ts';
import { cstringAt, cstringEnd, query } from '../wire/messages.ts';
import { mustAccount, runsAsIs } from './block.ts';
import type { ClientMessage } from './intake.ts';
import { singleClass } from './registry.ts';
import type { Prepared } from './registry.ts';
import { rewritten } from './rewrite.ts';
import { queryTextAt } from './query-text.ts';
import type { SessionMachine } from './session.ts';
import { changedMeanwhile, isSure, mustBeClear, parseOf, readText } from './text-reading.ts';

export interface Piece {
  readonly messages: readonly Uint8Array[];
  /** Of what the piece executes, in order. */
  readonly classes: readonly StatementClass[];
  readonly texts: readonly string[];
  /** An Execute behind the piece that the gateway carries out by itself. */
  readonly control: Control | undefined;
  /** The last Execute is a COPY FROM STDIN: what follows is for the server to read as copy data. */
  readonly copies: boolean;
  /** It uses the unnamed statement of before, which is prepared again if the gateway has dropped it. */
  readonly unnamed: Prepared | undefined;
  /** The gateway had dropped it when the piece was read. */
  readonly unnamedDropped: boolean;
  /** What follows is read when the server has answered it, because the transaction is another one then. */
  readonly settles: boolean;
  /** Index of the first message that does not belong to it. */
  readonly next: number;
}

export interface Control {
  readonly class: StatementClass;
  readonly text: string;
  readonly portal: string;
}

/** Portals that were bound and not executed yet: they may have to be bound again. */
export type BoundPortals = Map<string, BoundPortal>;

export interface BoundPortal {
  /** The message. */
  readonly bind: Uint8Array;
  /** What it was bound to, if that had no name: there may be another one by now. */
  readonly unnamed: Prepared | undefined;
}

export interface Place {
  /** The group is at its beginning on the server's side: no transaction was opened by it. */
  readonly fresh: boolean;
  /** The transaction has failed: the server refuses by itself. */
  readonly failed: boolean;
  readonly end: 'sync' | 'flush' | 'query' | 'part';
  /** What the group has executed may have changed how the server reads a text, without its word yet. */
  readonly unsure: boolean;
}

/** Settings, or code of a user's that may set them. */
export function mayChangeReading(each: StatementClass): boolean {
  return each.kind !== 'read' && each.kind !== 'empty';
}

export function readPiece(
  session: SessionMachine,
  bound: BoundPortals,
  messages: readonly ClientMessage[],
  from: number,
  place: Place,
): Piece {
  const reader = new PieceReader(session, bound, messages, place);
  let index = from;
  while (index < messages.length && !reader.isFull && reader.read(index)) index++;
  return reader.piece(index);
}

class PieceReader {
  readonly #session: SessionMachine;
  readonly #bound: BoundPortals;
  readonly #group: readonly ClientMessage[];
  readonly #place: Place;
  readonly #sent: Uint8Array[] = [];
  readonly #classes: StatementClass[] = [];
  readonly #texts: string[] = [];
  readonly #unnamedDropped: boolean;
  #unnamed: Prepared | undefined;
  #unnamedParsed = false;
  #control: Control | undefined;
  #copies = false;
  #settles = false;

  constructor(session: SessionMachine, bound: BoundPortals, group: readonly ClientMessage[], place: Place) {
    this.#session = session;
    this.#bound = bound;
    this.#group = group;
    this.#place = place;
    this.#unnamedDropped = session.registry.unnamedDropped;
  }

  /** What comes next belongs to another piece. */
  get isFull(): boolean {
    return this.#control !== undefined || this.#copies || this.#settles;
  }

  piece(next: number): Piece {
    return {
      messages: this.#sent,
      classes: this.#classes,
      texts: this.#texts,
      control: this.#control,
      copies: this.#copies,
      unnamed: this.#unnamed,
      unnamedDropped: this.#unnamedDropped,
      settles: this.#settles,
      next,
    };
  }

  /** False when the message belongs to the next piece. */
  read(index: number): boolean {
    const { type, bytes } = this.#group[index]!;
    let message = bytes;
    switch (type) {
      case frontend.parse:
        message = this.#parse(bytes);
        break;
      case frontend.bind:
        this.#bind(bytes);
        break;
      case frontend.describe:
        // 'S' and no name.
        if (bytes[5] === 0x53 && bytes[6] === 0) this.#useUnnamed();
        break;
      case frontend.close:
        this.#close(bytes);
        break;
      case frontend.execute:
        if (this.#mustSettle(bytes)) return false;
        if (!this.#execute(bytes, index)) return true;
        break;
    }
    this.#sent.push(message);
    this.#session.registry.messageRead();
    return true;
  }

  /**
   * Before this Execute the gateway says something of its own in the transaction: it comes too early as long
   * as a BEGIN, which opens that, or a savepoint command, which undoes it, is still to be sent.
   */
  #mustSettle(bytes: Uint8Array): boolean {
    if (!this.#classes.some((each) => each.kind === 'begin' || each.kind === 'savepoint')) return false;
    const kind = this.#session.registry.portalClass(nameAt(bytes, 5));
    const { block, ports } = this.#session;
    this.#settles =
      kind.kind === 'announced' ||
      mustAccount(block, [kind]) ||
      (kind.kind === 'write' && ports.identityNothing());
    return this.#settles;
  }

  #useUnnamed(): void {
    if (!this.#unnamedParsed) this.#unnamed = this.#session.registry.statement('');
  }

  #parse(bytes: Uint8Array): Uint8Array {
    const name = nameAt(bytes, 5);
    const prepared = prepare(this.#session, bytes, this.#isUnsure());
    if (name === '') this.#unnamedParsed = true;
    this.#session.registry.parse(name, prepared);
    return prepared.message;
  }

  #isUnsure(): boolean {
    return this.#place.unsure || this.#classes.some(mayChangeReading);
  }

  #bind(bytes: Uint8Array): void {
    const portalEnd = cstringEnd(bytes, 5, bytes.length);
    const portal = nameAt(bytes, 5);
    const statement = nameAt(bytes, portalEnd + 1);
    if (statement === '') this.#useUnnamed();
    const { registry } = this.#session;
    registry.bind(portal, statement);
    this.#bound.set(portal, { bind: bytes, unnamed: statement === '' ? registry.statement('') : undefined });
  }

  #close(bytes: Uint8Array): void {
    const name = nameAt(bytes, 6);
    const { registry } = this.#session;
    if (bytes[5] === 0x53) {
      registry.closeStatement(name);
    } else {
      registry.closePortal(name);
      this.#bound.delete(name);
    }
  }

  /** False when the gateway executes it: then it is not sent. */
  #execute(bytes: Uint8Array, index: number): boolean {
    const { registry } = this.#session;
    const portal = nameAt(bytes, 5);
    const prepared = registry.portal(portal);
    const kind = registry.portalClass(portal);
    const text = prepared?.text ?? '';
    this.#bound.delete(portal);
    const isLast = (): boolean => endsGroup(this.#group, index, this.#place);
    if (needsControl(this.#session, prepared, kind, this.#classes, this.#place, isLast)) {
      this.#control = { class: kind, text, portal };
      if (endsTransaction.has(kind.kind)) registry.transactionEnded();
      else registry.portalRan(portal);
      return false;
    }
    if (kind.kind === 'begin') registry.portalSent(portal);
    this.#classes.push(kind);
    this.#texts.push(text);
    this.#copies = kind.kind === 'write' && kind.copyIn && !this.#place.failed;
    // ROLLBACK TO makes a failed transaction live again: what follows is no longer the server's to refuse.
    this.#settles = kind.kind === 'savepoint' && this.#place.failed && !isLast();
    return true;
  }
}

const endsTransaction: ReadonlySet<StatementClass['kind']> = new Set([
  'commit',
  'rollback',
  'prepare-transaction',
]);

/** Transaction control that concerns a block of the gateway's, and what must be refused. */
function needsControl(
  session: SessionMachine,
  prepared: Prepared | undefined,
  kind: StatementClass,
  before: readonly StatementClass[],
  place: Place,
  isLast: () => boolean,
): boolean {
  const { block } = session;
  switch (kind.kind) {
    case 'refused':
    case 'prepare-transaction':
    case 'finish-prepared':
      return !place.failed;
    case 'commit':
      return true;
    case 'rollback':
      return block?.explicit === false || (block === undefined && !before.every(runsAsIs)) || !isLast();
    case 'listen':
      return (block !== undefined || !before.every(runsAsIs)) && !place.failed;
    case 'savepoint':
      return block?.explicit !== true && !before.some((each) => each.kind === 'begin');
    case 'begin':
      if (block !== undefined || before.length > 0 || !place.fresh) return true;
      // Prepared while the client's default was another one.
      return prepared?.replaced !== rewritten(session.wish, kind, false);
    case 'everywhere':
      // In a transaction the server says that it cannot be.
      return block === undefined && before.length === 0 && isLast();
    default:
      return false;
  }
}

/** PostgreSQL takes that many bytes of the name of a statement or portal (NAMEDATALEN - 1) and no more. */
const nameBytes = 63;

function nameAt(bytes: Uint8Array, at: number): string {
  return cstringAt(bytes, at, Math.min(bytes.length, at + nameBytes));
}

/** Nothing is executed behind it in the group. */
function endsGroup(messages: readonly ClientMessage[], index: number, place: Place): boolean {
  if (place.end !== 'sync') return false;
  for (let behind = index + 1; behind < messages.length; behind++) {
    if (messages[behind]!.type === frontend.execute) return false;
  }
  return true;
}

/**
 * The gateway carries these out, and the server never holds them under a name: an EXECUTE of it would end the
 * transaction on this node alone. What reaches it past the gateway rolls back.
 */
function isDecision({ kind }: StatementClass): boolean {
  return kind === 'commit' || kind === 'prepare-transaction';
}

/** `unsure`: what was executed before it in the group may have changed how the server reads a text. */
function prepare(session: SessionMachine, bytes: Uint8Array, unsure: boolean): Prepared {
  const nameEnd = cstringEnd(bytes, 5, bytes.length);
  const source = queryTextAt(bytes, nameEnd + 1, session.clientEncoding);
  const { statements, clear } = readText(session, source);
  const read = singleClass(statements);
  const kind = !unsure || isSure(session, source, read) ? read : changedMeanwhile;
  const replaced = isDecision(kind) ? 'ROLLBACK' : rewritten(session.wish, kind, session.block !== undefined);
  const own = clear !== source && mustBeClear(kind, clear.text) ? parseOf(bytes, clear) : bytes.slice();
  // Copied: it is kept for long, and the chunk shares its memory with others.
  const message = replaced === undefined ? own : parseOf(bytes, { bytes: query(replaced).subarray(5, -1) });
  const standard = session.standardStrings;
  // Its text is sent as a Query when it is executed.
  const again = kind.kind === 'prepare-transaction' ? literalsOf(clear.text, standard).edits : [];
  return { class: kind, text: edited(clear.text, again), message, replaced, standard };
}
