/**
 * How a simple Query runs: as it is, in a block of the gateway's own, or statement by statement.
 * Rule: a string has one ReadyForQuery; what stands in it outside of BEGIN … COMMIT is one implicit
 * transaction, as in PostgreSQL.
 */
import type { Statement, StatementClass } from '../statement/statement-class.ts';
import { frontend, status } from '../wire/codes.ts';
import { query, syncMessage, withText } from '../wire/messages.ts';
import type { ErrorText } from '../wire/messages.ts';
import { isSetting, runsAsIs } from './block.ts';
import { runCluster } from './clustering.ts';
import { runEverywhere } from './everywhere.ts';
import { settled } from './server-reply.ts';
import { translated } from './interruption.ts';
import { listenLater } from './listening.ts';
import { runLocalUnit } from './local-command.ts';
import type { ClientMessage } from './intake.ts';
import { queryTextAt, sliceStatements } from './query-text.ts';
import type { QueryText } from './query-text.ts';
import { runString } from './query-string.ts';
import type { StringStatement } from './query-string.ts';
import { ownReply } from './reply.ts';
import { rewritten } from './rewrite.ts';
import type { SessionMachine, Task } from './session.ts';
import { mustBeClear, plain, queryOf, readText } from './text-reading.ts';
import { account, announce, inExplicitBlock, refuse, runAutocommit, runPassing, sendReady } from './unit.ts';
import type { Unit } from './unit.ts';

export function planSimple(session: SessionMachine, message: ClientMessage): Task {
  const source = queryTextAt(message.bytes, 5, session.clientEncoding);
  const { statements, clear } = readText(session, source);
  session.registry.simpleQuerySent(true);
  const isBroken = !source.isUtf8 && session.clientEncoding === 'UTF8'; // the server refuses it as a whole
  if (statements === undefined || isBroken) return runUnparsed(session, source);
  const [first] = statements;
  if (first !== undefined && statements.length === 1) {
    const mustClear = clear !== source && mustBeClear(first.class, clear.text);
    return planSingle(session, mustClear ? queryOf(clear) : message.bytes, clear.text, first.class);
  }
  return planSeveral(session, message, clear, statements);
}

function unitOf(bytes: Uint8Array, classes: readonly StatementClass[], texts: readonly string[]): Unit {
  const sending = { messages: [bytes], prefix: 0 };
  return { build: () => sending, isSimple: true, classes, texts };
}

/**
 * The transaction has failed by an error that the client knows: the server refuses everything but its end.
 */
function hasFailed(session: SessionMachine): boolean {
  return (
    session.block !== undefined &&
    session.serverStatus === status.failed &&
    session.interruption === undefined
  );
}

function planSingle(session: SessionMachine, message: Uint8Array, text: string, kind: StatementClass): Task {
  const unit = unitOf(message, [kind], [text]);
  if (kind.kind === 'listen' && session.block !== undefined && !hasFailed(session)) {
    const later = listenLater(kind.entry);
    return runPassing(session, later === undefined ? unit : unitOf(query(later), [kind], [text]));
  }
  if (runsAsIs(kind) || hasFailed(session)) return runPassing(session, unit);
  if (isSetting(kind)) {
    const other = rewritten(session.wish, kind, session.block !== undefined);
    return runPassing(session, other === undefined ? unit : unitOf(query(other), [kind], [text]));
  }
  switch (kind.kind) {
    case 'notify':
      return planNotify(session, unit, kind);
    case 'write': {
      if (kind.clusters !== undefined && !inExplicitBlock(session))
        return runCluster(session, kind.clusters, unit);
      const own = kind.instead === undefined ? unit : unitOf(query(kind.instead), [kind], [kind.instead]);
      return inExplicitBlock(session) ? runPassing(session, own) : runAutocommit(session, own);
    }
    case 'announced':
      return inExplicitBlock(session) ? runAnnounced(session, unit) : runAutocommit(session, unit);
    case 'local':
      return inExplicitBlock(session) ? runPassing(session, unit) : runLocalUnit(session, unit);
    case 'everywhere':
      return inExplicitBlock(session) ? runPassing(session, unit) : runEverywhere(session, kind, unit);
    default:
      return runString(session, [{ class: kind, message, text, offset: 0 }]);
  }
}

function planNotify(session: SessionMachine, unit: Unit, kind: StatementClass): Task {
  const other = rewritten(session.wish, kind, true);
  const sent = other === undefined ? unit : unitOf(query(other), unit.classes, unit.texts);
  return inExplicitBlock(session) ? runPassing(session, sent) : runAutocommit(session, sent);
}

function* runAnnounced(session: SessionMachine, unit: Unit): Task {
  account(session, unit.classes, unit.texts);
  if (session.serverStatus !== status.failed) announce(session, unit.classes, unit.texts);
  yield* runPassing(session, unit);
}

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

function planSeveral(
  session: SessionMachine,
  message: ClientMessage,
  source: QueryText,
  statements: readonly Statement[],
): Task {
  const slices = sliceStatements(source, statements);
  const classes = statements.map((statement) => statement.class);
  const texts = slices.map(({ bytes }) => decoder.decode(bytes));
  const unit = unitOf(message.bytes, classes, texts);
  const explicit = inExplicitBlock(session);
  const together = classes.every((each, index) => {
    if (each.kind === 'write') return plain.test(texts[index]!);
    if (each.kind === 'savepoint') return explicit;
    if (each.kind === 'listen') return !explicit && classes.every(runsAsIs);
    return runsAsIs(each) && each.kind !== 'rollback';
  });
  if (together) {
    if (explicit || classes.every(runsAsIs)) return runPassing(session, unit);
    return runAutocommit(session, unit);
  }
  const list = slices.map(({ bytes, offset }, index): StringStatement => ({
    class: classes[index]!,
    message: queryOf({ bytes }),
    text: texts[index]!,
    offset,
  }));
  return runString(session, list);
}

const partitionStrategy = /^\s*create\b.*\)\s*partition\s+by\s+"?(?!(?:list|range|hash)\b)(\w+)/is;

function unparsedText(text: string): ErrorText {
  const strategy = partitionStrategy.exec(text)?.[1];
  if (strategy !== undefined) {
    // Before 17 the server says so when it runs the command.
    const message = `unrecognized partitioning strategy "${strategy.toLowerCase()}"`;
    return { severity: 'ERROR', sqlstate: '22023', message };
  }
  return {
    severity: 'ERROR',
    sqlstate: '42601',
    message: '[multimaster] the statement uses a syntax that PostgreSQL 18 no longer has',
    hint: 'Quote names that have become keywords.',
  };
}

/**
 * PostgreSQL 18's grammar refuses the text. The server gets it only as Parse, which executes nothing: it says
 * best what is wrong, and an older server that knows the syntax all the same must not run what nobody here
 * understands.
 */
function* runUnparsed(session: SessionMachine, source: QueryText): Task {
  // Parse (F): no name, the text, no parameter types.
  session.toServer(withText(frontend.parse, Uint8Array.of(0), source.bytes, Uint8Array.of(0, 0)));
  session.toServer(syncMessage);
  const reply = session.expect(ownReply());
  yield* settled(session, reply);
  if (reply.error === undefined) {
    yield* refuse(session, unparsedText(source.text));
  } else {
    session.toClient(translated(session, reply.error));
  }
  sendReady(session);
}
