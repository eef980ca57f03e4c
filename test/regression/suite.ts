/**
 * One run of pg_regress or pg_isolation_regress against a server or a gateway.
 * Rule: bounded: each file has a limit of its own, and the whole run one.
 */
import { spawn } from 'node:child_process';
import { appendFileSync, chmodSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { embeddedHost } from '../../src/io/launcher/node-layout.ts';
import { findProgram } from '../support/programs.ts';
import { database, query } from './regression-cluster.ts';
import type { Sources } from './sources.ts';

export type SuiteName = 'regress' | 'isolation';

export interface SuiteRun {
  readonly suite: SuiteName;
  readonly port: number;
  /** Results stand in its folder `results`. */
  readonly folder: string;
  /** Seconds for one file. */
  readonly fileLimit: number;
  /** Seconds for one step of isolationtester, which cancels it then. */
  readonly stepLimit: number;
  /** Seconds for all. */
  readonly limit: number;
  /** Files side by side as in the schedule; otherwise one after the other. */
  readonly parallel: boolean;
  /** These files only; undefined: the schedule. */
  readonly only: readonly string[] | undefined;
}

export interface SuiteFile {
  readonly name: string;
  /** As the sources expect it. */
  readonly same: boolean;
  /** It took too long and was ended. */
  readonly ended: boolean;
}

export interface SuiteResult {
  /** In the order of the run. */
  readonly files: readonly SuiteFile[];
  /** It ended by itself. */
  readonly complete: boolean;
}

/** 124, 137: of `timeout`. */
const line =
  /^(?:test)?\s+(\S+)\s+\.\.\. (ok|FAILED(?: \(test process exited with exit code (124|137)\))?)/gm;

function command(run: SuiteRun, sources: Sources, what: readonly string[]): [string, string[]] {
  const tests = sources[run.suite];
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
    ...what,
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

/** The program once; null: it had to be ended. */
async function runProgram(
  run: SuiteRun,
  [program, options]: [string, string[]],
  milliseconds: number,
): Promise<{ readonly code: number | null; readonly output: string }> {
  const child = spawn(program, options, {
    cwd: run.folder,
    env: { ...process.env, PGCONNECT_TIMEOUT: '20', PGISOLATIONTIMEOUT: String(run.stepLimit) },
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
  const limit = setTimeout(end, milliseconds);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  clearTimeout(limit);
  process.off('exit', end);
  appendFileSync(join(run.folder, 'pg_regress.log'), output);
  return { code, output };
}

function filesOf(output: string): SuiteFile[] {
  return [...output.matchAll(line)].map((match) => ({
    name: match[1] ?? '',
    same: match[2] === 'ok',
    ended: match[3] !== undefined,
  }));
}

function schedule(run: SuiteRun, sources: Sources): string {
  return join(sources[run.suite], run.suite === 'regress' ? 'parallel_schedule' : 'isolation_schedule');
}

async function runAtOnce(run: SuiteRun, sources: Sources): Promise<SuiteResult> {
  const what = run.only ?? [`--schedule=${schedule(run, sources)}`];
  const { code, output } = await runProgram(run, command(run, sources, what), run.limit * 1000);
  const files = filesOf(output);
  if (files.length === 0) throw new Error(`nothing ran (code ${code}):\n${output.slice(-2000)}`);
  return { files, complete: code === 0 || code === 1 };
}

/** What a file that was ended has left must not meet the next one. All of it is in this schema. */
async function emptyDatabase(port: number): Promise<void> {
  const text = `DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION pg_database_owner;
    GRANT USAGE ON SCHEMA public TO PUBLIC`;
  for (let attempt = 1; ; attempt++) {
    try {
      await query(port, `SET lock_timeout = '20s'; ${text}`);
      return;
    } catch (error) {
      if (attempt === 5) throw error;
    }
  }
}

/** Each file by itself, so that nothing of one that hangs is in the way of the others. */
async function runOneByOne(run: SuiteRun, sources: Sources): Promise<SuiteResult> {
  const listed = readFileSync(schedule(run, sources), 'utf8').matchAll(/^test: (.*)$/gm);
  const names = run.only ?? [...listed].flatMap((match) => (match[1] ?? '').trim().split(/\s+/));
  const deadline = performance.now() + run.limit * 1000;
  const files: SuiteFile[] = [];
  for (const name of names) {
    const left = deadline - performance.now();
    if (left <= 0) return { files, complete: false };
    const { code, output } = await runProgram(run, command(run, sources, [name]), left);
    const [file] = filesOf(output);
    if (file === undefined) throw new Error(`${name} did not run (code ${code}):\n${output.slice(-2000)}`);
    files.push(file);
    if (file.ended) await emptyDatabase(run.port);
  }
  return { files, complete: true };
}

export async function runSuite(run: SuiteRun, sources: Sources): Promise<SuiteResult> {
  makeFolder(run.folder);
  return run.suite === 'isolation' ? runOneByOne(run, sources) : runAtOnce(run, sources);
}

export function resultOf(folder: string, name: string): string {
  const file = join(folder, 'results', `${name}.out`);
  return existsSync(file) ? readFileSync(file, 'utf8') : '';
}
