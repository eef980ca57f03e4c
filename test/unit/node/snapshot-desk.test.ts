/** What is said of the first difference between two nodes; and what is left when a snapshot cannot be taken everywhere. */
import { describe, expect, test } from 'vitest';
import type { PeerQuestions } from '../../../src/node/peer-questions.ts';
import { differenceOf, SnapshotDesk } from '../../../src/node/snapshot-desk.ts';
import type { SnapshotHands } from '../../../src/node/snapshot-hands.ts';
import type { VerbNode } from '../../../src/node/verbs.ts';

const names = ['node 1', 'node 2'] as const;
const columns = ['a', 'b'];

function difference(
  one: readonly (readonly (string | null)[])[],
  other: readonly (readonly (string | null)[])[],
): string | undefined {
  return differenceOf({ columns, rows: one }, { columns, rows: other }, 100, names);
}

describe('the first difference', () => {
  test('there is none between equal rows', () => {
    expect(difference([], [])).toBeUndefined();
    expect(difference([['1', null]], [['1', null]])).toBeUndefined();
  });

  test('is named by column and row', () => {
    const one = [
      ['1', 'x'],
      ['2', null],
    ];
    const other = [
      ['1', 'x'],
      ['2', ''],
    ];
    expect(difference(one, other)).toBe("mismatch in column 'b' of row 101: (null) on node 1,  on node 2");
  });

  test('or by who has fewer rows', () => {
    expect(difference([['1', 'x']], [])).toBe('query results mismatch: 100 rows on node 2, more on node 1');
    expect(difference([], [['1', 'x']])).toBe('query results mismatch: 100 rows on node 1, more on node 2');
  });

  test('or by columns', () => {
    const one = { columns, rows: [] };
    expect(differenceOf(one, { columns: ['a'], rows: [] }, 0, names)).toBe(
      'query results mismatch: 2 columns on node 1, 1 on node 2',
    );
  });
});

/** Node 1 of 1, 2 and 3; `said`: what each verb answers at node 3, or throws. */
function desk(said: Readonly<Record<string, unknown>>): { desk: SnapshotDesk; asked: string[] } {
  const asked: string[] = [];
  const answer = (node: number, verb: string): unknown => {
    asked.push(`${verb} ${node}`);
    const given = node === 3 && verb in said ? said[verb] : { hold: true, take: `name ${node}` }[verb];
    if (given instanceof Error) throw given;
    return given;
  };
  const peers = {
    ask: async (to: number, verb: string) => Promise.resolve(answer(to, verb.replace('snapshot-', ''))),
  };
  const hands = Object.fromEntries(
    ['hold', 'release', 'take', 'free'].map((verb) => [verb, () => answer(1, verb)]),
  );
  const machine = { generation: { number: 5, members: [1, 2, 3] }, liveness: { onlineIn: 5 } };
  const parts = { config: { nodeId: 1 }, takeOver: { incarnation: 9 } };
  return {
    desk: new SnapshotDesk(
      { machine, parts } as unknown as VerbNode,
      peers as unknown as PeerQuestions,
      hands as unknown as SnapshotHands,
    ),
    asked,
  };
}

describe('a logical point', () => {
  const each = (verb: string) => [1, 2, 3].map((node) => `${verb} ${node}`);

  test('is held, taken and let go on all nodes', async () => {
    const { desk: one, asked } = desk({});
    expect((await one.point(1000)).members).toEqual([1, 2, 3]);
    expect(asked).toEqual([...each('hold'), ...each('take'), ...each('release')]);
  });

  test('that one node cannot take is freed on the others', async () => {
    const { desk: one, asked } = desk({ take: new Error('lost') });
    await expect(one.point(1000)).rejects.toThrow('lost');
    expect(asked).toEqual([...each('hold'), ...each('take'), ...each('release'), ...each('free')]);
  });

  test('is tried again when one node was not quiet', async () => {
    const said: Record<string, unknown> = { hold: false };
    const { desk: one, asked } = desk(said);
    const point = one.point(1000);
    delete said['hold'];
    await point;
    const failed = [...each('hold'), ...each('release'), ...each('free')];
    expect(asked).toEqual([...failed, ...each('hold'), ...each('take'), ...each('release')]);
  });
});
