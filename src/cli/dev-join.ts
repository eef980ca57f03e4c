/**
 * `mtm-gateway dev join`: one node more for an embedded cluster that runs.
 *
 *     number chosen (saved) → mtm.add_node → copy (saved) → server → gateway → online (saved)
 *
 * Rule: every step looks first whether it is done already, so that the command is repeated after any failure;
 * what was added and never came online is taken back by `dev drop`.
 */
import { existsSync, rmSync } from 'node:fs';
import { loadConfig } from '../config/loading.ts';
import { highestAddedId, smallestFreeId } from '../core/generation/configuration.ts';
import { ClusterClient } from '../io/cluster-client.ts';
import {
  existingClusterFolder,
  lockNodes,
  saveDropped,
  saveJoined,
  saveJoining,
  type ClusterFolder,
} from '../io/launcher/cluster-folder.ts';
import { startNode } from '../io/launcher/embedded-cluster.ts';
import {
  gatewayPid,
  gatewayReport,
  isOnline,
  startGatewayProcess,
  writeGatewayConfig,
} from '../io/launcher/gateway-process.ts';
import {
  connectionString,
  embeddedDatabase,
  embeddedHost,
  nodeLayout,
  requireFreePorts,
  type NodeLayout,
} from '../io/launcher/node-layout.ts';
import { makeNodeFolder, postgresPid } from '../io/launcher/postgres-server.ts';
import { lastLines, waitUntil } from '../io/launcher/process-control.ts';
import { formatLsn } from '../io/postgres/lsn-text.ts';
import { removeRestoreSettings } from '../io/recovery/restore-settings.ts';
import { GatewayError } from '../lib/gateway-error.ts';
import { say } from './output.ts';
import { copyServer } from './server-copy.ts';

export interface DevJoinArguments {
  readonly data: string;
  readonly node: number | undefined;
  readonly from: number | undefined;
}

const onlineLimitMs = 3_600_000;

/** Each has nodes of its own: what changes them is said in all. */
export function databasesOf({ moreDatabases }: ClusterFolder): readonly string[] {
  return [embeddedDatabase, ...moreDatabases];
}

/** Asks through the gateway of `node`, in one of the cluster's databases. */
export async function askGateway<T>(
  node: NodeLayout,
  database: string,
  work: (client: ClusterClient) => Promise<T>,
): Promise<T> {
  const login = { user: 'postgres', encrypted: false, password: undefined, database };
  const client = await ClusterClient.open({ host: embeddedHost, port: node.gatewayPort, ...login });
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** A member that is online, `wanted` if that is given. Throws when there is none. */
export async function onlineMember(
  nodes: readonly NodeLayout[],
  wanted: (node: NodeLayout) => boolean,
): Promise<NodeLayout> {
  const candidates = nodes.filter(wanted);
  for (const node of candidates) if (await isOnline(node)) return node;
  const names = candidates.map(({ node }) => node).join(', ');
  const which =
    candidates.length === 0 ? 'there is no node that' : `none of the nodes ${names} is online that`;
  throw new GatewayError('gateway-unreachable', `${which} could be asked`, {
    hint: 'start the cluster: mtm-gateway dev, or dev start --node K',
  });
}

/** The smallest number that neither the cluster nor the folder knows. */
function freeNumber(taken: readonly number[]): number {
  const node = smallestFreeId(taken);
  if (node !== undefined) return node;
  throw new GatewayError('launcher-failed', `a cluster has at most ${highestAddedId} nodes`, {
    hint: 'drop one: mtm-gateway dev drop --node K',
  });
}

async function chooseNode(cluster: ClusterFolder, member: NodeLayout, wished: number | undefined) {
  const known = await askGateway(member, embeddedDatabase, (client) => client.nodes());
  const column = known.columns.indexOf('id');
  const taken = [...known.rows.map((row) => Number(row[column])), ...cluster.nodes.map(({ node }) => node)];
  const node = freeNumber(taken);
  if (wished !== undefined && wished !== node) {
    throw new GatewayError('config-invalid', `--node ${wished}: the next free number is ${node}`);
  }
  const layout = nodeLayout(cluster.folder, cluster.basePort, node, member.major);
  if (existsSync(layout.folder)) {
    throw new GatewayError('launcher-failed', `${layout.folder} exists already`, { hint: 'move it away' });
  }
  await requireFreePorts([layout], ['gateway', 'postgres']);
  return layout;
}

/** The node of this call: the one of an earlier call that did not end, or a new one. */
async function joiningNode(cluster: ClusterFolder, args: DevJoinArguments): Promise<NodeLayout> {
  const former = cluster.joining?.layout;
  if (former !== undefined) {
    if (args.node !== undefined && args.node !== former.node) {
      const text = `node ${former.node} is being added, and that has not ended`;
      const hint = `repeat dev join without --node, or take it back with dev drop --node ${former.node}`;
      throw new GatewayError('launcher-failed', text, { hint });
    }
    say(`node ${former.node}: going on where an earlier dev join has ended`);
    return former;
  }
  if (cluster.referee !== undefined) {
    throw new GatewayError('launcher-failed', 'the cluster has a referee, and with it exactly two nodes');
  }
  const member = await onlineMember(cluster.nodes, ({ node }) => node === (args.from ?? node));
  const layout = await chooseNode(cluster, member, args.node);
  saveJoining(cluster.folder, layout.node, layout.major);
  return layout;
}

/** The id must be the number, for the ports follow from it. */
async function addNode(
  cluster: ClusterFolder,
  member: NodeLayout,
  layout: NodeLayout,
  database: string,
): Promise<void> {
  const address = `host=${embeddedHost} port=${layout.gatewayPort} peer=${embeddedHost}:${layout.peerPort}`;
  await askGateway(member, database, async (client) => {
    const id = await client.addNode(address);
    const where = cluster.moreDatabases.length === 0 ? '' : `, database ${database}`;
    if (id === layout.node) return say(`node ${id} was added (mtm.add_node on node ${member.node}${where})`);
    await client.dropNode(id);
    saveDropped(cluster.folder, layout.node);
    throw new GatewayError('launcher-failed', `the cluster gave the number ${id} instead of ${layout.node}`, {
      hint: 'repeat it: somebody else has added or dropped a node meanwhile',
    });
  });
}

async function copyFrom(cluster: ClusterFolder, layout: NodeLayout, from: NodeLayout): Promise<void> {
  const account = makeNodeFolder(layout);
  // What an earlier call has not finished to write down is of no use to anybody.
  rmSync(layout.dataFolder, { recursive: true, force: true });
  const config = loadConfig({ file: layout.configFile, environment: {}, flags: {} });
  const copy = await copyServer({
    config,
    from: { host: embeddedHost, port: from.peerPort },
    folder: layout.dataFolder,
    owner: account,
  });
  const copied = { source: copy.source, end: formatLsn(copy.end) };
  saveJoining(cluster.folder, layout.node, layout.major, copied);
  say(`node ${layout.node} is a copy of node ${copy.source} at ${copied.end}`);
}

/** Says whatever changes until the node is online; throws when its gateway ends. */
async function untilOnline(layout: NodeLayout): Promise<void> {
  let told = '';
  const settled = async (): Promise<boolean> => {
    const report = await gatewayReport(layout);
    if (report?.ready === true) return true;
    const state = report === undefined || report.reason === '' ? '' : `${report.status}: ${report.reason}`;
    if (state !== '' && state !== told) say(`node ${layout.node} is ${state}`);
    if (state !== '') told = state;
    return gatewayPid(layout) === undefined;
  };
  const ended = await waitUntil(settled, onlineLimitMs);
  if (ended && (await isOnline(layout))) return;
  const what = ended ? 'ended' : 'is not online after an hour';
  const log = lastLines(layout.gatewayLog, 12);
  throw new GatewayError(
    'launcher-failed',
    `the gateway of node ${layout.node} ${what}; the end of ${layout.gatewayLog}:\n${log}`,
    { hint: 'repeat dev join, or take the node back with dev drop' },
  );
}

/** Server, then gateway; whichever runs already is left alone. */
async function startJoined(layout: NodeLayout): Promise<void> {
  if (postgresPid(layout) === undefined) {
    await startNode(layout, ['postgres']);
    say(`node ${layout.node}: PostgreSQL ${layout.major} runs`);
  }
  removeRestoreSettings(layout.dataFolder);
  if (gatewayPid(layout) === undefined) {
    await requireFreePorts([layout], ['gateway']);
    await startGatewayProcess(layout);
  }
  await untilOnline(layout);
}

/** Resolves when the new node is online. */
export async function devJoin(args: DevJoinArguments): Promise<void> {
  const lock = lockNodes(existingClusterFolder(args.data).folder);
  try {
    const cluster = existingClusterFolder(args.data);
    const layout = await joiningNode(cluster, args);
    const copied = existingClusterFolder(args.data).joining?.copied;
    const suits = ({ node, major }: NodeLayout): boolean =>
      node === (args.from ?? node) && major === layout.major;
    const member = await onlineMember(cluster.nodes, suits);
    for (const database of databasesOf(cluster)) await addNode(cluster, member, layout, database);
    makeNodeFolder(layout);
    writeGatewayConfig(layout, { ...cluster, nodes: [...cluster.nodes, layout] });
    if (copied === undefined) await copyFrom(cluster, layout, member);
    await startJoined(layout);
    const end = existingClusterFolder(args.data).joining?.copied?.end;
    for (const database of end === undefined ? [] : databasesOf(cluster))
      await askGateway(member, database, (client) => client.joinNode(layout.node, end!));
    saveJoined(cluster.folder);
    say(`node ${layout.node} is online  ${connectionString(layout)}`);
  } finally {
    lock.release();
  }
}
