/**
 * Can this query be tried in a read-only transaction? Rule: yes only when every name in it is known to be
 * harmless; anything unknown is a no. Known limit: functions that their owner declares immutable or stable,
 * and which write nevertheless from a nested volatile one and swallow 25006, may run while the server plans.
 */
import { builtInWriters } from './built-in-writers.ts';
import type { ClassifyContext } from './context.ts';
import { isOwnRead } from './refusal.ts';
import { constantText, nodeAt, nodesAt, stringsAt, textAt, walk, type TreeNode } from './tree.ts';

/** Settings that open the way for writes: set_config on them is never part of a read. */
const guarded = /^(?:default_)?transaction_read_only$/iu;

/**
 * What the parser turns into nodes of their own, but a server before 16 takes for a call of a user's
 * function.
 */
const jsonCalls: Readonly<Record<string, readonly string[]>> = {
  JsonObjectConstructor: ['json_object'],
  JsonArrayConstructor: ['json_array'],
  JsonArrayQueryConstructor: ['json_array'],
  JsonObjectAgg: ['json_objectagg'],
  JsonArrayAgg: ['json_arrayagg'],
  JsonFuncExpr: ['json_value', 'json_query', 'json_exists'],
  JsonParseExpr: ['json'],
  JsonScalarExpr: ['json_scalar'],
  JsonSerializeExpr: ['json_serialize'],
  JsonTable: ['json_table'],
  MergeSupportFunc: ['merge_action'],
};

const writingKeys: ReadonlySet<string> = new Set([
  'InsertStmt',
  'UpdateStmt',
  'DeleteStmt',
  'MergeStmt',
  'intoClause',
  'LockingClause',
]);

const betweenOperators = ['<', '<=', '>', '>='];

function setsHarmlessly(call: TreeNode): boolean {
  const first = nodesAt(call, 'args')[0];
  const name = first === undefined ? undefined : constantText(first);
  return name !== undefined && name !== '' && !guarded.test(name);
}

function callReaches(call: TreeNode, context: ClassifyContext): boolean {
  const path = stringsAt(call, 'funcname');
  const name = path.at(-1) ?? '';
  if (isOwnRead(path)) return false;
  if (path.length === 1 || (path.length === 2 && path[0] === 'pg_catalog')) {
    if (!context.isBuiltIn(name)) return true;
    return builtInWriters.has(name) && !(name === 'set_config' && setsHarmlessly(call));
  }
  return !(path.length === 2 && context.trustedFunctions.has(name));
}

/** The operators that a node applies, also those that its grammar hides. */
function operatorsOf(key: string, node: TreeNode): readonly string[] {
  switch (key) {
    case 'A_Expr':
      if (textAt(node, 'kind')?.includes('BETWEEN') === true) return betweenOperators;
      return stringsAt(node, 'name').slice(-1);
    case 'SubLink':
      return 'operName' in node ? stringsAt(node, 'operName').slice(-1) : ['='];
    case 'SortBy':
      return stringsAt(node, 'useOp').slice(-1);
    case 'CaseExpr':
      return 'arg' in node ? ['='] : [];
    case 'JoinExpr':
      return 'usingClause' in node || node['isNatural'] === true ? ['='] : [];
    default:
      return [];
  }
}

/** `t.total` and `(t).total` may be calls of total(t). */
function attributesOf(key: string, node: TreeNode): readonly string[] {
  if (key === 'ColumnRef') return stringsAt(node, 'fields').slice(1);
  return key === 'A_Indirection' ? stringsAt(node, 'indirection') : [];
}

function nodeReaches(key: string, node: TreeNode, context: ClassifyContext): boolean {
  if (writingKeys.has(key)) return true;
  if (key === 'FuncCall' || 'funcname' in node) return callReaches(node, context);
  const relation = textAt(node, 'relname');
  if (relation !== undefined) return context.suspiciousRelations.has(relation);
  if (key === 'RangeTableSample') return !/^(?:bernoulli|system)$/u.test(stringsAt(node, 'method').join('.'));
  const calls = Object.hasOwn(jsonCalls, key) ? jsonCalls[key] : undefined;
  if (calls?.some((name) => context.userFunctions.has(name)) === true) return true;
  if (operatorsOf(key, node).some((operator) => context.suspiciousOperators.has(operator))) return true;
  return attributesOf(key, node).some((name) => context.attributeFunctions.has(name));
}

/** True for a SELECT, VALUES or TABLE (as a wrapped node) that cannot reach a user's code nor write. */
export function isPureRead(query: TreeNode, context: ClassifyContext): boolean {
  if (context.hiddenCode || nodeAt(query, 'SelectStmt') === undefined) return false;
  let pure = true;
  walk(query, (key, node) => {
    if (!pure) return 'skip';
    if (nodeReaches(key, node, context)) pure = false;
    return undefined;
  });
  return pure;
}

/** A relation of COPY … TO, as a bare name. */
export function relationIsSuspicious(relation: TreeNode, context: ClassifyContext): boolean {
  return context.hiddenCode || context.suspiciousRelations.has(textAt(relation, 'relname') ?? '');
}
