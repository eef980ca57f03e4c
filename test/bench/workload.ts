/** The three kinds of work that are measured, as arguments of pgbench. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { WorkloadKey } from './options.ts';

export interface Workload {
  readonly key: WorkloadKey;
  readonly title: string;
  /** The script; the protocol comes on top. */
  readonly args: readonly string[];
  readonly protocol: 'simple' | 'extended' | 'prepared';
  readonly writes: boolean;
}

/** pgbench's own TPC-B is -b tpcb-like: three updates, a select and an insert in one transaction. */
const updateScript = `\\set aid random(1, 100000 * :scale)
\\set delta random(-5000, 5000)
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
`;

/**
 * Reads use prepared statements. TPC-B comes in every protocol, because they are worlds apart: Pgpool-II sends
 * each message of the extended one to its servers by itself and is fastest with simple queries, which drivers
 * use for statements without parameters only.
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
    tpcb('tpcb', 'simple'),
    tpcb('tpcb-extended', 'extended'),
    tpcb('tpcb-prepared', 'prepared'),
  ];
}

function tpcb(key: WorkloadKey, protocol: Workload['protocol']): Workload {
  return { key, title: `TPC-B, ${protocol}`, args: ['-b', 'tpcb-like'], protocol, writes: true };
}
