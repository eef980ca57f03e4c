/**
 * Programs that are run to their end; above all PostgreSQL's own clients, when the machine has them: psql, pgbench, pg_dump,
 * pg_restore.
 */
import { spawn, type SpawnOptions } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { embeddedDatabase, embeddedHost, type NodeLayout } from '../../src/io/launcher/node-layout.ts';

export type Program =
  'psql' | 'pgbench' | 'pg_dumpall' | 'pg_dump' | 'pg_restore' | 'pg_basebackup' | 'openssl';

export interface ProgramRun {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The path of the program; undefined: this machine has none. Debian keeps pgbench of newer versions off the PATH. */
export function findProgram(name: Program): string | undefined {
  const debian = [18, 17, 16, 15].map((major) => `/usr/lib/postgresql/${major}/bin`);
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), ...debian];
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** For the name of a test that needs the program: says why it is not run. */
export function needs(name: Program): string {
  return findProgram(name) === undefined ? ` (not run: this machine has no ${name})` : '';
}

export interface RunOptions extends Pick<SpawnOptions, 'cwd' | 'env' | 'timeout' | 'killSignal'> {
  /** On its standard input. */
  readonly input?: string;
}

/** Runs a program to its end. Rejects when it cannot be started. */
export async function runToEnd(
  program: string,
  args: readonly string[],
  { input = '', ...options }: RunOptions = {},
): Promise<ProgramRun> {
  const child = spawn(program, args, { ...options, stdio: 'pipe' });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
  child.stdin.on('error', () => undefined); // It may end before it has read everything.
  child.stdin.end(input);
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout, stderr };
}

/** The same; its standard output. Rejects with what it said when it fails. */
export async function outputOf(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const { code, stdout, stderr } = await runToEnd(program, args, options);
  if (code === 0) return stdout;
  throw new Error(`${program} ${args.join(' ')} ends with ${code}:\n${stdout}${stderr}`);
}

export function runProgram(name: Program, args: readonly string[], input = ''): Promise<ProgramRun> {
  const path = findProgram(name);
  if (path === undefined) throw new Error(`this machine has no ${name}`);
  return runToEnd(path, args, { env: { ...process.env, PGCONNECT_TIMEOUT: '10' }, input });
}

function address(node: NodeLayout): string[] {
  return ['-h', embeddedHost, '-p', String(node.gatewayPort), '-U', 'postgres'];
}

/** psql through the gateway of the node: no psqlrc, unaligned, stops at the first error, `input` on its standard input. */
export function psql(node: NodeLayout, args: readonly string[], input = ''): Promise<ProgramRun> {
  return runProgram(
    'psql',
    ['-X', '-A', '-t', '-v', 'ON_ERROR_STOP=1', ...address(node), ...args, embeddedDatabase],
    input,
  );
}

export function pgbench(node: NodeLayout, args: readonly string[]): Promise<ProgramRun> {
  return runProgram('pgbench', [...address(node), ...args, embeddedDatabase]);
}
