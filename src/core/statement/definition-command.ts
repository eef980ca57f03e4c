/**
 * DDL and maintenance: which of it event triggers see (a write), which the gateway must announce, which
 * stays on this node and which each node runs for itself. Rule: what event triggers do not see was measured
 * on 15 and 18 with a trigger on ddl_command_start; whatever is not named here they do see.
 */
import {
  detaching,
  indexCreation,
  indexRemoval,
  pathOf,
  reindexing,
  tablespaceCommand,
  type EverywhereCommand,
} from './everywhere-command.ts';
import { refused } from './refusal.ts';
import type { StatementClass } from './statement-class.ts';
import { constantText, nodeAt, nodesAt, textAt, type TreeNode } from './tree.ts';

const local: StatementClass = { kind: 'local' };

/** Kinds that are on this node only, whatever they say. */
const localKinds: ReadonlySet<string> = new Set([
  'VacuumStmt',
  'ClusterStmt',
  'CreatedbStmt',
  'DropdbStmt',
  'AlterDatabaseStmt',
  'AlterDatabaseRefreshCollStmt',
  'AlterSystemStmt',
]);

const announcedTags: Readonly<Record<string, string>> = {
  CreateRoleStmt: 'CREATE ROLE',
  AlterRoleStmt: 'ALTER ROLE',
  AlterRoleSetStmt: 'ALTER ROLE',
  DropRoleStmt: 'DROP ROLE',
  ReassignOwnedStmt: 'REASSIGN OWNED',
  AlterDatabaseSetStmt: 'ALTER DATABASE',
  CreateEventTrigStmt: 'CREATE EVENT TRIGGER',
  AlterEventTrigStmt: 'ALTER EVENT TRIGGER',
  AlterTableSpaceOptionsStmt: 'ALTER TABLESPACE',
};

/** Objects of which event triggers see no command (event_trigger.c, EventTriggerSupportsObjectType). */
const unseenObjects: Readonly<Record<string, string>> = {
  OBJECT_DATABASE: 'DATABASE',
  OBJECT_TABLESPACE: 'TABLESPACE',
  OBJECT_ROLE: 'ROLE',
  OBJECT_PARAMETER_ACL: 'PARAMETER',
  OBJECT_EVENT_TRIGGER: 'EVENT TRIGGER',
};

function isConcurrent(command: TreeNode): boolean {
  let concurrent = false;
  for (const parameter of nodesAt(command, 'params')) {
    const element = nodeAt(parameter, 'DefElem');
    if (element === undefined || textAt(element, 'defname') !== 'concurrently') continue;
    const argument = nodeAt(element, 'arg');
    const value = argument === undefined ? 'on' : argumentText(argument);
    concurrent = !isFalse(value);
  }
  return concurrent;
}

/** The text of an option's argument: String, Integer or a constant. */
export function argumentText(argument: TreeNode): string {
  const integer = nodeAt(argument, 'Integer');
  if (integer !== undefined) return String(integer['ival'] ?? 0);
  return constantText(argument) ?? '';
}

/** As defGetBoolean: only these are false; what it would not accept counts as true. */
export function isFalse(value: string): boolean {
  return /^(?:0|off|false)$/iu.test(value);
}

/** Each node runs it for itself, outside of a transaction. */
function everywhereDefinition(kind: string, command: TreeNode): EverywhereCommand | undefined {
  switch (kind) {
    case 'IndexStmt':
      return command['concurrent'] === true ? indexCreation(command) : undefined;
    case 'DropStmt':
      return command['concurrent'] === true ? indexRemoval(command) : undefined;
    case 'ReindexStmt':
      return isConcurrent(command) ? reindexing(command) : undefined;
    case 'AlterTableStmt':
      return detaching(command);
    case 'CreateTableSpaceStmt':
    case 'DropTableSpaceStmt':
      return tablespaceCommand(kind, command);
    default:
      return undefined;
  }
}

/** A subscription that connects; whether one is enabled later, the server sees (sql/capture.sql). */
function refusedDefinition(kind: string, command: TreeNode): StatementClass | undefined {
  if (kind !== 'CreateSubscriptionStmt') return undefined;
  for (const option of nodesAt(command, 'options')) {
    const element = nodeAt(option, 'DefElem') ?? {};
    const argument = nodeAt(element, 'arg');
    if (textAt(element, 'defname') !== 'connect' || argument === undefined) continue;
    if (isFalse(argumentText(argument))) return undefined;
  }
  return refused(
    '0A000',
    'rows that a subscription applies would bypass the other nodes',
    'Feed the cluster with a client that writes through a gateway; a subscription that is not enabled, ' +
      'created with connect = false, is possible.',
  );
}

function announcedDefinition(kind: string, command: TreeNode): StatementClass | undefined {
  const fixed = Object.hasOwn(announcedTags, kind) ? announcedTags[kind] : undefined;
  if (fixed !== undefined) return { kind: 'announced', tag: fixed };
  const granting = command['is_grant'] === true ? 'GRANT' : 'REVOKE';
  if (kind === 'GrantRoleStmt') return { kind: 'announced', tag: `${granting} ROLE` };
  const type = ['removeType', 'renameType', 'objectType', 'objtype']
    .map((key) => textAt(command, key) ?? '')
    .join('');
  const object = Object.hasOwn(unseenObjects, type) ? unseenObjects[type] : undefined;
  if (object === undefined) return undefined;
  switch (kind) {
    case 'GrantStmt':
      return { kind: 'announced', tag: granting };
    case 'CommentStmt':
      return { kind: 'announced', tag: 'COMMENT' };
    case 'SecLabelStmt':
      return { kind: 'announced', tag: 'SECURITY LABEL' };
    case 'DropStmt':
      return { kind: 'announced', tag: `DROP ${object}` };
    case 'RenameStmt':
    case 'AlterOwnerStmt':
      return object === 'DATABASE' ? local : { kind: 'announced', tag: `ALTER ${object}` };
    default:
      return undefined;
  }
}

/** Any utility command that neither controls the session nor moves rows. */
export function definitionClass(kind: string, command: TreeNode, temporary: boolean): StatementClass {
  if (kind === 'RefreshMatViewStmt' && command['concurrent'] === true) {
    // It uses temporary tables, which PREPARE refuses; the text follows in classifyTree.
    return { kind: 'write', certain: true, temporary, copyIn: false, instead: '' };
  }
  if (kind === 'CreateTableAsStmt' || kind === 'RefreshMatViewStmt') {
    return { kind: 'write', certain: true, temporary, copyIn: false };
  }
  const everywhere = everywhereDefinition(kind, command);
  if (everywhere !== undefined) return { kind: 'everywhere', command: everywhere };
  const special = refusedDefinition(kind, command) ?? announcedDefinition(kind, command);
  if (special !== undefined) return special;
  // Its rows are each node's own business, the mark on the index is that of all: the header tells it.
  const relation = nodeAt(command, 'relation');
  if (kind === 'ClusterStmt' && relation !== undefined) {
    const clusters = { relation: pathOf(relation), index: textAt(command, 'indexname') ?? '' };
    return { kind: 'write', certain: false, temporary, copyIn: false, clusters };
  }
  if (localKinds.has(kind) || kind === 'ReindexStmt') return local;
  return { kind: 'write', certain: true, temporary, copyIn: false };
}
