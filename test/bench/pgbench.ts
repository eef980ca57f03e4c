/** Runs pgbench and reads its report. Always bounded in time: a proxy that hangs is a result, not the end of the run. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { takeLogs, type SlowAnswers } from './percentile.ts';

/** What pgbench may take beyond its own time limit (connecting, the last transactions). */
const graceMs = 15_000;
const initLimitMs = 10 * 60_000;

export type PgbenchResult =
  | {
      readonly kind: 'measured';
      /** Of each step of the script the mean, in ms, when `steps` was asked for. */
      readonly steps: readonly Step[];
      readonly slow: SlowAnswers;
      /** Without the time that connecting took. */
      readonly transactionsPerSecond: number;
      readonly transactions: number;
      /** Mean, in ms. */
      readonly latencyMs: number;
      readonly retries: number;
      /** Transactions given up. */
      readonly failed: number;
    }
  | { readonly kind: 'hung' }
  | { readonly kind: 'broken'; readonly reason: string };

export interface Step {
  readonly text: string;
  readonly ms: number;
}

export interface PgbenchTarget {
  readonly port: number;
  readonly database: string;
}

interface Ended {
  readonly code: number | string;
  readonly output: string;
  readonly errors: string;
  readonly timedOut: boolean;
}

/** The newest pgbench of the machine: Debian's versioned folders first, because the one on PATH is a slow wrapper. */
export function findPgbench(): string | undefined {
  const root = '/usr/lib/postgresql';
  const versions = existsSync(root) ? readdirSync(root).sort((a, b) => Number(b) - Number(a)) : [];
  const packaged = versions.map((version) => join(root, version, 'bin/pgbench')).find(existsSync);
  if (packaged !== undefined) return packaged;
  return spawnSync('pgbench', ['--version']).status === 0 ? 'pgbench' : undefined;
}

function run(program: string, args: readonly string[], limitMs: number, signal: AbortSignal): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let [output, errors, timedOut] = ['', '', false];
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (errors = (errors + chunk.toString()).slice(-10_000)));
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill('SIGKILL');
    }, limitMs);
    const stop = () => child.kill('SIGKILL');
    signal.addEventListener('abort', stop);
    const settle = (code: number | string) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', stop);
      if (signal.aborted) reject(new Error('aborted', { cause: signal.reason }));
      else resolve({ code, output, errors, timedOut });
    };
    child.once('error', (error) => settle(error.message));
    child.once('close', (code, killed) => settle(code ?? killed ?? 'unknown'));
    if (signal.aborted) stop();
  });
}

function figure(output: string, pattern: RegExp): number | undefined {
  const text = pattern.exec(output)?.[1];
  return text === undefined ? undefined : Number(text);
}

/** The last part of the report with -r: a time, the counts of failures and retries where there may be some, the text. */
function readSteps(output: string): Step[] {
  const [, list = ''] = output.split(/^statement latencies in milliseconds.*\n/m);
  return [...list.matchAll(/^ +([\d.]+)(?: +\d+)* +(\S.*)$/gm)].map(([, ms, text = '']) => ({
    text,
    ms: Number(ms),
  }));
}

/** The report that pgbench prints at the end of a run. */
export function readReport(output: string, slow: SlowAnswers): PgbenchResult {
  const transactionsPerSecond = figure(output, /^tps = ([\d.]+) /m);
  const transactions = figure(output, /^number of transactions actually processed: (\d+)/m);
  const latencyMs = figure(output, /^latency average = ([\d.]+) ms/m);
  if (transactionsPerSecond === undefined || transactions === undefined) {
    return { kind: 'broken', reason: `pgbench's report cannot be read: ${output.slice(0, 200)}` };
  }
  return {
    kind: 'measured',
    steps: readSteps(output),
    slow,
    transactionsPerSecond,
    transactions,
    latencyMs: latencyMs ?? Number.NaN,
    retries: figure(output, /^total number of retries: (\d+)/m) ?? 0,
    failed: figure(output, /^number of failed transactions: (\d+)/m) ?? 0,
  };
}

export class Pgbench {
  readonly program: string;
  readonly #folder: string;
  readonly #signal: AbortSignal;
  #runs = 0;

  /** `folder`: for its logs, which are removed as soon as they have been read. */
  constructor(program: string, folder: string, signal: AbortSignal) {
    this.program = program;
    this.#folder = folder;
    this.#signal = signal;
  }

  #place(target: PgbenchTarget): string[] {
    return ['-h', '127.0.0.1', '-p', String(target.port), '-U', 'postgres', target.database];
  }

  version(): string {
    return spawnSync(this.program, ['--version'], { encoding: 'utf8' }).stdout.trim();
  }

  /** Creates and fills pgbench's tables. Throws with pgbench's last words. */
  async initialise(target: PgbenchTarget, scale: number): Promise<void> {
    const args = ['-i', '-q', '-s', String(scale), ...this.#place(target)];
    const end = await run(this.program, args, initLimitMs, this.#signal);
    if (end.code === 0) return;
    const how = end.timedOut ? `took more than ${initLimitMs / 1000} s` : `ended with ${end.code}`;
    throw new Error(`pgbench -i on port ${target.port} ${how}: ${lastWords(end.errors)}`);
  }

  /** One measurement; `args` choose the script and the protocol. */
  async measure(
    target: PgbenchTarget,
    args: readonly string[],
    clients: number,
    seconds: number,
  ): Promise<PgbenchResult> {
    const load = ['-n', '-c', String(clients), '-j', String(Math.min(clients, 2)), '-T', String(seconds)];
    const logs = join(this.#folder, `log-${++this.#runs}`);
    const all = [...load, '--max-tries=100', '-l', `--log-prefix=${logs}`, ...args, ...this.#place(target)];
    const end = await run(this.program, all, seconds * 1000 + graceMs, this.#signal);
    const slow = takeLogs(logs);
    if (end.timedOut) return { kind: 'hung' };
    if (end.code === 0) return readReport(end.output, slow);
    return { kind: 'broken', reason: lastWords(end.errors) };
  }
}

/** The first error is the cause; what follows is usually its consequence. */
function lastWords(errors: string): string {
  const lines = errors.trim().split('\n');
  return (lines.find((line) => /error|fatal|aborted/i.test(line)) ?? lines.at(-1) ?? '').slice(0, 300);
}
