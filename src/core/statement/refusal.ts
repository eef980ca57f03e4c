/**
 * What no client may do through a gateway, wherever in a statement it stands: touch our own objects, and
 * open ways around the capture of rows and DDL. Rule: says no before the server sees the text. It sees
 * top-level text only: inside a function these stay open to superusers, who alone have the privileges for
 * them.
 */
import { gidPrefix } from '../identity.ts';
import { originFunctions, ownReads, slotFunctions } from './built-in-writers.ts';
import type { StatementClass } from './statement-class.ts';
import {
  constantText,
  nodeAt,
  nodesAt,
  stringOf,
  stringsAt,
  textAt,
  unwrap,
  walk,
  type TreeNode,
} from './tree.ts';

export type Refusal = Extract<StatementClass, { kind: 'refused' }>;

export function refused(sqlstate: string, message: string, hint: string): Refusal {
  return { kind: 'refused', sqlstate, message: `[multimaster] ${message}`, hint };
}

export function gidRefusal(gid: string): Refusal | undefined {
  if (!gid.startsWith(gidPrefix)) return undefined;
  return refused(
    '22023',
    `transaction identifiers beginning with "${gidPrefix}" are reserved`,
    'Choose another identifier for the prepared transaction.',
  );
}

/** It is put into other words, for which its text must be understood. */
export const unreadableNotify: Refusal = refused(
  '0A000',
  'this NOTIFY is not written in UTF-8, so it cannot be sent to the other nodes',
  'Use SELECT pg_notify(…), or client_encoding = UTF8.',
);

export const unreadableListen: Refusal = refused(
  '0A000',
  'this LISTEN is not written in UTF-8, so it cannot wait for the end of the transaction',
  'Run it outside of a transaction, or use client_encoding = UTF8.',
);

const ownObject = (): Refusal =>
  refused(
    '42501',
    'this command would change an object that belongs to multimaster',
    'Schema "mtm", publication "mtm", slots and event triggers "mtm_*" are managed by the gateway alone.',
  );

function isTrue(value: string): boolean {
  return /^(?:t|tr|tru|true|y|ye|yes|on|1)$/iu.test(value.trim());
}

/** Sessions may set no other; its values are exactly these, because mtm.header() compares them. */
export const waitPeerCommits = 'multimaster.wait_peer_commits';

/** What stands in gateway.yaml cannot be set here, nor what does not exist. An unknown value is ''. */
function ownSettingRefusal(name: string, value: string): Refusal | undefined {
  if (name !== waitPeerCommits) {
    return refused(
      '55P02',
      `parameter "${name}" cannot be changed in a session`,
      'SHOW tells its value; settings of the gateway stand in gateway.yaml.',
    );
  }
  if (/^(?:on|off|)$/u.test(value)) return undefined;
  return refused(
    '22023',
    `parameter "${name}" is on or off, not "${value}"`,
    'Write on or off, as in SET multimaster.wait_peer_commits = off.',
  );
}

/**
 * Values of settings that the gateway's own work depends on; undefined (RESET, TO DEFAULT) is always allowed.
 * `forOthers`: sessions of a role, a database or the server begin with it, also the gateway's own.
 */
export function settingRefusal(
  name: string,
  value: string | undefined,
  forOthers = false,
): Refusal | undefined {
  if (value === undefined) return undefined;
  if (/^multimaster\./iu.test(name)) return ownSettingRefusal(name.toLowerCase(), value);
  switch (name.toLowerCase()) {
    case 'session_replication_role':
      if (!forOthers || /^(?:origin|local)$/iu.test(value.trim())) return undefined;
      return refused(
        '0A000',
        'session_replication_role = replica cannot be what sessions begin with',
        'Use SET, or the options of the connection.',
      );
    case 'event_triggers':
      if (isTrue(value)) return undefined;
      return refused(
        '0A000',
        'event_triggers = off would hide DDL from the other nodes',
        'Disable the event trigger itself with ALTER EVENT TRIGGER … DISABLE.',
      );
    default:
      return undefined;
  }
}

/** The setting's value in a SET; undefined for RESET, SET … TO DEFAULT and what is no constant. */
export function setValue(set: TreeNode): string | undefined {
  if (textAt(set, 'kind') !== 'VAR_SET_VALUE') return undefined;
  const values = nodesAt(set, 'args').map((argument) => constantText(argument) ?? '');
  return values.join(', ');
}

function notForRoles(): Refusal {
  return refused(
    '55P02',
    `parameter "${waitPeerCommits}" is set by each session for itself`,
    'Use SET, or the options of the connection.',
  );
}

function callRefusal(call: TreeNode): Refusal | undefined {
  const path = stringsAt(call, 'funcname');
  const name = path.at(-1) ?? '';
  const constants = nodesAt(call, 'args').map(constantText);
  if (path.length > 1 && path.at(-2) === 'mtm') return name === 'header' ? ownObject() : undefined;
  if (originFunctions.has(name)) {
    return refused(
      '0A000',
      `${name} would hide this session's writes from the other nodes`,
      'Use application_name=mtm_admin for an unsupervised session on this node.',
    );
  }
  if (slotFunctions.has(name) && constants[0]?.startsWith('mtm_') === true) return ownObject();
  // A value that is no constant could be any: an empty one is refused like the worst.
  if (name === 'set_config') return settingRefusal(constants[0] ?? '', constants[1] ?? '');
  return undefined;
}

const changes: ReadonlySet<string> = new Set(['InsertStmt', 'UpdateStmt', 'DeleteStmt', 'MergeStmt']);

/** The first reason to refuse in a whole statement, queries and nested commands included. */
export function findRefusal(statement: TreeNode): Refusal | undefined {
  let found: Refusal | undefined;
  walk(statement, (key, node) => {
    if (found !== undefined) return 'skip';
    if ('funcname' in node && (key === 'FuncCall' || key === 'funccall' || key === 'func'))
      found = callRefusal(node);
    else if (key === 'VariableSetStmt' || key === 'setstmt') {
      found = settingRefusal(textAt(node, 'name') ?? '', setValue(node), key === 'setstmt');
      // What is sent at the beginning of each session outranks what roles and databases have.
      if (key === 'setstmt' && /^multimaster\./iu.test(textAt(node, 'name') ?? '')) found ??= notForRoles();
    } else if (changes.has(key)) {
      const target = nodeAt(node, 'relation');
      if (target !== undefined && textAt(target, 'schemaname') === 'mtm') found = ownObject();
    }
    return undefined;
  });
  return found;
}

/**
 * Parts of DDL that only read or only name types: `CREATE VIEW v AS SELECT * FROM mtm.nodes()` is a user's
 * right.
 */
const queries: ReadonlySet<string> = new Set([
  'query',
  'SelectStmt',
  'FuncCall',
  'TypeCast',
  'sql_body',
  'whenClause',
  'raw_default',
  'raw_expr',
  'funccall',
]);

/** Lists of strings that are the qualified name of an object. */
const nameLists = [
  'funcname',
  'defnames',
  'typeName',
  'domainname',
  'objname',
  'opclassname',
  'opfamilyname',
  'items',
  'names',
  'type_name',
  'objects',
];

/**
 * Their names begin so that they fire before those of users (event triggers fire in the order of their
 * names).
 */
function isOwnTrigger(name: string): boolean {
  return name.startsWith('!mtm_') || name.startsWith('mtm_');
}

function nameIsOwn(objectType: string, name: string | undefined): boolean {
  if (name === undefined) return false;
  if (objectType === 'OBJECT_EVENT_TRIGGER') return isOwnTrigger(name);
  if (name === 'mtm_headers' && objectType === 'OBJECT_PUBLICATION') return true;
  return name === 'mtm' && (objectType === 'OBJECT_SCHEMA' || objectType === 'OBJECT_PUBLICATION');
}

function objectIsOwn(node: TreeNode): boolean {
  const type = ['removeType', 'renameType', 'objectType', 'objtype']
    .map((key) => textAt(node, key) ?? '')
    .join('');
  if (type === '') return false;
  const object = nodeAt(node, 'object');
  const names = [textAt(node, 'subname'), textAt(node, 'newname'), ...stringsAt(node, 'objects')];
  if (object !== undefined) names.push(stringOf(object));
  const inSchema = textAt(node, 'targtype') === 'ACL_TARGET_ALL_IN_SCHEMA';
  return names.some((name) => nameIsOwn(inSchema ? 'OBJECT_SCHEMA' : type, name));
}

function nodeIsOwn(key: string, node: TreeNode): boolean {
  if (textAt(node, 'schemaname') === 'mtm' || textAt(node, 'newschema') === 'mtm') return true;
  if (textAt(node, 'local_schema') === 'mtm' || /^mtm(?:_headers)?$/u.test(textAt(node, 'pubname') ?? ''))
    return true;
  if (key.endsWith('EventTrigStmt') && isOwnTrigger(textAt(node, 'trigname') ?? '')) return true;
  if (key === 'DefElem' && /^schemas?$/u.test(textAt(node, 'defname') ?? '')) {
    const argument = nodeAt(node, 'arg');
    const list = argument === undefined ? undefined : nodeAt(argument, 'List');
    const names = list === undefined ? [argument && stringOf(argument)] : stringsAt(list, 'items');
    if (names.includes('mtm')) return true;
  }
  for (const list of nameLists) {
    const names = stringsAt(node, list);
    if (names.length > 1 && names[0] === 'mtm') return true;
  }
  return objectIsOwn(node);
}

/** A definition command whose objects are ours. */
export function ownObjectRefusal(statement: TreeNode): Refusal | undefined {
  const whole = unwrap(statement);
  if (whole === undefined) return undefined;
  let own = false;
  walk(statement, (key, node) => {
    if (own || queries.has(key)) return 'skip';
    own = nodeIsOwn(key, node);
    return undefined;
  });
  return own ? ownObject() : undefined;
}

/** Our own functions that may be called inside a read. */
export function isOwnRead(path: readonly string[]): boolean {
  return path.length === 2 && path[0] === 'mtm' && ownReads.has(path[1] ?? '');
}
