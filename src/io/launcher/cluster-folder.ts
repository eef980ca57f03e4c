/**
 * The directory of an embedded cluster (`--data DIR`): which nodes it has, its secret, and who uses it now.
 * Rule: one `mtm-gateway dev` at a time, and one command that changes its nodes; number and versions of the
 * nodes change by `dev join` and `dev drop` only, once the cluster has data.
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { highestAddedId } from '../../core/generation/configuration.ts';
import { GatewayError } from '../../lib/gateway-error.ts';
import { nodeLayout, type NodeLayout } from './node-layout.ts';
import { livingPid } from './process-control.ts';
import { refereeLayout, type RefereeLayout } from './referee-process.ts';
import { postgresMajors, type PostgresMajor } from './server-binaries.ts';

const copied = z.strictObject({ source: z.number().int(), end: z.string() });

const nodeDescription = z.strictObject({
  node: z.number().int().min(1).max(highestAddedId),
  pg: z.literal(postgresMajors),
  /** At run time: the cluster itself knows at which ports. */
  added: z.literal(true).optional(),
});

const joiningDescription = nodeDescription.extend({ copied: copied.optional() });

const currentDescription = z.strictObject({
  port: z.number().int(),
  referee: z.boolean().optional(),
  databases: z.array(z.string()).optional(),
  nodes: z.array(nodeDescription).min(1),
  joining: joiningDescription.optional(),
});

/** As it was written before nodes could come and go: the versions of nodes 1, 2, 3 … */
const formerDescription = z
  .strictObject({
    pg: z.array(z.literal(postgresMajors)).min(1),
    port: z.number().int(),
    referee: z.boolean().optional(),
  })
  .transform(({ pg, ...rest }) => ({
    ...rest,
    nodes: pg.map((major, index) => ({ node: index + 1, pg: major })),
  }));

const description = z.union([currentDescription, formerDescription]);

type Description = z.output<typeof currentDescription>;

/** A node that `dev join` adds and that is not online yet. */
export interface JoiningNode {
  readonly layout: NodeLayout;
  /** Its server is a copy of that node's, and where the copy ends; undefined: not copied yet. */
  readonly copied: { readonly source: number; readonly end: string } | undefined;
}

export interface ClusterFolder {
  /** Absolute. */
  readonly folder: string;
  readonly basePort: number;
  /** By number; numbers may be missing. */
  readonly nodes: readonly NodeLayout[];
  readonly joining: JoiningNode | undefined;
  readonly secretFile: string;
  /** Beside the first one, which every cluster has. */
  readonly moreDatabases: readonly string[];
  /** Only with two nodes. */
  readonly referee: RefereeLayout | undefined;
}

/** What the user asked for; undefined is "as it was, or the usual". */
export interface ClusterWish {
  readonly folder: string;
  readonly nodes: number | undefined;
  readonly pg: readonly PostgresMajor[] | undefined;
  readonly port: number | undefined;
  /** Two nodes and a referee. */
  readonly referee?: boolean | undefined;
  /** Databases beside the first one; they are added to those that there are. */
  readonly databases?: readonly string[] | undefined;
}

const usualNodes = 3;
const usualPort = 7001;
const usualMajor = 18;

function describe(folder: string, value: Description): ClusterFolder {
  const { port, referee, nodes, joining, databases = [] } = value;
  const layout = ({ node, pg }: { node: number; pg: PostgresMajor }) => nodeLayout(folder, port, node, pg);
  return {
    folder,
    basePort: port,
    nodes: nodes.map(layout),
    joining: joining === undefined ? undefined : { layout: layout(joining), copied: joining.copied },
    secretFile: join(folder, 'secret'),
    moreDatabases: databases,
    referee: referee === true ? refereeLayout(folder, port) : undefined,
  };
}

function readDescription(folder: string): Description | undefined {
  const file = join(folder, 'cluster.json');
  if (!existsSync(file)) return undefined;
  try {
    return description.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch (cause) {
    throw new GatewayError('launcher-failed', `${file} is damaged`, {
      cause,
      hint: 'use another directory with --data',
    });
  }
}

function writeDescription(folder: string, value: Description): void {
  const file = join(folder, 'cluster.json');
  writeFileSync(`${file}.new`, `${JSON.stringify(value)}\n`, { flush: true });
  renameSync(`${file}.new`, file);
}

function wishedMajors(wish: ClusterWish): PostgresMajor[] {
  const given = wish.pg ?? [usualMajor];
  const usual = wish.referee === true ? 2 : usualNodes;
  const count = wish.nodes ?? (given.length > 1 ? given.length : usual);
  if (given.length !== 1 && given.length !== count) {
    throw new GatewayError(
      'config-invalid',
      `--pg names ${given.length} versions for ${count} nodes: give one, or one for each`,
    );
  }
  return Array.from({ length: count }, (_, index) => given[index] ?? given[0] ?? usualMajor);
}

function refuseOther(folder: string, wish: ClusterWish, { nodes, joining, port }: Description): void {
  const hint = `start it as it is, or use another directory with --data, or remove ${folder}`;
  if (wish.nodes !== undefined && wish.nodes !== nodes.length) {
    const numbers = nodes.map(({ node }) => node).join(', ');
    const text = `${folder} has ${nodes.length} nodes (${numbers}), not ${wish.nodes}`;
    throw new GatewayError('launcher-failed', text, {
      hint: `${hint}; dev join and dev drop change its nodes`,
    });
  }
  const added = joining !== undefined || nodes.some((node) => node.added);
  if (wish.port !== undefined && wish.port !== port && added) {
    const text = `${folder} has nodes that were added at --port ${port}, which cannot change any more`;
    throw new GatewayError('launcher-failed', text, { hint });
  }
  if (wish.pg === undefined) return;
  const wished = wishedMajors({ ...wish, nodes: wish.pg.length > 1 ? undefined : nodes.length });
  const majors = nodes.map(({ pg }) => pg).join();
  if (wished.join() === majors) return;
  throw new GatewayError('launcher-failed', `${folder} was made with --pg ${majors}, not ${wish.pg.join()}`, {
    hint,
  });
}

/** A first start that failed before it had made any data binds nobody. */
function hasData(folder: string, value: Description): boolean {
  return describe(folder, value).nodes.some((node) => existsSync(node.dataFolder));
}

/** Makes the directory or finds it as it was; refuses what does not fit it. */
export function openClusterFolder(wish: ClusterWish): ClusterFolder {
  const folder = resolve(wish.folder);
  const known = readDescription(folder);
  const found = known !== undefined && hasData(folder, known) ? known : undefined;
  if (found !== undefined) refuseOther(folder, wish, found);
  const nodes = found?.nodes ?? wishedMajors(wish).map((pg, index) => ({ node: index + 1, pg }));
  const referee = wish.referee ?? found?.referee;
  if (referee === true && nodes.length !== 2) {
    throw new GatewayError('config-invalid', `--referee is for two nodes, not ${nodes.length}`);
  }
  const port = wish.port ?? found?.port ?? usualPort;
  const created = mkdirSync(folder, { recursive: true });
  if (created !== undefined && process.getuid?.() === 0) chmodSync(folder, 0o755);
  const databases = [...new Set([...(found?.databases ?? []), ...(wish.databases ?? [])])];
  const value: Description = { port, referee, databases, nodes, joining: found?.joining };
  const cluster = describe(folder, value);
  writeDescription(folder, value);
  if (!existsSync(cluster.secretFile)) {
    writeFileSync(cluster.secretFile, `${randomBytes(24).toString('hex')}\n`, { mode: 0o600 });
  }
  return cluster;
}

function existing(path: string): { readonly folder: string; readonly value: Description } {
  const folder = resolve(path);
  const value = readDescription(folder);
  if (value !== undefined) return { folder, value };
  throw new GatewayError(
    'launcher-failed',
    `${folder} has no cluster: mtm-gateway dev --data ${path} makes one`,
  );
}

/** A cluster that exists; for everything but making and starting it. */
export function existingClusterFolder(path: string): ClusterFolder {
  const { folder, value } = existing(path);
  return describe(folder, value);
}

/** Node `node` is being added: its number and its ports are taken. Again, once its server was `copied`. */
export function saveJoining(
  path: string,
  node: number,
  pg: PostgresMajor,
  copiedFrom?: { readonly source: number; readonly end: string },
): ClusterFolder {
  const { folder, value } = existing(path);
  const next = { ...value, joining: { node, pg, copied: copiedFrom } };
  writeDescription(folder, next);
  return describe(folder, next);
}

/** The node that was being added is a node of the cluster. */
export function saveJoined(path: string): ClusterFolder {
  const { folder, value } = existing(path);
  const { joining, ...rest } = value;
  if (joining === undefined) return describe(folder, value);
  const joined = { node: joining.node, pg: joining.pg, added: true } as const;
  const nodes = [...rest.nodes, joined].sort((a, b) => a.node - b.node);
  const next = { ...rest, nodes };
  writeDescription(folder, next);
  return describe(folder, next);
}

/** The node, or the one that was being added, is none of the cluster any more. Its folder stays. */
export function saveDropped(path: string, node: number): ClusterFolder {
  const { folder, value } = existing(path);
  const nodes = value.nodes.filter((one) => one.node !== node);
  const joining = value.joining?.node === node ? undefined : value.joining;
  const next = { ...value, nodes, joining, referee: nodes.length === 2 ? value.referee : undefined };
  writeDescription(folder, next);
  return describe(folder, next);
}

/** Takes the directory for this process until it is released. Throws when a running `dev` has it. */
export function lockClusterFolder(path: string): { release(): void } {
  return takeFile(path, 'dev.pid', ' dev', 'mtm-gateway dev');
}

/** The same for commands that change which nodes there are; `dev` itself may run meanwhile. */
export function lockNodes(path: string): { release(): void } {
  return takeFile(path, 'nodes.pid', ' dev ', 'mtm-gateway dev join or drop');
}

function takeFile(path: string, name: string, mark: string, who: string): { release(): void } {
  const folder = resolve(path);
  const file = join(folder, name);
  mkdirSync(folder, { recursive: true });
  const holder = livingPid(file, mark);
  if (holder !== undefined && holder !== process.pid) {
    throw new GatewayError('launcher-failed', `${folder} is in use by another ${who} (pid ${holder})`, {
      hint: 'stop it, or use another directory with --data',
    });
  }
  rmSync(file, { force: true });
  try {
    writeFileSync(file, `${process.pid}\n`, { flag: 'wx' });
  } catch (cause) {
    throw new GatewayError('launcher-failed', `${folder} was just taken by another ${who}`, { cause });
  }
  return { release: () => rmSync(file, { force: true }) };
}
