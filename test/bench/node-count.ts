/**
 * A write of one client with five nodes instead of three. On few cores the servers of five nodes wait for each other, as they
 * would not on machines of their own; so what the home node does for each transaction is counted too: with cores for everybody
 * the peers work side by side, and a write takes longer by what the home node does more.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { postgresPid } from '../../src/io/launcher/postgres-server.ts';
import { launchGateways } from './gateway.ts';
import type { BenchOptions } from './options.ts';
import type { Pgbench, PgbenchTarget } from './pgbench.ts';
import { cpuTimeOfTrees, hasProcessFigures } from './process-figures.ts';
import { startGroup } from './server-group.ts';
import { median } from './summary.ts';
import type { Workload } from './workload.ts';

/** Of one write. */
export interface WriteCost {
  readonly latencyMs: number;
  /** CPU time of the home node: its gateway and its server, µs. */
  readonly homeCpuUs: number;
  /** Write calls of the home gateway: to its client, its server and its peers. */
  readonly homeWrites: number;
}

export interface NodeCount {
  /** Medians, by the number of nodes. */
  readonly three: WriteCost;
  readonly five: WriteCost;
  /** Median of the ratios within each round: measured here, and as it would be with cores for everybody. */
  readonly measured: number;
  readonly expected: number;
}

export type NodeCountOutcome = NodeCount | { readonly failure: string };

const portOffsets = { 3: 60, 5: 70 } as const;

interface Site {
  readonly target: PgbenchTarget;
  readonly gateway: number;
  readonly home: readonly number[];
}

/** Linux counts the calls that write, whatever they write to. */
function writesOf(pid: number): number {
  return Number(/^syscw: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1]);
}

export function summariseNodeCount(rounds: readonly { three: WriteCost; five: WriteCost }[]): NodeCount {
  const cost = (pick: (round: (typeof rounds)[number]) => WriteCost): WriteCost => {
    const middle = (figure: (one: WriteCost) => number) =>
      median(rounds.map((one) => figure(pick(one)))) ?? 0;
    return {
      latencyMs: middle((one) => one.latencyMs),
      homeCpuUs: middle((one) => one.homeCpuUs),
      homeWrites: middle((one) => one.homeWrites),
    };
  };
  const expected = rounds.map(
    ({ three, five }) => (three.latencyMs + (five.homeCpuUs - three.homeCpuUs) / 1000) / three.latencyMs,
  );
  return {
    three: cost((round) => round.three),
    five: cost((round) => round.five),
    measured: median(rounds.map(({ three, five }) => five.latencyMs / three.latencyMs)) ?? Number.NaN,
    expected: median(expected) ?? Number.NaN,
  };
}

/** Starts eight nodes of its own. Throws when they do not come up, or pgbench has no figures. */
export async function measureNodeCount(
  options: BenchOptions,
  pgbench: Pgbench,
  workload: Workload,
  folder: string,
  signal: AbortSignal,
  report: (line: string) => void,
): Promise<NodeCount> {
  if (!hasProcessFigures) throw new Error('counting needs /proc');
  await using stack = new AsyncDisposableStack();
  const start = async (count: 3 | 5): Promise<Site> => {
    const port = options.port + portOffsets[count];
    const group = await startGroup(stack, options, join(folder, `nodes${count}`), port, count, signal);
    const { one, pids } = await launchGateways(group, options.profileFolder, signal);
    const [target] = one.targets;
    const [gateway] = pids;
    const [home] = group.cluster.nodes;
    if (target === undefined || gateway === undefined || home === undefined) throw new Error('no node 1');
    await pgbench.initialise(target, options.scale);
    return { target, gateway, home: [gateway, postgresPid(home) ?? 0] };
  };
  const write = async ({ target, gateway, home }: Site): Promise<WriteCost> => {
    const [cpu, writes] = [cpuTimeOfTrees(home), writesOf(gateway)];
    const args = ['-M', workload.protocol, ...workload.args];
    const result = await pgbench.measure(target, args, 1, options.seconds);
    if (result.kind !== 'measured') throw new Error(`port ${target.port}: ${JSON.stringify(result)}`);
    return {
      latencyMs: result.latencyMs,
      homeCpuUs: (cpuTimeOfTrees(home) - cpu) / result.transactions,
      homeWrites: (writesOf(gateway) - writes) / result.transactions,
    };
  };
  const three = await start(3);
  const five = await start(5);
  const rounds: { three: WriteCost; five: WriteCost }[] = [];
  // The first one warms up and does not count.
  for (let number = 0; number <= options.rounds; number++) {
    const fiveFirst = number % 2 === 0 ? await write(five) : undefined;
    const round = { three: await write(three), five: fiveFirst ?? (await write(five)) };
    report(`nodes, round ${number}: ${JSON.stringify(round)}`);
    if (number > 0) rounds.push(round);
  }
  return summariseNodeCount(rounds);
}
