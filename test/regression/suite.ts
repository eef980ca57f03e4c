/**
 * One run of pg_regress or pg_isolation_regress against a server or a gateway.
 * Rule: bounded: each file has a limit of its own, and the whole run one.
 */
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { embeddedHost } from '../../src/io/launcher/node-layout.ts';
import { findProgram } from '../support/programs.ts';
import { database } from './regression-cluster.ts';
import type { Sources } from './sources.ts';

export type SuiteName = 'regress' | 'isolation';

export interface SuiteRun {
  readonly suite: SuiteName;
  readonly port: number;
  /** Results stand in its folder `results`. */
  readonly folder: string;
  /** Seconds for one file. */
  readonly fileLimit: number;
  /** Seconds for all. */
  readonly limit: number;
  /** Files side by side as in the schedule; otherwise one after the other. */
  readonly parallel: boolean;
  /** These files only; undefined: the schedule. */
  readonly only: readonly string[] | undefined;
}

export interface SuiteResult {
  /** In the order of the run. `same`: as the sources expect it. */
  readonly files: readonly { readonly name: string; readonly same: boolean }[];
  /** It ended by itself. */
  readonly complete: boolean;
}

const line = /^(?:test)?\s+(\S+)\s+\.\.\. (ok|FAILED)/gm;

function command(run: SuiteRun, sources: Sources): [string, string[]] {
  const tests = sources[run.suite];
  const schedule = join(tests, run.suite === 'regress' ? 'parallel_schedule' : 'isolation_schedule');
  const psql = findProgram('psql');
  if (psql === undefined) throw new Error('this machine has no psql');
  const client = existsSync('/usr/lib/postgresql/15/bin/psql') ? '/usr/lib/postgresql/15/bin' : dirname(psql);
  const bin = run.suite === 'regress' ? client : tests;
  const program = join(tests, run.suite === 'regress' ? 'pg_regress' : 'pg_isolation_regress');
  const options = [
    ...[`--inputdir=${tests}`, `--outputdir=${run.folder}`, `--bindir=${bin}`, `--dlpath=${sources.regress}`],
    ...[
      '--use-existing',
      `--dbname=${database}`,
      `--host=${embeddedHost}`,
      `--port=${run.port}`,
      '--user=postgres',
    ],
    `--launcher=timeout -k 5 ${run.fileLimit}`,
    ...(run.parallel ? [] : ['--max-connections=1']),
    ...(run.only === undefined ? [`--schedule=${schedule}`] : run.only),
  ];
  return [program, options];
}

/** Servers write into it too, as another user. */
function makeFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
  for (const path of [folder, join(folder, 'results'), join(folder, 'testtablespace')]) {
    mkdirSync(path, { recursive: true });
    chmodSync(path, 0o777);
  }
}

export async function runSuite(run: SuiteRun, sources: Sources): Promise<SuiteResult> {
  makeFolder(run.folder);
  const [program, options] = command(run, sources);
  const log = join(run.folder, 'pg_regress.log');
  const child = spawn(program, options, {
    cwd: run.folder,
    env: { ...process.env, PGCONNECT_TIMEOUT: '20' },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
  }
  const end = (): void => {
    if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGKILL');
  };
  process.once('exit', end);
  const limit = setTimeout(end, run.limit * 1000);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  clearTimeout(limit);
  process.off('exit', end);
  writeFileSync(log, output);
  const files = [...output.matchAll(line)].map((match) => ({
    name: match[1] ?? '',
    same: match[2] === 'ok',
  }));
  if (files.length === 0) throw new Error(`${program} ran nothing (code ${code}):\n${output.slice(-2000)}`);
  return { files, complete: code === 0 || code === 1 };
}

export function resultOf(folder: string, name: string): string {
  const file = join(folder, 'results', `${name}.out`);
  return existsSync(file) ? readFileSync(file, 'utf8') : '';
}
