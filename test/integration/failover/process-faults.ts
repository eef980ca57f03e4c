/** Signals for the processes of a node: killed, stopped and continued, a server with all its children. Linux only. */
import { readdirSync, readFileSync } from 'node:fs';
import { gatewayPid } from '../../../src/io/launcher/gateway-process.ts';
import type { NodeLayout } from '../../../src/io/launcher/node-layout.ts';
import { postgresPid } from '../../../src/io/launcher/postgres-server.ts';
import { eventually } from '../../support/polling.ts';

interface ProcessState {
  readonly parent: number;
  /** A letter of proc(5): R, S, D, T, Z … */
  readonly state: string;
}

/** Undefined: there is no such process. */
function processState(pid: number): ProcessState | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [state = '', parent = ''] = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { parent: Number(parent), state };
  } catch (error) {
    // It ends while we look.
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}

/** The process and its children. */
function family(pid: number): number[] {
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
  return [pid, ...all.filter((other) => processState(other)?.parent === pid)];
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** A zombie holds nothing any more. */
function isGone(pid: number): boolean {
  const state = processState(pid)?.state;
  return state === undefined || state === 'Z' || state === 'X';
}

async function kill(pids: readonly number[], what: string): Promise<void> {
  for (const pid of pids) signal(pid, 'SIGKILL');
  await eventually(`${what} is gone`, () => pids.every(isGone));
}

/** kill -9, when it runs; resolves when the process is gone. */
export async function killGateway(node: NodeLayout): Promise<void> {
  const pid = gatewayPid(node);
  if (pid !== undefined) await kill([pid], `the gateway of node ${node.node}`);
}

/** kill -9 of the postmaster and its children, when they run; resolves when they are gone. */
export async function killServer(node: NodeLayout): Promise<void> {
  const pid = postgresPid(node);
  if (pid !== undefined) await kill(family(pid), `the server of node ${node.node}`);
}

export function pauseGateway(node: NodeLayout): void {
  const pid = gatewayPid(node);
  if (pid === undefined) throw new Error(`the gateway of node ${node.node} does not run`);
  signal(pid, 'SIGSTOP');
}

/** The postmaster first: then it makes no new children. */
export function pauseServer(node: NodeLayout): void {
  const pid = postgresPid(node);
  if (pid === undefined) throw new Error(`the server of node ${node.node} does not run`);
  signal(pid, 'SIGSTOP');
  for (const member of family(pid)) signal(member, 'SIGSTOP');
}

/** SIGCONT for everything that runs; harmless for what was not stopped. */
export function resumeProcesses(nodes: readonly NodeLayout[]): void {
  for (const node of nodes) {
    const server = postgresPid(node);
    const gateway = gatewayPid(node);
    if (server !== undefined) for (const member of family(server).reverse()) signal(member, 'SIGCONT');
    if (gateway !== undefined) signal(gateway, 'SIGCONT');
  }
}
