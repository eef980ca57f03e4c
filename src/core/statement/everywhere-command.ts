/**
 * Commands that cannot be part of a transaction and concern all nodes: each node runs them for itself
 * (node/everywhere-desk.ts). This tells what the text names, so that all nodes do the same.
 * Rule: the server resolves names; nothing here guesses a schema.
 */
import { nodeAt, nodesAt, stringOf, stringsAt, textAt, type TreeNode } from './tree.ts';

export type EverywhereKind =
  'create-index' | 'drop-index' | 'reindex' | 'detach' | 'create-tablespace' | 'drop-tablespace';

export interface EverywhereCommand {
  readonly what: EverywhereKind;
  /** PostgreSQL's command tag. */
  readonly tag: string;
  /** Table or index as a path of names; empty: a schema, a database or a tablespace. */
  readonly relation: readonly string[];
  /** The partition of a DETACH. */
  readonly partition: readonly string[];
  /** Of the index to create, or of the tablespace; empty: PostgreSQL chooses one, or it stays where it is. */
  readonly name: string;
  /** What the name of an index without a name is made of; the schema of a REINDEX. */
  readonly columns: readonly string[];
  /** IF EXISTS, IF NOT EXISTS. */
  readonly lenient: boolean;
}

const none = { relation: [], partition: [], name: '', columns: [], lenient: false } as const;

/** The names of a RangeVar, without the database. */
export function pathOf(relation: TreeNode | undefined): string[] {
  if (relation === undefined) return [];
  const schema = textAt(relation, 'schemaname');
  const name = textAt(relation, 'relname') ?? '';
  return schema === undefined ? [name] : [schema, name];
}

/** As FigureIndexColname in parse_target.c, for what is common. */
function columnName(element: TreeNode): string {
  const name = textAt(element, 'name');
  if (name !== undefined) return name;
  const expression = nodeAt(element, 'expr');
  const call = expression === undefined ? undefined : nodeAt(expression, 'FuncCall');
  return (call === undefined ? undefined : stringsAt(call, 'funcname').at(-1)) ?? 'expr';
}

/** CREATE INDEX CONCURRENTLY. */
export function indexCreation(command: TreeNode): EverywhereCommand {
  const lists = [...nodesAt(command, 'indexParams'), ...nodesAt(command, 'indexIncludingParams')];
  return {
    ...none,
    what: 'create-index',
    tag: 'CREATE INDEX',
    relation: pathOf(nodeAt(command, 'relation')),
    name: textAt(command, 'idxname') ?? '',
    columns: lists.map((each) => columnName(nodeAt(each, 'IndexElem') ?? {})),
    lenient: command['if_not_exists'] === true,
  };
}

/** DROP INDEX CONCURRENTLY: of one index; the server refuses more. */
export function indexRemoval(command: TreeNode): EverywhereCommand {
  const [first] = nodesAt(command, 'objects');
  const list = first === undefined ? undefined : nodeAt(first, 'List');
  const path = nodesAt(list ?? {}, 'items').flatMap((item) => stringOf(item) ?? []);
  const lenient = command['missing_ok'] === true;
  return { ...none, what: 'drop-index', tag: 'DROP INDEX', relation: path, lenient };
}

/** REINDEX with CONCURRENTLY. */
export function reindexing(command: TreeNode): EverywhereCommand {
  const columns = [textAt(command, 'name') ?? []].flat();
  const options = nodesAt(command, 'params').map((each) => nodeAt(each, 'DefElem') ?? {});
  const tablespace = options.findLast((option) => textAt(option, 'defname') === 'tablespace');
  const name = stringOf(nodeAt(tablespace ?? {}, 'arg') ?? {}) ?? '';
  const relation = pathOf(nodeAt(command, 'relation'));
  return { ...none, what: 'reindex', tag: 'REINDEX', relation, name, columns };
}

/** ALTER TABLE … DETACH PARTITION … CONCURRENTLY; undefined: it is none. */
export function detaching(command: TreeNode): EverywhereCommand | undefined {
  for (const each of nodesAt(command, 'cmds')) {
    const definition = nodeAt(nodeAt(each, 'AlterTableCmd') ?? {}, 'def');
    const detach = definition === undefined ? undefined : nodeAt(definition, 'PartitionCmd');
    if (detach?.['concurrent'] !== true) continue;
    return {
      ...none,
      what: 'detach',
      tag: 'ALTER TABLE',
      relation: pathOf(nodeAt(command, 'relation')),
      partition: pathOf(nodeAt(detach, 'name')),
      lenient: command['missing_ok'] === true,
    };
  }
  return undefined;
}

export function tablespaceCommand(kind: string, command: TreeNode): EverywhereCommand {
  const creates = kind === 'CreateTableSpaceStmt';
  return {
    ...none,
    what: creates ? 'create-tablespace' : 'drop-tablespace',
    tag: creates ? 'CREATE TABLESPACE' : 'DROP TABLESPACE',
    name: textAt(command, 'tablespacename') ?? '',
    lenient: command['missing_ok'] === true,
  };
}
