/** The kinds of work that are measured, as arguments of pgbench. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { WorkloadKey } from './options.ts';

export interface Workload {
  readonly key: WorkloadKey;
  readonly title: string;
  /** The script; the protocol comes on top. */
  readonly args: readonly string[];
  readonly protocol: 'simple' | 'extended' | 'prepared';
  /** The same transactions as the limit runs them, in the simple protocol; absent where it does not. */
  readonly twoPhase?: readonly string[];
  readonly writes: boolean;
}

export const workloadTitles: Record<WorkloadKey, string> = {
  select: 'select-only, prepared',
  'select-new': 'select-only, simple, new texts',
  update: 'single-row update',
  tpcb: 'TPC-B, simple',
  'tpcb-extended': 'TPC-B, extended',
  'tpcb-prepared': 'TPC-B, prepared',
};

/** The name of the column is another one each time, so that not even the text without its numbers is known already. */
const selectNew = [
  '\\set aid random(1, 100000 * :scale)',
  '\\set tag random(1, 1000000000)',
  'SELECT abalance AS b:tag FROM pgbench_accounts WHERE aid = :aid;',
];

const updateVariables = ['\\set aid random(1, 100000 * :scale)', '\\set delta random(-5000, 5000)'];
const update = ['UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid'];

/** A transaction of one statement, for tables of scale :scale. */
export const updateScript = [...updateVariables, `${update[0]};`];

/** pgbench's own TPC-B is -b tpcb-like; this is the same, for the limit. */
const tpcbVariables = [...updateVariables, '\\set bid random(1, :scale)', '\\set tid random(1, 10 * :scale)'];
const tpcb = [
  ...update,
  'SELECT abalance FROM pgbench_accounts WHERE aid = :aid',
  'UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid',
  'UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid',
  `INSERT INTO pgbench_history (tid, bid, aid, delta, mtime)
     VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP)`.replace(/\s+/g, ' '),
];

/** One packet up to PREPARE TRANSACTION. In the simple protocol pgbench fills in its variables within quotes too. */
export function twoPhaseScript(variables: readonly string[], statements: readonly string[]): string[] {
  const packet = ['BEGIN', ...statements, `PREPARE TRANSACTION 'limit_:client_id'`].join('\\; ');
  return [...variables, `${packet};`, `COMMIT PREPARED 'limit_:client_id';`];
}

/**
 * Reads use prepared statements. TPC-B comes in every protocol, because they are worlds apart: Pgpool-II sends
 * each message of the extended one to its servers by itself and is fastest with simple queries, which drivers
 * use for statements without parameters only.
 */
export function makeWorkloads(folder: string, scale: number): Workload[] {
  const script = (name: string, lines: readonly string[]): string[] => {
    const file = join(folder, `${name}.sql`);
    writeFileSync(file, `${lines.join('\n')}\n`);
    return ['-D', `scale=${scale}`, '-f', file];
  };
  const workload = (
    key: WorkloadKey,
    protocol: Workload['protocol'],
    writes: boolean,
    args: readonly string[],
  ): Workload => ({ key, title: workloadTitles[key], args, protocol, writes });
  const builtin = ['-b', 'tpcb-like'];
  return [
    workload('select', 'prepared', false, ['-b', 'select-only']),
    workload('select-new', 'simple', false, script('select-new', selectNew)),
    {
      ...workload('update', 'simple', true, script('update', updateScript)),
      twoPhase: script('update-limit', twoPhaseScript(updateVariables, update)),
    },
    {
      ...workload('tpcb', 'simple', true, builtin),
      twoPhase: script('tpcb-limit', twoPhaseScript(tpcbVariables, tpcb)),
    },
    workload('tpcb-extended', 'extended', true, builtin),
    workload('tpcb-prepared', 'prepared', true, builtin),
  ];
}
