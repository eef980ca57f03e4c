/** The gateways over three servers: clients at one of them, or at all three at once. */
import { setTimeout as pause } from 'node:timers/promises';
import { startGateways } from '../../src/io/launcher/embedded-cluster.ts';
import { gatewayPid, isOnline } from '../../src/io/launcher/gateway-process.ts';
import { embeddedDatabase, type NodeLayout } from '../../src/io/launcher/node-layout.ts';
import { waitUntil } from '../../src/io/launcher/process-control.ts';
import type { Candidate } from './candidate.ts';
import { workloadKeys } from './options.ts';
import { cpuTimeOfTrees, hasProcessFigures, residentMegabytes } from './process-figures.ts';
import type { ServerGroup } from './server-group.ts';

const startLimitMs = 60_000;
const recoverLimitMs = 30_000;

export interface Gateways {
  /** Clients at gateway 1. */
  readonly one: Candidate;
  /** The same number of clients at each gateway, all at once. */
  readonly all: Candidate;
  readonly pids: readonly number[];
  readonly idle: Idle;
}

/** Gateways without clients. */
export interface Idle {
  /** VmRSS of each in MB (10⁶ bytes); empty without /proc. */
  readonly megabytes: readonly number[];
  /** CPU time that one uses for its heartbeats and the like, in ms per second; undefined without /proc. */
  readonly cpuMsPerSecond: number | undefined;
}

/** What a gateway may need after its start or after load until it is idle. */
const idlePauseMs = 3000;

/** Waits until the gateways are idle and then looks at them for a while. */
export async function observeIdle(pids: readonly number[], signal: AbortSignal): Promise<Idle> {
  await pause(idlePauseMs, undefined, { signal });
  if (!hasProcessFigures || pids.length === 0) return { megabytes: [], cpuMsPerSecond: undefined };
  const before = cpuTimeOfTrees(pids);
  await pause(idlePauseMs, undefined, { signal });
  const usedUs = cpuTimeOfTrees(pids) - before;
  return {
    megabytes: pids.map(residentMegabytes).filter((value) => value !== undefined),
    cpuMsPerSecond: usedUs / idlePauseMs / pids.length,
  };
}

async function requireOnline(nodes: readonly NodeLayout[]): Promise<void> {
  const allOnline = async () => (await Promise.all(nodes.map((node) => isOnline(node, true)))).every(Boolean);
  if (!(await waitUntil(allOnline, recoverLimitMs))) {
    throw new Error('the gateways are no longer online');
  }
}

/** `profileFolder`: each gateway leaves a CPU profile there when it ends. */
export async function launchGateways(
  group: ServerGroup,
  profileFolder: string | undefined,
  signal: AbortSignal,
): Promise<Gateways> {
  const { nodes } = group.cluster;
  const before = process.env['NODE_OPTIONS'];
  if (profileFolder !== undefined) {
    process.env['NODE_OPTIONS'] = `${before ?? ''} --cpu-prof --cpu-prof-dir=${profileFolder}`;
  }
  try {
    await startGateways(group.cluster, { signal, onlineLimitMs: startLimitMs });
  } finally {
    if (before === undefined) delete process.env['NODE_OPTIONS'];
    else process.env['NODE_OPTIONS'] = before;
  }
  const targets = nodes.map((node) => ({ port: node.gatewayPort, database: embeddedDatabase }));
  const pids = nodes.map((node) => gatewayPid(node) ?? 0);
  const common = {
    servers: group.servers,
    processes: pids,
    combine: 'sum' as const,
    recover: () => requireOnline(nodes),
  };
  return {
    one: {
      ...common,
      key: 'gateway',
      title: 'gateway',
      targets: targets.slice(0, 1),
      workloads: workloadKeys,
    },
    all: { ...common, key: 'gateways', title: `${nodes.length} gateways`, targets, workloads: ['tpcb'] },
    pids,
    idle: await observeIdle(pids, signal),
  };
}
