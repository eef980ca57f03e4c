/** The three kinds of work that are measured, as arguments of pgbench. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { WorkloadKey } from './options.ts';

export interface Workload {
  readonly key: WorkloadKey;
  readonly title: string;
  /** The script; the protocol comes on top. */
  readonly args: readonly string[];
  readonly protocol: 'simple' | 'prepared';
  readonly writes: boolean;
}

/** pgbench's own TPC-B is -b tpcb-like: three updates, a select and an insert in one transaction. */
const updateScript = `\\set aid random(1, 100000 * :scale)
\\set delta random(-5000, 5000)
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
`;

/**
 * Reads use prepared statements and writes the simple protocol, because Pgpool-II is much slower with prepared
 * writes than with simple ones: each candidate gets what suits it.
 */
export function makeWorkloads(folder: string, scale: number): Workload[] {
  const updateFile = join(folder, 'update.sql');
  writeFileSync(updateFile, updateScript);
  const scaled = ['-D', `scale=${scale}`];
  return [
    {
      key: 'select',
      title: 'select-only, prepared',
      args: ['-b', 'select-only'],
      protocol: 'prepared',
      writes: false,
    },
    {
      key: 'update',
      title: 'single-row update',
      args: [...scaled, '-f', updateFile],
      protocol: 'simple',
      writes: true,
    },
    { key: 'tpcb', title: 'TPC-B', args: ['-b', 'tpcb-like'], protocol: 'simple', writes: true },
  ];
}
