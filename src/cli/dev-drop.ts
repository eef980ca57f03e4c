/**
 * `mtm-gateway dev drop`: takes a node out of an embedded cluster that runs, or back one that was being
 * added.
 * Rule: its folder is renamed and stays; each step looks first whether it is done already.
 */
import { existsSync, renameSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { existingClusterFolder, lockNodes, saveDropped } from '../io/launcher/cluster-folder.ts';
import { bothParts, stopNode } from '../io/launcher/embedded-cluster.ts';
import type { NodeLayout } from '../io/launcher/node-layout.ts';
import { GatewayError } from '../lib/gateway-error.ts';
import { askGateway, databasesOf, onlineMember } from './dev-join.ts';
import { nodeOf } from './dev-nodes.ts';
import { say, sayRemarks } from './output.ts';

export interface DevDropArguments {
  readonly data: string;
  readonly node: number;
}

/** The others take a moment to notice that the node is gone. */
const noticeLimitMs = 20_000;
const againMs = 200;
/** Still in contact; or no election without it has come about yet. */
const passing = ['55006', '57P03'];

async function dropNode(member: NodeLayout, database: string, node: number): Promise<string[]> {
  const deadline = performance.now() + noticeLimitMs;
  for (;;) {
    try {
      return await askGateway(member, database, (client) => client.dropNode(node));
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error;
      if (!passing.includes(error.sqlstate) || performance.now() > deadline) throw notDropped(error, node);
      await pause(againMs);
    }
  }
}

/** Of two nodes none can be dropped: what decides is a majority of those there were. */
function notDropped(cause: GatewayError, node: number): GatewayError {
  const { sqlstate } = cause;
  const hint = `a majority of the nodes must be online without it; dev start --node ${node} brings it back`;
  return new GatewayError(cause.code, `node ${node} was not dropped: ${cause.message}`, {
    cause,
    sqlstate,
    hint,
  });
}

/** node4.removed-20261122T034512 */
function nameOfRemoved(folder: string): string {
  const now = new Date().toISOString().replace(/[-:]|\..*/g, '');
  return `${folder}.removed-${now}`;
}

/** Resolves when the other nodes have chosen a record without it. */
export async function devDrop(args: DevDropArguments): Promise<void> {
  const lock = lockNodes(existingClusterFolder(args.data).folder);
  try {
    const cluster = existingClusterFolder(args.data);
    const layout = nodeOf(cluster, args.node);
    const member = await onlineMember(cluster.nodes, ({ node }) => node !== args.node);
    const stopped = await stopNode(layout, bothParts);
    if (stopped.length > 0) say(`node ${args.node}: ${stopped.join(' and ')} stopped`);
    for (const database of databasesOf(cluster)) {
      const remarks = await dropNode(member, database, args.node);
      sayRemarks(remarks);
    }
    saveDropped(cluster.folder, args.node);
    if (!existsSync(layout.folder)) return say(`node ${args.node} was removed`);
    const kept = nameOfRemoved(layout.folder);
    renameSync(layout.folder, kept);
    say(`node ${args.node} was removed; its data are kept in ${kept}`);
  } finally {
    lock.release();
  }
}
