import { describe, expect, test } from 'vitest';
import { compare, withoutDescriptions } from '../../regression/comparison.ts';
import { readOptions } from '../../regression/options.ts';
import { knownDifferences, recorded } from '../../regression/records.ts';
import { formatReport, isAsRecorded, type Outcome } from '../../regression/report.ts';

const direct = { folder: '/tmp/one', port: 1111 };
const gateway = { folder: '/tmp/two', port: 2222 };

describe('what a file of the tests printed', () => {
  test('folders and ports are no difference', () => {
    const text = (side: typeof direct) => `copy to ${side.folder}/results/x on ${side.port}\n`;
    const sides = [direct, gateway].map((side) => ({ ...side, text: text(side) }));
    expect(compare(sides[0]!, sides[1]!)).toEqual({ difference: '', describes: false });
  });

  test('what \\d says of every table of a cluster is counted, not shown', () => {
    const table = ' a | integer\nReplica Identity: FULL\nPublications:\n    "mtm"\n\n';
    expect(withoutDescriptions(table)).toBe(' a | integer\n\n');
    expect(withoutDescriptions('Publications:\n    "mtm"\n    "own"\n')).toBe('Publications:\n    "own"\n');
    const compared = compare({ ...direct, text: ' a | integer\n\n' }, { ...gateway, text: table });
    expect(compared).toEqual({ difference: '', describes: true });
  });

  test('the rest is shown without places and OIDs', () => {
    const { difference } = compare(
      { ...direct, text: 'same\nthe oid 16384\n' },
      { ...gateway, text: 'same\nERROR:  oid 23456\n' },
    );
    expect(difference).toBe('@@\n-the oid N\n+ERROR:  oid N\n');
  });
});

describe('the report', () => {
  const outcome = (files: Outcome['files'], unequal: readonly string[] = []): Outcome => ({
    suite: 'regress',
    spread: false,
    files,
    complete: true,
    unequal,
  });
  const same = { name: 'boolean', difference: '', describes: false, ended: false };

  test('everything the same', () => {
    expect(isAsRecorded(outcome([same]))).toBe(true);
    expect(formatReport(outcome([same]))).toContain('1 files: 1 print the same');
  });

  test('nodes that differ, and a difference that nobody knows, are not as recorded', () => {
    expect(isAsRecorded(outcome([same], ['only on node 2: x']))).toBe(false);
    const unknown = outcome([
      { name: 'boolean', difference: '@@\n-a\n+b\n', describes: false, ended: false },
    ]);
    expect(isAsRecorded(unknown)).toBe(false);
    expect(formatReport(unknown)).toContain('boolean is not in differences.yaml');
  });

  test('every recorded difference has its reason, and every reason its lines', () => {
    const known = knownDifferences();
    for (const suite of ['regress', 'isolation'] as const) {
      for (const [name, entry] of Object.entries(known[suite])) {
        if (entry.varies !== true) expect(recorded(suite, name), `${suite}/${name}.diff`).toBeDefined();
        const difference = recorded(suite, name) ?? '';
        const file = { name, difference, describes: false, ended: false };
        expect(isAsRecorded({ ...outcome([file]), suite }), name).toBe(true);
      }
    }
  });
});

test('options', () => {
  expect(readOptions([])).toMatchObject({ suite: 'regress', spread: false, port: 23000, only: undefined });
  expect(readOptions(['--sequences', 'spread', 'copy2'])).toMatchObject({ spread: true, only: ['copy2'] });
  expect(readOptions(['--help'])).toBeUndefined();
  expect(() => readOptions(['--suite', 'all'])).toThrow(TypeError);
  expect(() => readOptions(['--port', 'x'])).toThrow(TypeError);
});
