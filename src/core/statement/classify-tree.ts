/**
 * From PostgreSQL's parse tree to how the gateway runs each statement of a query string (architecture §2,
 * §6, §10). Rule: everything that the text shows is decided here, nothing is executed, nothing is guessed
 * towards `read`.
 */
import { isLargeObjectFunction } from './built-in-writers.ts';
import { withoutConcurrently } from './concurrently-word.ts';
import type { ClassifyContext } from './context.ts';
import { argumentText, definitionClass, isFalse } from './definition-command.ts';
import { isPureRead, relationIsSuspicious } from './query-reach.ts';
import { findRefusal, ownObjectRefusal, unreadableNotify } from './refusal.ts';
import { settingClass, showClass, transactionClass } from './session-command.ts';
import type { Statement, StatementClass } from './statement-class.ts';
import { utf8Length } from './utf8-length.ts';
import { nodeAt, nodesAt, stringsAt, textAt, unwrap, walk, type Tree, type TreeNode } from './tree.ts';

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

const read: StatementClass = { kind: 'read' };
const session: StatementClass = { kind: 'session' };

/** Session-only commands; PREPARE is one too: its statement runs with EXECUTE. */
const sessionKinds: ReadonlySet<string> = new Set([
  'DiscardStmt',
  'PrepareStmt',
  'DeallocateStmt',
  'FetchStmt',
  'ClosePortalStmt',
  'LoadStmt',
  'CheckPointStmt',
  'LockStmt',
  'ConstraintsSetStmt',
]);

/** CURSOR_OPT_HOLD of parsenodes.h. */
const holdOption = 0x20;

function write(certain: boolean, temporary = false, copyIn = false): StatementClass {
  return { kind: 'write', certain, temporary, copyIn };
}

const temporarySchema = /^pg_temp(?:_[0-9]+)?$/u;

/** A relation or another object of the statement is temporary by its own words. */
function saysTemporary(statement: TreeNode): boolean {
  let temporary = false;
  walk(statement, (_key, node) => {
    if (temporary) return 'skip';
    temporary = node['relpersistence'] === 't' || temporarySchema.test(textAt(node, 'schemaname') ?? '');
    for (const list of ['funcname', 'defnames', 'typeName', 'domainname', 'objname', 'items', 'names']) {
      temporary ||= stringsAt(node, list).length > 1 && temporarySchema.test(stringsAt(node, list)[0] ?? '');
    }
    return undefined;
  });
  return temporary;
}

/** Nothing in a row change can be what only the checked header sees. */
function isCertain(statement: TreeNode, context: ClassifyContext): boolean {
  let large = context.hiddenLargeObjects;
  walk(statement, (_key, node) => {
    if (large) return 'skip';
    large = 'funcname' in node && isLargeObjectFunction(stringsAt(node, 'funcname').at(-1) ?? '');
    return undefined;
  });
  return !large;
}

function queryClass(statement: TreeNode, context: ClassifyContext): StatementClass {
  if (isPureRead(statement, context)) return read;
  const select = nodeAt(statement, 'SelectStmt');
  // SELECT INTO is CREATE TABLE AS: its tag counts the rows that it wrote.
  const creates = select !== undefined && leftmost(select)['intoClause'] !== undefined;
  return write(creates, saysTemporary(statement));
}

/** INTO of a UNION stands in its leftmost branch. */
function leftmost(select: TreeNode): TreeNode {
  let branch = select;
  for (let left = nodeAt(branch, 'larg'); left !== undefined; left = nodeAt(branch, 'larg')) branch = left;
  return branch;
}

function explainClass(command: TreeNode, context: ClassifyContext): StatementClass {
  let analyze = false;
  for (const option of nodesAt(command, 'options')) {
    const element = nodeAt(option, 'DefElem');
    if (element === undefined || textAt(element, 'defname') !== 'analyze') continue;
    const argument = nodeAt(element, 'arg');
    analyze = argument === undefined || !isFalse(argumentText(argument));
  }
  const query = nodeAt(command, 'query');
  if (!analyze || query === undefined) return read;
  return isPureRead(query, context) ? read : write(false, saysTemporary(query));
}

function copyClass(command: TreeNode, context: ClassifyContext): StatementClass {
  const relation = nodeAt(command, 'relation');
  if (command['is_from'] === true) {
    const fromClient = textAt(command, 'filename') === undefined && command['is_program'] !== true;
    const own = relation !== undefined && textAt(relation, 'schemaname') === 'mtm';
    return (
      (own ? ownObjectRefusal(command) : undefined) ??
      write(!context.hiddenLargeObjects, saysTemporary(command), fromClient)
    );
  }
  if (relation !== undefined) return relationIsSuspicious(relation, context) ? write(false) : read;
  const query = nodeAt(command, 'query');
  return query !== undefined && isPureRead(query, context) ? read : write(false, saysTemporary(command));
}

function doClass(command: TreeNode): StatementClass {
  let notifies = false;
  walk(command, (key, node) => {
    if (key === 'String' && /\bnotify\b/iu.test(textAt(node, 'sval') ?? '')) notifies = true;
    return undefined;
  });
  const plain = { kind: 'write', certain: false, temporary: false, copyIn: false } as const;
  return notifies ? { ...plain, notifies } : plain;
}

function notifyClass(command: TreeNode): StatementClass {
  const channel = textAt(command, 'conditionname') ?? '';
  const payload = textAt(command, 'payload') ?? '';
  // What stands for bytes that are no UTF-8.
  return (channel + payload).includes('\uFFFD') ? unreadableNotify : { kind: 'notify', channel, payload };
}

function bodyClass(
  kind: string,
  statement: TreeNode,
  body: TreeNode,
  context: ClassifyContext,
): StatementClass {
  if (sessionKinds.has(kind)) return session;
  switch (kind) {
    case 'SelectStmt':
      return queryClass(statement, context);
    case 'InsertStmt':
    case 'UpdateStmt':
    case 'DeleteStmt':
    case 'MergeStmt':
      return write(isCertain(statement, context), saysTemporary(statement));
    case 'TransactionStmt':
      return transactionClass(body);
    case 'VariableSetStmt':
      return settingClass(body);
    case 'VariableShowStmt':
      return showClass(body);
    case 'ExplainStmt':
      return explainClass(body, context);
    case 'CopyStmt':
      return copyClass(body, context);
    case 'DeclareCursorStmt': {
      const query = nodeAt(body, 'query');
      // Without HOLD it needs a block of the client's, at whose end is seen what FETCH has done.
      if ((Number(body['options'] ?? 0) & holdOption) === 0) return session;
      return query !== undefined && isPureRead(query, context) ? session : write(false, saysTemporary(body));
    }
    case 'ListenStmt':
      return { kind: 'listen', entry: `+${textAt(body, 'conditionname') ?? ''}` };
    case 'UnlistenStmt': {
      const channel = textAt(body, 'conditionname') ?? '';
      return { kind: 'listen', entry: channel === '' ? '*' : `-${channel}` };
    }
    case 'NotifyStmt':
      return notifyClass(body);
    case 'DoStmt':
      return doClass(body);
    case 'CallStmt':
    case 'ExecuteStmt':
      return write(false);
    default:
      return ownObjectRefusal(statement) ?? definitionClass(kind, body, saysTemporary(statement));
  }
}

/** The class of one statement of the tree, `{ SelectStmt: … }`. */
function statementClass(statement: TreeNode, context: ClassifyContext): StatementClass {
  const whole = unwrap(statement);
  if (whole === undefined) return write(false);
  return findRefusal(statement) ?? bodyClass(whole.kind, statement, whole.body, context);
}

/** REFRESH MATERIALIZED VIEW CONCURRENTLY runs without its last word. */
function withText(found: StatementClass, text: string, start: number, end: number): StatementClass {
  if (found.kind !== 'write' || found.instead === undefined) return found;
  const own = decoder.decode(new TextEncoder().encode(text).subarray(start, end));
  return { ...found, instead: withoutConcurrently(own) };
}

/**
 * The statements of a query string with their places (UTF-8 byte offsets, without the semicolon). A string
 * of white space and comments is one statement of the class `empty`.
 */
export function classifyTree(tree: Tree, text: string, context: ClassifyContext): readonly Statement[] {
  const length = utf8Length(text);
  const statements = (tree.stmts ?? []).map((raw): Statement => {
    const start = raw.stmt_location ?? 0;
    const end = raw.stmt_len === undefined || raw.stmt_len === 0 ? length : start + raw.stmt_len;
    const found: StatementClass =
      raw.stmt === undefined ? { kind: 'empty' } : statementClass(raw.stmt, context);
    return { class: withText(found, text, start, end), start, end };
  });
  return statements.length > 0 ? statements : [{ class: { kind: 'empty' }, start: 0, end: length }];
}
