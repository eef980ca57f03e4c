/**
 * Nodes come and go under bank, list-append and sequence load, as an operator makes them: `dev join` and `dev drop` as
 * processes. What dies meanwhile: the gateway that joins, the one whose server is copied. No client on a node that stays is
 * told anything but to repeat; afterwards all nodes are equal and the history is one that the judge accepts.
 */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import {
  gatewayPid,
  gatewayReport,
  startGatewayProcess,
  stopGatewayProcess,
  writeGatewayConfig,
} from '../../../src/io/launcher/gateway-process.ts';
import { nodeLayout, type NodeLayout } from '../../../src/io/launcher/node-layout.ts';
import { startServer, stopServer } from '../../../src/io/launcher/postgres-server.ts';
import { Prng } from '../../../src/lib/prng.ts';
import { startCluster, type Cluster } from '../../support/cluster.ts';
import { eventually } from '../../support/polling.ts';
import {
  createWorkload,
  judgeAtRest,
  say,
  startLoad,
  testSeed,
  timeFactor,
  type Workload,
} from './fault-rounds.ts';
import type { Load } from './load.ts';
import { killGateway } from './process-faults.ts';
import { ask, siteOf, wholeAgain, type Site } from './site.ts';

vi.setConfig({ testTimeout: 300_000 * timeFactor });

const program = fileURLToPath(new URL('../../../src/main.ts', import.meta.url));
const onlineLimitMs = 90_000 * timeFactor;
const random = new Prng(testSeed());

let cluster: Cluster;
let site: Site;
let workload: Workload;

beforeAll(async () => {
  cluster = await startCluster();
  site = siteOf(cluster);
  workload = await createWorkload(site, random);
  await ask(site, 1, 'gateway', 'CREATE TABLE drawn (id bigserial PRIMARY KEY, node int, nodes int)');
});

afterAll(async () => {
  await site?.stop();
});

interface Ended {
  readonly code: number | null;
  readonly output: string;
}

/** `mtm-gateway dev join` or `drop` for the cluster of this file. */
async function dev(...args: string[]): Promise<Ended> {
  const [command = '', ...rest] = args;
  const child = spawn(process.execPath, [program, 'dev', command, '--data', cluster.folder.folder, ...rest]);
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const begin = performance.now();
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  say(
    `    dev ${args.join(' ')}: exit code ${code} after ${((performance.now() - begin) / 1000).toFixed(1)} s`,
  );
  return { code, output };
}

/** The same, and it succeeds. */
async function done(...args: string[]): Promise<string> {
  const { code, output } = await dev(...args);
  expect(code, output).toBe(0);
  site.refresh();
  return output;
}

function layoutOf(node: number): NodeLayout {
  return nodeLayout(cluster.folder.folder, cluster.folder.basePort, node, 18);
}

/** The usual load, and clients that draw from a sequence. `nodes`: over how many the sequence is spread. */
function loadOn(numbers: readonly number[], nodes: number): Load {
  const load = startLoad(site, workload, numbers);
  for (const number of numbers) {
    const insert = 'INSERT INTO drawn (node, nodes) VALUES ($1, $2)';
    load.add(number, (session) => session.alone(insert, [number, nodes]), true);
  }
  return load;
}

async function written(load: Load, numbers: readonly number[], count: number): Promise<void> {
  const start = new Map(numbers.map((number) => [number, load.writtenBy(number)]));
  await eventually(
    `${count} more transactions written by each of the nodes ${numbers.join(', ')}`,
    () => numbers.every((number) => load.writtenBy(number) - (start.get(number) ?? 0) >= count),
    onlineLimitMs,
  );
}

/** Nobody was told anything but that a conflict (a deadlock, too) or a change of the generation wants a repetition. */
function onlyConflicts(load: Load): void {
  const { acknowledged, refused, unknown } = load.tally;
  say(`    ${acknowledged} acknowledged, ${refused} refused, ${unknown} unknown`);
  expect([...load.codes.keys()].filter((code) => !['40001', '40P01'].includes(code))).toEqual([]);
}

/** Node k of n draws k, k+n, k+2n …: of all that were drawn since the sequence is spread over n. */
async function inTheirClasses(): Promise<void> {
  const wrong = await ask(
    site,
    1,
    'postgres',
    'SELECT id, node, nodes FROM drawn WHERE nodes > 0 AND id % nodes <> node % nodes LIMIT 5',
  );
  expect(wrong).toEqual([]);
}

async function atRest(): Promise<void> {
  await wholeAgain(site, onlineLimitMs);
  await judgeAtRest(site, workload);
  await inTheirClasses();
}

/** Resolves when the gateway of the node runs and is not online yet. */
async function startedNotOnline(layout: NodeLayout): Promise<void> {
  await eventually(
    `node ${layout.node} is starting`,
    async () => (await gatewayReport(layout))?.ready === false,
    onlineLimitMs,
  );
}

test('node 4 joins under load, and its gateway is killed before it is online', async () => {
  // Over 3 until somewhere in the middle: those rows say nothing about their class.
  const load = loadOn([1, 2, 3], 0);
  await written(load, [1, 2, 3], 20);
  const first = dev('join');
  await startedNotOnline(layoutOf(4));
  await killGateway(layoutOf(4));
  expect(await first).toMatchObject({ code: 1 });
  expect((await first).output).toContain('the gateway of node 4 ended; the end of');
  expect(await done('join')).toContain('node 4: going on where an earlier dev join has ended');
  await written(load, [1, 2, 3], 20);
  expect(site.numbers).toEqual([1, 2, 3, 4]);
  const onFour = loadOn([4], 4);
  await written(onFour, [4], 40);
  await Promise.all([load.stop(), onFour.stop()]);
  onlyConflicts(load);
  onlyConflicts(onFour);
  await atRest();
});

test('node 5 joins, and the node whose server is copied is killed, during the copy and behind it', async () => {
  const others = [1, 2, 4];
  const load = loadOn(others, 0);
  await written(load, others, 10);
  const { dataFolder } = layoutOf(5);
  const first = dev('join', '--from', '3');
  await eventually('a copy', () => existsSync(join(dataFolder, 'mtm-copy.unfinished')), onlineLimitMs);
  await killGateway(site.node(3));
  const { code, output } = await first;
  expect(code).toBe(1);
  expect(output).toMatch(/mtm-gateway: the copy has failed: .+\n {2}what to do: repeat it/);
  expect(existsSync(dataFolder)).toBe(false);
  await cluster.startGateway(3);

  const second = dev('join', '--from', '3');
  await startedNotOnline(layoutOf(5));
  await killGateway(site.node(3));
  await written(load, others, 10);
  await cluster.startGateway(3);
  const joined = await second;
  expect(joined.code, joined.output).toBe(0);
  site.refresh();
  await load.stop();
  onlyConflicts(load);
  const afterwards = loadOn(site.numbers, 5);
  await written(afterwards, site.numbers, 10);
  await afterwards.stop();
  onlyConflicts(afterwards);
  await atRest();
});

test('node 2 is dropped under load, added again, and its former server is refused by name', async () => {
  const others = [1, 3, 4, 5];
  const load = loadOn(others, 5);
  await written(load, others, 10);
  expect(await done('drop', '--node', '2')).toMatch(
    /node 2 was removed; its data are kept in .+node2\.removed-/,
  );
  await written(load, others, 10);
  expect(site.numbers).toEqual(others);
  await wholeAgain(site, onlineLimitMs);
  expect(await done('join')).toContain('node 2 was added');
  const onTwo = loadOn([2], 5);
  await written(onTwo, [2], 10);

  const former = formerNode(2);
  const now = site.nodes.filter(({ node }) => node !== 2);
  writeGatewayConfig(former, { ...cluster.folder, nodes: [former, ...now] });
  await startServer(former);
  try {
    await startGatewayProcess(former);
    await refused(former, /node 2 was removed from the cluster and its id given to another node/);
  } finally {
    await stopGatewayProcess(former);
    await stopServer(former);
  }
  await written(load, others, 10);
  await written(onTwo, [2], 10);
  await Promise.all([load.stop(), onTwo.stop()]);
  onlyConflicts(load);
  onlyConflicts(onTwo);
  await atRest();
});

/** A removed node's server and configuration, at ports that nobody has. */
function formerNode(node: number): NodeLayout {
  const { folder, basePort } = cluster.folder;
  const name = readdirSync(folder).find((entry) => entry.startsWith(`node${node}.removed-`)) ?? 'none';
  const own = join(folder, name);
  const inside = (path: string): string => join(own, path);
  const { gatewayPort, postgresPort, httpPort, peerPort, ...rest } = nodeLayout(folder, basePort, 60, 18);
  return {
    ...rest,
    node,
    ...{ gatewayPort, postgresPort, httpPort, peerPort },
    folder: own,
    dataFolder: inside('data'),
    socketFolder: inside('data'),
    configFile: inside('gateway.yaml'),
    gatewayPidFile: inside('gateway.pid'),
    postgresPidFile: inside('postmaster.pid'),
    gatewayLog: inside('gateway.log'),
    postgresLog: inside('postgres.log'),
  };
}

/** The gateway never is online, and says why: while it runs, or as its last word. */
async function refused(layout: NodeLayout, sentence: RegExp): Promise<void> {
  await eventually(
    `node ${layout.node} is refused`,
    async () => {
      const report = await gatewayReport(layout);
      expect(report?.ready).not.toBe(true);
      return (
        sentence.test(report?.reason ?? '') ||
        (gatewayPid(layout) === undefined && sentence.test(readFileSync(layout.gatewayLog, 'utf8')))
      );
    },
    onlineLimitMs,
  );
}
