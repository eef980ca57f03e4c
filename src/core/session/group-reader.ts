/**
 * Reads the messages of an extended group as far as the session must understand them, in pieces that can be
 * sent as a whole. Grammar (manual, "Message Formats"): Parse = name, text, types; Bind = portal, statement,
 * …; Execute = portal, row limit; Describe and Close = 'S' or 'P', name. Rule: reading takes effect in the
 * registry, so a piece is read when everything before it has been sent.
 */
import type { StatementClass } from '../statement/statement-class.ts';
import { frontend } from '../wire/codes.ts';
import { cstringAt, cstringEnd, query, withText } from '../wire/messages.ts';
import { runsAsIs } from './block.ts';
import type { ClientMessage } from './intake.ts';
import { singleClass } from './registry.ts';
import type { Prepared } from './registry.ts';
import { rewritten } from './rewrite.ts';
import type { SessionMachine } from './session.ts';

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
  /** Index of the first message that does not belong to it. */
  readonly next: number;
}

export interface Control {
  readonly class: StatementClass;
  readonly text: string;
  readonly portal: string;
}

/** Portals that were bound and not executed yet, with their Bind: they may have to be bound again. */
export type BoundPortals = Map<string, Uint8Array>;

export interface Place {
  /** The group is at its beginning on the server's side: no transaction was opened by it. */
  readonly fresh: boolean;
  /** The transaction has failed: the server refuses by itself. */
  readonly failed: boolean;
  readonly end: 'sync' | 'flush' | 'query' | 'part';
}

export function readPiece(
  session: SessionMachine,
  bound: BoundPortals,
  messages: readonly ClientMessage[],
  from: number,
  place: Place,
): Piece {
  const { registry } = session;
  const sent: Uint8Array[] = [];
  const classes: StatementClass[] = [];
  const texts: string[] = [];
  let unnamed: Prepared | undefined;
  const unnamedDropped = registry.unnamedDropped;
  let unnamedParsed = false;
  let control: Control | undefined;
  let copies = false;
  let index = from;
  for (; index < messages.length && control === undefined && !copies; index++) {
    const { type, bytes } = messages[index]!;
    let message = bytes;
    switch (type) {
      case frontend.parse: {
        const name = cstringAt(bytes, 5, bytes.length);
        const prepared = prepare(session, bytes);
        message = prepared.message;
        if (name === '') unnamedParsed = true;
        registry.parse(name, prepared);
        break;
      }
      case frontend.bind: {
        const portalEnd = cstringEnd(bytes, 5, bytes.length);
        const portal = cstringAt(bytes, 5, bytes.length);
        const statement = cstringAt(bytes, portalEnd + 1, bytes.length);
        if (statement === '' && !unnamedParsed) unnamed = registry.statement('');
        registry.bind(portal, statement);
        bound.set(portal, bytes);
        break;
      }
      case frontend.describe:
        if (bytes[5] === 0x53 && bytes[6] === 0 && !unnamedParsed) unnamed = registry.statement('');
        break;
      case frontend.close: {
        const name = cstringAt(bytes, 6, bytes.length);
        if (bytes[5] === 0x53) registry.closeStatement(name);
        else {
          registry.closePortal(name);
          bound.delete(name);
        }
        break;
      }
      case frontend.execute: {
        const portal = cstringAt(bytes, 5, bytes.length);
        const prepared = registry.portal(portal);
        const kind = registry.portalClass(portal);
        const text = prepared?.text ?? '';
        bound.delete(portal);
        if (needsControl(session, prepared, kind, classes, place, () => endsGroup(messages, index, place))) {
          control = { class: kind, text, portal };
          if (kind.kind === 'commit' || kind.kind === 'rollback') registry.transactionEnded();
          else registry.portalRan(portal);
          continue; // Executed by the gateway: not sent.
        }
        if (kind.kind === 'begin') registry.portalSent(portal);
        classes.push(kind);
        texts.push(text);
        copies = kind.kind === 'write' && kind.copyIn && !place.failed;
        break;
      }
    }
    sent.push(message);
    registry.messageRead();
  }
  return { messages: sent, classes, texts, control, copies, unnamed, unnamedDropped, next: index };
}

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
      // Without a transaction the server's own warning is the right answer.
      return block !== undefined || !before.every(runsAsIs) || !isLast();
    case 'rollback':
      return block?.explicit === false || (block === undefined && !before.every(runsAsIs)) || !isLast();
    case 'savepoint':
      return block?.explicit !== true && !before.some((each) => each.kind === 'begin');
    case 'begin':
      if (block !== undefined || before.length > 0 || !place.fresh) return true;
      // Prepared while the client's default was another one.
      return prepared?.replaced !== rewritten(session.wish, kind, false);
    default:
      return false;
  }
}

/** Nothing is executed behind it in the group. */
function endsGroup(messages: readonly ClientMessage[], index: number, place: Place): boolean {
  if (place.end !== 'sync') return false;
  for (let behind = index + 1; behind < messages.length; behind++) {
    if (messages[behind]!.type === frontend.execute) return false;
  }
  return true;
}

function prepare(session: SessionMachine, bytes: Uint8Array): Prepared {
  const nameEnd = cstringEnd(bytes, 5, bytes.length);
  const text = cstringAt(bytes, nameEnd + 1, bytes.length);
  const kind = singleClass(session.ports.classify(text));
  const replaced = rewritten(session.wish, kind, session.block !== undefined);
  if (replaced === undefined) return { class: kind, text, message: bytes, replaced };
  const textEnd = cstringEnd(bytes, nameEnd + 1, bytes.length);
  const newText = query(replaced).subarray(5, -1);
  const message = withText(
    frontend.parse,
    bytes.subarray(5, nameEnd + 1),
    newText,
    bytes.subarray(textEnd + 1),
  );
  return { class: kind, text, message, replaced };
}
