/** Where the figures were measured: a figure without its machine says nothing. */
import { spawnSync } from 'node:child_process';
import { readFileSync, existsSync } from 'node:fs';
import { cpus, loadavg, release, totalmem, type } from 'node:os';
import { join } from 'node:path';
import { serverBinaries, type PostgresMajor } from '../../src/io/launcher/server-binaries.ts';

export interface Machine {
  readonly date: string;
  readonly processor: string;
  readonly cores: number;
  readonly memoryGigabytes: number;
  readonly system: string;
  /** Load average over the last minute before the run: what else the machine was doing. */
  readonly loadBefore: number;
  readonly versions: readonly string[];
}

function distribution(): string {
  if (!existsSync('/etc/os-release')) return type();
  return /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? type();
}

/** `versions`: of what measures and is compared, beside the servers. */
export function describeMachine(major: PostgresMajor, versions: readonly string[]): Machine {
  const server = spawnSync(join(serverBinaries(major), 'postgres'), ['--version'], { encoding: 'utf8' });
  return {
    date: new Date().toISOString().slice(0, 16).replace('T', ' ') + ' UTC',
    processor: cpus()[0]?.model.trim() ?? 'unknown processor',
    cores: cpus().length,
    memoryGigabytes: Math.round(totalmem() / 1e9),
    system: `${distribution()}, kernel ${release()}`,
    loadBefore: Math.round((loadavg()[0] ?? 0) * 10) / 10,
    versions: [
      `Node.js ${process.versions.node}`,
      server.stdout.trim().replace(/^postgres \((.*)\)/, '$1'),
      ...versions,
    ],
  };
}
