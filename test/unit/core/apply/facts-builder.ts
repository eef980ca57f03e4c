/** Facts and relation messages for the tests of plans, from short descriptions. */
import type { RelationFacts, ForeignKeyFacts } from '../../../../src/core/apply/facts.ts';
import type { RelationMessage } from '../../../../src/core/pgoutput/messages.ts';

export interface ColumnWish {
  readonly name: string;
  readonly type?: string;
  readonly oid?: number;
  readonly key?: boolean;
  readonly generated?: boolean;
  readonly identityAlways?: boolean;
}

export function describeRelation(
  columns: readonly ColumnWish[],
  more: Partial<RelationFacts> & { readonly identity?: RelationMessage['identity'] } = {},
): { message: RelationMessage; facts: RelationFacts } {
  const { identity = 'default', ...facts } = more;
  return {
    message: {
      kind: 'relation',
      oid: 99,
      schema: 'public',
      name: 'T"x',
      identity,
      columns: columns.map(({ name, key = false }) => ({ name, key, typeOid: 1, typmod: -1 })),
    },
    facts: {
      oid: 1,
      schema: 'public',
      name: 'T"x',
      kind: 'r',
      local: false,
      extensionMember: false,
      deferrable: false,
      oneByOne: false,
      owner: 'ann',
      superusers: false,
      foreignCode: false,
      foreignTruncate: false,
      forcedRowSecurity: false,
      foreignKeys: [],
      columns: columns.map(
        ({ name, type = 'int4', oid = 23, key, generated = false, identityAlways = false }) => ({
          name,
          typeOid: oid,
          baseTypeOid: oid,
          foreign: false,
          type: `pg_catalog.${type}`,
          builtin: type,
          deterministic: true,
          inArrays: true,
          generated,
          identityAlways,
          keyOperator: key === true ? 'OPERATOR(ops.=)' : null,
        }),
      ),
      ...facts,
    },
  };
}

export const childKey: ForeignKeyFacts = {
  oid: 7,
  name: 'fk',
  childSchema: 'public',
  childTable: 'child',
  childPartitioned: false,
  parentSchema: 'public',
  parentTable: 'parent',
  parentPartitioned: true,
  isChild: true,
  isParent: false,
  period: false,
  columns: [
    {
      child: 'c',
      childType: 'pg_catalog.int8',
      parent: 'p',
      parentType: 'pg_catalog.int4',
      parentChild: 'OPERATOR(x.=)',
      parentParent: 'OPERATOR(y.=)',
      childChild: 'OPERATOR(z.=)',
    },
  ],
};

const encoder = new TextEncoder();
export const row = (...values: (string | null | undefined)[]) => ({
  values: values.map((value) => (typeof value === 'string' ? encoder.encode(value) : value)),
  binary: undefined,
});

/** TupleData as pgoutput sends it; undefined: a TOAST value that stays. */
export function tupleBytes(...values: (string | null | undefined)[]): Uint8Array {
  const bytes: number[] = [values.length >>> 8, values.length & 255];
  for (const value of values) {
    if (typeof value !== 'string') bytes.push(value === null ? 0x6e : 0x75);
    else {
      const text = encoder.encode(value);
      const { length } = text;
      bytes.push(0x74, length >>> 24, (length >>> 16) & 255, (length >>> 8) & 255, length & 255, ...text);
    }
  }
  return Uint8Array.from(bytes);
}
