/**
 * Processes of the launcher: each detached, with its own log and its own pid file, so that Ctrl-C in a
 * terminal reaches only the launcher and another command can find and stop it.
 * Rule: a signal goes only to a process whose command line proves that it is ours; a pid alone may belong to
 * a stranger.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { GatewayError } from '../../lib/gateway-error.ts';
import type { ServerAccount } from './account.ts';

const pollMs = 20;

export interface ProcessOrder {
  /** What it is, for messages: `gateway of node 1`. */
  readonly title: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly logFile: string;
  readonly pidFile: string;
  /** The operating-system user; undefined: ours. */
  readonly account: ServerAccount | undefined;
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

export interface RunningProcess {
  readonly title: string;
  readonly pid: number;
  readonly logFile: string;
  /** Present when this process is its parent. */
  readonly child: ChildProcess;
  /** Settled when it has ended: `exit code 1`, `signal SIGKILL`. */
  readonly ended: Promise<string>;
}

/** Starts the process and writes its pid file. Throws launcher-failed when it cannot be executed at all. */
export async function spawnLogged(order: ProcessOrder): Promise<RunningProcess> {
  const log = openSync(order.logFile, 'a');
  try {
    const child = spawn(order.command, order.args, {
      detached: true,
      stdio: ['ignore', log, log],
      // It outlives the command that starts it, also one that npm runs (src/cli/signals.ts: endOfNpm).
      env: { ...process.env, npm_command: undefined, ...order.environment },
      cwd: '/',
      ...(order.account === undefined ? {} : { uid: order.account.uid, gid: order.account.gid }),
    });
    const ended = new Promise<string>((resolve) => {
      child.once('exit', (code, signal) =>
        resolve(signal === null ? `exit code ${code}` : `signal ${signal}`),
      );
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', (cause) => {
        reject(
          new GatewayError('launcher-failed', `the ${order.title} cannot be executed: ${cause.message}`, {
            cause,
          }),
        );
      });
    });
    const pid = child.pid ?? 0;
    writeFileSync(order.pidFile, `${pid}\n`);
    return { title: order.title, pid, logFile: order.logFile, child, ended };
  } finally {
    closeSync(log);
  }
}

/**
 * Something with this pid exists; a process that has ended but was not yet collected by its parent counts.
 */
export function pidExists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function commandLine(pid: number): string {
  if (process.platform === 'linux') {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
    } catch {
      return ''; // It has just ended: that is an answer, not a failure.
    }
  }
  return spawnSync('ps', ['-ww', '-o', 'command=', '-p', String(pid)], { encoding: 'utf8' }).stdout;
}

const oneCell = new Int32Array(new SharedArrayBuffer(4));
const settleMs = 1000;

/**
 * Linux says that a program is being executed a moment before its command line can be read: to the parent
 * that has started it, and where one program hands the process to the next (ip netns exec). Until then the
 * process would be taken for a stranger's.
 */
function settledCommandLine(pid: number): string {
  const deadline = performance.now() + settleMs;
  for (;;) {
    const line = commandLine(pid);
    if (line !== '' || !isRunning(pid) || performance.now() > deadline) return line;
    Atomics.wait(oneCell, 0, 0, 1);
  }
}

/** False: gone, or ended and not yet collected by its parent; also where there is no /proc. */
function isRunning(pid: number): boolean {
  try {
    // `pid (name) state …`, where the name may be anything
    return !/\) [XZ] [^)]*$/.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false; // As for the command line: an answer.
  }
}

/** The pid in `pidFile` when that process lives and has `mark` (a path of ours) in its command line. */
export function livingPid(pidFile: string, mark: string): number | undefined {
  if (!existsSync(pidFile)) return undefined;
  const pid = Number.parseInt(readFileSync(pidFile, 'utf8'), 10);
  if (!Number.isInteger(pid) || pid <= 1 || !pidExists(pid)) return undefined;
  return settledCommandLine(pid).includes(mark) ? pid : undefined;
}

/** Resolves to true when the pid is gone, to false when `limitMs` have passed before. */
export async function waitUntilGone(pid: number, limitMs: number): Promise<boolean> {
  const deadline = performance.now() + limitMs;
  while (pidExists(pid)) {
    if (performance.now() > deadline) return false;
    await pause(pollMs);
  }
  return true;
}

/** Asks `probe` until it says true or `limitMs` have passed; false when it never did. */
export async function waitUntil(probe: () => Promise<boolean> | boolean, limitMs: number): Promise<boolean> {
  const deadline = performance.now() + limitMs;
  while (!(await probe())) {
    if (performance.now() > deadline) return false;
    await pause(pollMs);
  }
  return true;
}

/** The failure of a process that should be running. `reason`: how it ended, or what it does not do. */
export function endedEarly(running: RunningProcess, reason: string): GatewayError {
  const log = lastLines(running.logFile, 12);
  const how = reason.startsWith('is ') ? reason : `ended with ${reason}`;
  return new GatewayError(
    'launcher-failed',
    `the ${running.title} ${how}; the end of ${running.logFile}:\n${log}`,
  );
}

export interface StopOrder {
  readonly title: string;
  readonly pidFile: string;
  readonly mark: string;
  readonly signals: readonly NodeJS.Signals[];
  /** How long each signal has. */
  readonly limitMs: number;
}

/** Sends the signals one after the other until the process is gone. False: it did not run. */
export async function stopByPidFile(order: StopOrder): Promise<boolean> {
  const pid = livingPid(order.pidFile, order.mark);
  rmSync(order.pidFile, { force: true });
  if (pid === undefined) return false;
  for (const signal of order.signals) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ESRCH') return true;
      throw error;
    }
    if (await waitUntilGone(pid, order.limitMs)) return true;
  }
  throw new GatewayError('launcher-failed', `the ${order.title} (pid ${pid}) does not stop`);
}

/** The last lines of a log, for the message about a process that died. */
export function lastLines(file: string, count: number): string {
  if (!existsSync(file)) return '';
  const length = Math.min(statSync(file).size, 16_384);
  const buffer = Buffer.alloc(length);
  const handle = openSync(file, 'r');
  try {
    readSync(handle, buffer, 0, length, statSync(file).size - length);
  } finally {
    closeSync(handle);
  }
  return buffer.toString('utf8').trimEnd().split('\n').slice(-count).join('\n');
}
