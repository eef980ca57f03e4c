/**
 * `mtm-gateway dev`: a cluster of embedded servers on this machine, in the foreground; `dev start`, `dev
 * stop` and `dev status` work on it from another terminal.
 */
import type { Argv, CommandModule } from 'yargs';
import {
  existingClusterFolder,
  lockClusterFolder,
  openClusterFolder,
  type ClusterFolder,
  type ClusterWish,
} from '../io/launcher/cluster-folder.ts';
import {
  bothParts,
  killCluster,
  nodeState,
  startGateways,
  startNode,
  startServers,
  stopCluster,
  stopNode,
  watchProcess,
  type NodeState,
  type Part,
} from '../io/launcher/embedded-cluster.ts';
import {
  embeddedHost,
  connectionString,
  embeddedDatabase,
  requireFreePorts,
  type NodeLayout,
} from '../io/launcher/node-layout.ts';
import { endedEarly, type RunningProcess } from '../io/launcher/process-control.ts';
import { refereeAddress, refereePid, startReferee, stopReferee } from '../io/launcher/referee-process.ts';
import { postgresMajors, type PostgresMajor } from '../io/launcher/server-binaries.ts';
import { GatewayError } from '../lib/gateway-error.ts';
import { devDrop } from './dev-drop.ts';
import { devJoin } from './dev-join.ts';
import { allNodes, nodeOf } from './dev-nodes.ts';
import { say } from './output.ts';
import { endOfNpm, stopSignals } from './signals.ts';

function numberOption(name: string, text: string, minimum: number, maximum: number): number {
  const value = /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= minimum && value <= maximum) return value;
  throw new GatewayError(
    'config-invalid',
    `--${name} must be a whole number from ${minimum} to ${maximum}, not ${text}`,
  );
}

function majorsOption(text: string): PostgresMajor[] {
  return text.split(',').map((item) => {
    const major = postgresMajors.find((candidate) => String(candidate) === item.trim());
    if (major !== undefined) return major;
    throw new GatewayError(
      'config-invalid',
      `--pg must be ${postgresMajors.join(', ')} or one of them for each node, not ${text}`,
    );
  });
}

function namesOption(name: string, text: string): string[] {
  const names = text.split(',').map((item) => item.trim());
  const wrong = names.find((item) => item === '' || item === embeddedDatabase || item.length > 40);
  if (wrong === undefined) return names;
  throw new GatewayError(
    'config-invalid',
    `--${name} must be names of databases beside ${embeddedDatabase}, not "${wrong}"`,
  );
}

interface DevArguments {
  readonly data: string;
  readonly nodes?: string | undefined;
  readonly port?: string | undefined;
  readonly pg?: string | undefined;
  readonly referee?: boolean | undefined;
  readonly restart?: boolean | undefined;
  readonly databases?: string | undefined;
}

function wishOf(args: DevArguments): ClusterWish {
  return {
    folder: args.data,
    nodes: args.nodes === undefined ? undefined : numberOption('nodes', args.nodes, 1, 5),
    port: args.port === undefined ? undefined : numberOption('port', args.port, 1024, 65_000),
    pg: args.pg === undefined ? undefined : majorsOption(args.pg),
    referee: args.referee,
    databases: args.databases === undefined ? undefined : namesOption('databases', args.databases),
  };
}

interface Started {
  readonly node: NodeLayout;
  readonly part: Part;
  readonly running: RunningProcess;
}

/** The referee first: a gateway without it is slower to say what is wrong. */
async function startItsReferee(
  { referee }: ClusterFolder,
  signal: AbortSignal,
): Promise<{ readonly referee_connstring?: string }> {
  if (referee === undefined) return {};
  const running = await startReferee(referee);
  void running.ended.then((reason) => {
    if (!signal.aborted) say(`the referee ended with ${reason}; see ${running.logFile}`);
  });
  say(`referee ${refereeAddress(referee)}`);
  return { referee_connstring: refereeAddress(referee) };
}

/** Orderly: gateways, servers, and last the referee; of the nodes that there are now. */
async function stopAll({ folder }: ClusterFolder): Promise<string[]> {
  const cluster = existingClusterFolder(folder);
  const { referee } = cluster;
  const stopped = await stopCluster(allNodes(cluster));
  if (referee !== undefined && (await stopReferee(referee))) stopped.push('referee');
  return stopped;
}

/** Servers and gateways; throws as soon as one of them ends, and when nothing is starting any more. */
async function startProcesses(cluster: ClusterFolder, signal: AbortSignal): Promise<Started[]> {
  const started: Started[] = [];
  const died = new AbortController();
  const options = {
    signal: AbortSignal.any([signal, died.signal]),
    onStart: (node: NodeLayout, part: Part, running: RunningProcess) => {
      started.push({ node, part, running });
      void running.ended.then((reason) => died.abort(endedEarly(running, reason)));
    },
  };
  const settings = await startItsReferee(cluster, signal);
  await startServers(cluster, options);
  await startGateways(cluster, { ...options, settings });
  return started;
}

async function startAll(cluster: ClusterFolder, args: DevArguments, signal: AbortSignal): Promise<void> {
  const left = await stopAll(cluster);
  if (left.length > 0) say(`stopped what an earlier run had left: ${left.join(', ')}`);
  const versions = [...new Set(cluster.nodes.map((node) => node.major))];
  say(`PostgreSQL ${versions.join(', ')}, data in ${cluster.folder}`);
  await requireFreePorts(cluster.nodes, bothParts);
  const started = await startProcesses(cluster, signal);
  for (const node of cluster.nodes) say(`node ${node.node}  ${connectionString(node)}`);
  const { joining } = cluster;
  if (joining !== undefined) {
    say(`node ${joining.layout.node} is being added: go on with dev join --data ${cluster.folder}`);
  }
  const first = cluster.nodes[0];
  if (first !== undefined) {
    say(`connect with: psql ${connectionString(first)}`);
    say(`status page:  http://${embeddedHost}:${first.httpPort}/`);
  }
  say('ready');
  const watch = { restart: args.restart === true, report: say, signal };
  for (const { node, part, running } of started) {
    void watchProcess(node, part, running, watch).catch((error: unknown) => {
      say(error instanceof Error ? error.message : String(error));
    });
  }
}

/** The second signal: whoever sends it does not want to wait, but neither to find the processes later. */
function endNow(folder: string): never {
  try {
    const cluster = existingClusterFolder(folder);
    killCluster(allNodes(cluster));
    const referee = cluster.referee === undefined ? undefined : refereePid(cluster.referee);
    if (referee !== undefined) process.kill(referee);
  } finally {
    process.exit(1); // Also when it is so early that there is no cluster yet.
  }
}

async function dev(args: DevArguments): Promise<void> {
  const wish = wishOf(args);
  const lock = lockClusterFolder(wish.folder);
  const stopping = new AbortController();
  const signal = Promise.race([stopSignals(() => endNow(args.data)), endOfNpm()]);
  try {
    const cluster = openClusterFolder(wish);
    const startup = startAll(cluster, args, stopping.signal);
    try {
      // A startup that fails throws here; one that succeeds leaves the signal as the only way on.
      await Promise.race([signal, startup.then(async () => signal)]);
      say('stopping');
    } finally {
      stopping.abort(new GatewayError('launcher-failed', 'stopped by a signal'));
      await Promise.allSettled([startup]);
      await stopAll(cluster);
    }
  } finally {
    lock.release();
  }
}

function partsOf(only: Part | undefined): readonly Part[] {
  return only === undefined ? bothParts : [only];
}

function stateLine(state: NodeState): string {
  const one = (part: { running: boolean; pid: number | null; port: number }) =>
    part.running ? `pid ${part.pid}, port ${part.port}` : 'stopped';
  const gateway =
    state.gateway.running && !state.online ? `${one(state.gateway)}, not online` : one(state.gateway);
  const server = `PostgreSQL ${state.postgres.version}: ${one(state.postgres)}`;
  return `node ${state.node}  gateway: ${gateway}  ${server}`;
}

const dataOption = {
  type: 'string',
  default: '.mtm',
  requiresArg: true,
  describe: 'Directory of the cluster',
} as const;

function withNodeOptions<T>(command: Argv<T>) {
  return command
    .option('data', dataOption)
    .option('node', {
      type: 'number',
      demandOption: true,
      requiresArg: true,
      describe: 'Which node: 1, 2, 3 …',
    })
    .option('only', { choices: bothParts, requiresArg: true, describe: 'Only this part of the node' });
}

function withStatusOptions<T>(command: Argv<T>) {
  return command
    .option('data', dataOption)
    .option('json', { type: 'boolean', default: false, describe: 'As JSON' });
}

function withJoinOptions<T>(command: Argv<T>) {
  return command
    .option('data', dataOption)
    .option('node', {
      type: 'number',
      requiresArg: true,
      describe: 'Its number, which must be the next free one [default: that]',
    })
    .option('from', { type: 'number', requiresArg: true, describe: 'The node to copy [default: any]' });
}

function withDropOptions<T>(command: Argv<T>) {
  return command
    .option('data', dataOption)
    .option('node', { type: 'number', demandOption: true, requiresArg: true, describe: 'Which node' });
}

function withDevOptions(command: Argv) {
  return command
    .option('nodes', { type: 'string', requiresArg: true, describe: 'How many nodes, 1 to 5 [default: 3]' })
    .option('port', {
      type: 'string',
      requiresArg: true,
      describe: 'Port P of node 1; node k has P+k-1 [default: 7001]',
    })
    .option('data', dataOption)
    .option('pg', {
      type: 'string',
      requiresArg: true,
      describe: 'PostgreSQL 15, 16, 17 or 18, or a list with one for each node [default: 18]',
    })
    .option('referee', {
      type: 'boolean',
      describe: 'Two nodes, and a Redis as their referee on port P+400 (needs redis-server in PATH)',
    })
    .option('databases', {
      type: 'string',
      requiresArg: true,
      describe: 'More databases beside app, separated by commas',
    })
    .option('restart', { type: 'boolean', default: false, describe: 'Start again what dies' });
}

export const devCommand: CommandModule = {
  command: 'dev',
  describe: 'Run a whole cluster on this machine: PostgreSQL servers from npm and a gateway for each',
  builder: (command) =>
    withDevOptions(command)
      .command('start', 'Start one node of the cluster, or a part of it', withNodeOptions, async (args) => {
        const cluster = existingClusterFolder(args.data);
        const node = nodeOf(cluster, args.node);
        if (cluster.joining?.layout.node === args.node && cluster.joining.copied === undefined) {
          throw new GatewayError('launcher-failed', `node ${args.node} has no data yet: repeat dev join`);
        }
        const started = await startNode(node, partsOf(args.only as Part | undefined));
        const what = started.length === 0 ? 'everything was running' : `${started.join(' and ')} started`;
        say(`node ${args.node}: ${what}`);
      })
      .command('stop', 'Stop one node of the cluster, or a part of it', withNodeOptions, async (args) => {
        const node = nodeOf(existingClusterFolder(args.data), args.node);
        const stopped = await stopNode(node, partsOf(args.only as Part | undefined));
        const what = stopped.length === 0 ? 'nothing was running' : `${stopped.join(' and ')} stopped`;
        say(`node ${args.node}: ${what}`);
      })
      .command('status', 'Which processes of the cluster run', withStatusOptions, async (args) => {
        const cluster = existingClusterFolder(args.data);
        const states = await Promise.all(allNodes(cluster).map(nodeState));
        if (args.json) say(JSON.stringify({ folder: cluster.folder, nodes: states }, null, 2));
        else for (const state of states) say(stateLine(state));
      })
      .command('join', 'Add a node to a cluster that runs', withJoinOptions, async (args) => {
        await devJoin({ data: args.data, node: args.node, from: args.from });
      })
      .command('drop', 'Take a node out of a cluster that runs', withDropOptions, async (args) => {
        await devDrop({ data: args.data, node: args.node });
      })
      .example('$0 dev', 'three nodes on ports 7001, 7002, 7003; Ctrl-C stops all')
      .example('$0 dev --pg 15,16,18 --data /tmp/mixed --port 7401', 'three versions in one cluster')
      .example(
        '$0 dev --referee',
        'two nodes, of which each may go on alone, with a Redis that decides which',
      )
      .example('$0 dev stop --node 2', 'from another terminal: node 2 goes away')
      .example('$0 dev join', 'a fourth node, with the data of the others, under load')
      .example('$0 dev drop --node 4', 'it is stopped and removed; its folder is kept')
      .example('$0 dev status --json', ''),
  handler: async (args) => {
    await dev(args as unknown as DevArguments);
  },
};
