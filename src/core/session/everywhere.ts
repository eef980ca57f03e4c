/**
 * A command that cannot run in a transaction and concerns all nodes: the gateway runs it on connections of
 * its own, node by node; the session only waits.
 * Rule: what the command names, and the role and the settings it runs under, are told by the client's own
 * server session. A command on its temporary objects runs there and nowhere else.
 */
import type { EverywhereCommand } from '../statement/everywhere-command.ts';
import { withIndexName, withoutConcurrently } from '../statement/concurrently-word.ts';
import type { StatementClass } from '../statement/statement-class.ts';
import { errorResponse } from '../wire/messages.ts';
import type { ErrorText } from '../wire/messages.ts';
import { admission } from './admission.ts';
import { settled } from './server-reply.ts';
import { runLocalUnit } from './local-command.ts';
import type { EverywhereOrder, EverywhereResult } from './ports.ts';
import type { SessionMachine, Task } from './session.ts';
import { refuse, sendReady } from './unit.ts';
import type { Unit } from './unit.ts';

type Part<T> = Generator<void, T, void>;
type Everywhere = Extract<StatementClass, { kind: 'everywhere' }>;

/** What mtm.everywhere_frame() tells, as far as the session must know. */
interface Frame {
  readonly temporary?: boolean;
  readonly error?: { readonly sqlstate: string; readonly message: string };
  /** IF [NOT] EXISTS: there is nothing to do. */
  readonly notice?: { readonly sqlstate: string; readonly message: string };
  /** Of the index, quoted, when the command does not name it. */
  readonly chosen?: string;
}

/** A simple Query that is nothing else, outside of a transaction. */
export function* runEverywhere(session: SessionMachine, kind: Everywhere, unit: Unit): Task {
  const text = unit.texts[0] ?? '';
  const end = yield* carriedOut(session, kind.command, text);
  if (end === 'temporary') return yield* runLocalUnit(session, unit);
  sendReady(session);
}

/** The same in an extended group; false after an error, which is told. */
export function* carryOutEverywhere(session: SessionMachine, kind: Everywhere, text: string): Part<boolean> {
  const end = yield* carriedOut(session, kind.command, text);
  if (end !== 'temporary') return end;
  yield* refuse(session, {
    severity: 'ERROR',
    sqlstate: '0A000',
    message: `[multimaster] ${kind.command.tag} CONCURRENTLY of a temporary table needs a simple Query`,
    hint: 'Leave out CONCURRENTLY: nobody else uses the table.',
  });
  return false;
}

function* carriedOut(
  session: SessionMachine,
  command: EverywhereCommand,
  text: string,
): Part<boolean | 'temporary'> {
  const obstacle = yield* admission(session, true);
  if (obstacle !== undefined) return yield* refuse(session, obstacle);
  if (session.wish.value) return yield* refuse(session, readOnly(command));
  session.clientCancelled = false;
  const asked = session.sendOwn(session.ports.frameSql(command));
  yield* settled(session, asked);
  if (asked.error !== undefined) {
    session.toClient(asked.error);
    return false;
  }
  const frame = JSON.parse(asked.value ?? '{}') as Frame;
  if (frame.temporary === true) return 'temporary';
  if (frame.error !== undefined) return yield* refuse(session, { severity: 'ERROR', ...frame.error });
  if (frame.notice !== undefined) {
    session.toClient(errorResponse({ severity: 'NOTICE', ...frame.notice }));
    session.complete(command.tag);
    return true;
  }
  const order = orderOf(command, text, frame, asked.value ?? '{}');
  return yield* awaitResult(session, order);
}

function orderOf(command: EverywhereCommand, text: string, frame: Frame, told: string): EverywhereOrder {
  const named = frame.chosen === undefined ? text : withIndexName(text, frame.chosen);
  const plain = command.what === 'create-index' ? withoutConcurrently(named) : '';
  return { command, text: named, plain, frame: told };
}

function* awaitResult(session: SessionMachine, order: EverywhereOrder): Part<boolean> {
  session.everywhere = undefined;
  session.ports.everywhere(order);
  let result = session.everywhere as EverywhereResult | undefined;
  for (let cancelled = false; result === undefined; result = session.everywhere) {
    if (session.clientCancelled && !cancelled) {
      cancelled = true;
      session.ports.everywhere(undefined);
    }
    yield;
  }
  session.everywhere = undefined;
  for (const notice of result.notices) session.toClient(errorResponse(notice));
  if (result.error !== undefined) return yield* refuse(session, result.error);
  session.complete(order.command.tag);
  return true;
}

function readOnly({ tag }: EverywhereCommand): ErrorText {
  return {
    severity: 'ERROR',
    sqlstate: '25006',
    message: `cannot execute ${tag} in a read-only transaction`,
  };
}
