/**
 * Transaction control and settings: the commands that change how later statements run, not the data.
 */
import { gidRefusal, setValue } from './refusal.ts';
import type { IsolationLevel, StatementClass, TransactionModes } from './statement-class.ts';
import { constantText, nodeAt, nodesAt, textAt, type TreeNode } from './tree.ts';

const session: StatementClass = { kind: 'session' };

/** Settings that the gateway has changed for its own purposes and keeps track of for the client. */
const guardedSettings: ReadonlySet<string> = new Set([
  'default_transaction_read_only',
  'transaction_read_only',
]);

const isolationLevels: readonly IsolationLevel[] = [
  'read uncommitted',
  'read committed',
  'repeatable read',
  'serializable',
];

/**
 * The modes of BEGIN, SET TRANSACTION and SET SESSION CHARACTERISTICS. A later mode wins, as in PostgreSQL.
 */
function modesOf(options: readonly TreeNode[]): TransactionModes {
  let isolation: IsolationLevel | undefined;
  let readOnly: boolean | undefined;
  let deferrable: boolean | undefined;
  for (const option of options) {
    const element = nodeAt(option, 'DefElem');
    const argument = element === undefined ? undefined : nodeAt(element, 'arg');
    if (element === undefined || argument === undefined) continue;
    const value = constantText(argument);
    const name = textAt(element, 'defname');
    if (name === 'transaction_isolation') isolation = isolationLevels.find((level) => level === value);
    if (name === 'transaction_read_only') readOnly = value === '1';
    if (name === 'transaction_deferrable') deferrable = value === '1';
  }
  return { isolation, readOnly, deferrable };
}

export function transactionClass(command: TreeNode): StatementClass {
  const chain = command['chain'] === true;
  const gid = textAt(command, 'gid') ?? '';
  switch (textAt(command, 'kind')) {
    case 'TRANS_STMT_BEGIN':
      return { kind: 'begin', tag: 'BEGIN', modes: modesOf(nodesAt(command, 'options')) };
    case 'TRANS_STMT_START':
      return { kind: 'begin', tag: 'START TRANSACTION', modes: modesOf(nodesAt(command, 'options')) };
    case 'TRANS_STMT_COMMIT':
      return { kind: 'commit', chain };
    case 'TRANS_STMT_ROLLBACK':
      return { kind: 'rollback', chain };
    case 'TRANS_STMT_PREPARE':
      return gidRefusal(gid) ?? { kind: 'prepare-transaction', gid };
    case 'TRANS_STMT_COMMIT_PREPARED':
      return gidRefusal(gid) ?? { kind: 'finish-prepared', gid, commit: true };
    case 'TRANS_STMT_ROLLBACK_PREPARED':
      return gidRefusal(gid) ?? { kind: 'finish-prepared', gid, commit: false };
    case 'TRANS_STMT_SAVEPOINT':
      return { kind: 'savepoint', act: 'savepoint', name: textAt(command, 'savepoint_name') ?? '' };
    case 'TRANS_STMT_RELEASE':
      return { kind: 'savepoint', act: 'release', name: textAt(command, 'savepoint_name') ?? '' };
    default:
      return { kind: 'savepoint', act: 'rollback', name: textAt(command, 'savepoint_name') ?? '' };
  }
}

function characteristicsClass(modes: TransactionModes): StatementClass {
  if (modes.readOnly === undefined) return session;
  const others = modeTexts({ ...modes, readOnly: undefined });
  return {
    kind: 'set-guarded',
    name: 'default_transaction_read_only',
    value: modes.readOnly ? 'on' : 'off',
    local: false,
    ...(others.length > 0 && { also: `SET SESSION CHARACTERISTICS AS TRANSACTION ${others.join(' ')}` }),
  };
}

/** SET, RESET. What a client may not set was refused before. */
export function settingClass(command: TreeNode): StatementClass {
  const kind = textAt(command, 'kind');
  const written = textAt(command, 'name') ?? '';
  if (kind === 'VAR_SET_MULTI') {
    const modes = modesOf(nodesAt(command, 'args'));
    if (written === 'TRANSACTION') return { kind: 'set-transaction', modes };
    return written === 'SESSION CHARACTERISTICS' ? characteristicsClass(modes) : session;
  }
  const name = written.toLowerCase();
  // SET … FROM CURRENT gives a setting the value that it has: nothing changes.
  if (!guardedSettings.has(name) || kind === 'VAR_SET_CURRENT') return session;
  const local = command['is_local'] === true;
  const reset = kind === 'VAR_RESET' && ({ reset: true } as const);
  return { kind: 'set-guarded', name, value: setValue(command), local, ...reset };
}

export function showClass(command: TreeNode): StatementClass {
  const name = (textAt(command, 'name') ?? '').toLowerCase();
  return guardedSettings.has(name) ? { kind: 'show-guarded', name } : session;
}

function modeTexts(modes: TransactionModes): readonly string[] {
  const texts: string[] = [];
  if (modes.isolation !== undefined) texts.push(`ISOLATION LEVEL ${modes.isolation.toUpperCase()}`);
  if (modes.readOnly !== undefined) texts.push(modes.readOnly ? 'READ ONLY' : 'READ WRITE');
  if (modes.deferrable !== undefined) texts.push(modes.deferrable ? 'DEFERRABLE' : 'NOT DEFERRABLE');
  return texts;
}

/**
 * The BEGIN that the server gets for the client's one. The server's session is read-only by default, so the
 * access mode is always said: READ ONLY only when the client asked for it, or its own default is to.
 */
export function beginText(
  tag: 'BEGIN' | 'START TRANSACTION',
  modes: TransactionModes,
  defaultReadOnly: boolean,
): string {
  return `${tag} ${modeTexts({ ...modes, readOnly: modes.readOnly ?? defaultReadOnly }).join(' ')}`;
}
