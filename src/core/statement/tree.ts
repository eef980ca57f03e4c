/**
 * Reading PostgreSQL's parse tree as the parser gives it: `{ SelectStmt: { … } }`, some bodies without
 * their wrapper. Rule: knows shapes, not meanings. The walk uses its own stack: trees are as deep as
 * clients make them.
 */
export type TreeNode = Readonly<Record<string, unknown>>;

export interface Tree {
  readonly stmts?: readonly RawStatement[];
}

/** Places are UTF-8 byte offsets; absent means 0, an absent length means "to the end of the text". */
export interface RawStatement {
  readonly stmt?: TreeNode;
  readonly stmt_location?: number;
  readonly stmt_len?: number;
}

function isNode(value: unknown): value is TreeNode {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The node under a key, undefined when there is none. */
export function nodeAt(node: TreeNode, key: string): TreeNode | undefined {
  const value = node[key];
  return isNode(value) ? value : undefined;
}

export function textAt(node: TreeNode, key: string): string | undefined {
  const value = node[key];
  return typeof value === 'string' ? value : undefined;
}

export function nodesAt(node: TreeNode, key: string): readonly TreeNode[] {
  const value = node[key];
  return Array.isArray(value) ? value.filter(isNode) : [];
}

/** The one `{ Kind: body }` pair of a wrapped node. */
export function unwrap(node: TreeNode): { readonly kind: string; readonly body: TreeNode } | undefined {
  for (const kind in node) {
    const body = node[kind];
    return isNode(body) ? { kind, body } : undefined;
  }
  return undefined;
}

/** `{ String: { sval } }` as text; an empty string is written as `{}`. */
export function stringOf(node: TreeNode): string | undefined {
  const body = nodeAt(node, 'String');
  return body === undefined ? undefined : (textAt(body, 'sval') ?? '');
}

/** The texts of a list of String nodes; a list with anything else in it gives only those. */
export function stringsAt(node: TreeNode, key: string): readonly string[] {
  return nodesAt(node, key).flatMap((item) => stringOf(item) ?? []);
}

/** A constant as the text that a setting would get, undefined for anything that is no constant. */
export function constantText(node: TreeNode): string | undefined {
  const constant = nodeAt(node, 'A_Const');
  if (constant === undefined) {
    const cast = nodeAt(node, 'TypeCast');
    const argument = cast === undefined ? undefined : nodeAt(cast, 'arg');
    return argument === undefined ? stringOf(node) : constantText(argument);
  }
  const string = nodeAt(constant, 'sval');
  if (string !== undefined) return textAt(string, 'sval') ?? '';
  const integer = nodeAt(constant, 'ival');
  if (integer !== undefined) return String(integer['ival'] ?? 0);
  const float = nodeAt(constant, 'fval');
  if (float !== undefined) return textAt(float, 'fval') ?? '';
  const boolean = nodeAt(constant, 'boolval');
  return boolean === undefined ? undefined : String(boolean['boolval'] ?? false);
}

/**
 * Calls `visit` for every object in the tree with the key that it stands under; `skip` leaves out what is
 * below it.
 */
export function walk(root: TreeNode, visit: (key: string, node: TreeNode) => 'skip' | undefined): void {
  const open: unknown[] = [root];
  while (open.length > 0) {
    const current = open.pop();
    if (Array.isArray(current)) {
      for (const item of current) if (typeof item === 'object') open.push(item);
      continue;
    }
    if (!isNode(current)) continue;
    for (const key in current) {
      const value = current[key];
      if (Array.isArray(value)) open.push(value);
      else if (isNode(value) && visit(key, value) !== 'skip') open.push(value);
    }
  }
}
