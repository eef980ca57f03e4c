/**
 * The directory of an embedded cluster (`--data DIR`): what it was made with, its secret, and who uses it
 * now.
 * Rule: one `mtm-gateway dev` at a time; number of nodes and versions never change once it has data.
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { GatewayError } from '../../lib/gateway-error.ts';
import { clusterLayout, type NodeLayout } from './node-layout.ts';
import { livingPid } from './process-control.ts';
import { refereeLayout, type RefereeLayout } from './referee-process.ts';
import { postgresMajors, type PostgresMajor } from './server-binaries.ts';

const description = z.strictObject({
  pg: z.array(z.literal(postgresMajors)).min(1),
  port: z.number().int(),
  referee: z.boolean().optional(),
});

export interface ClusterFolder {
  /** Absolute. */
  readonly folder: string;
  readonly basePort: number;
  readonly nodes: readonly NodeLayout[];
  readonly secretFile: string;
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
}

const usualNodes = 3;
const usualPort = 7001;
const usualMajor = 18;

function describe(
  folder: string,
  pg: readonly PostgresMajor[],
  basePort: number,
  withReferee: boolean | undefined,
): ClusterFolder {
  const nodes = clusterLayout(folder, basePort, pg);
  const referee = withReferee === true ? refereeLayout(folder, basePort) : undefined;
  return { folder, basePort, nodes, secretFile: join(folder, 'secret'), referee };
}

function readDescription(folder: string): z.output<typeof description> | undefined {
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

function refuseOther(folder: string, wish: ClusterWish, pg: readonly PostgresMajor[]): void {
  const hint = `start it as it was made, or use another directory with --data, or remove ${folder}`;
  if (wish.nodes !== undefined && wish.nodes !== pg.length) {
    throw new GatewayError(
      'launcher-failed',
      `${folder} was made with --nodes ${pg.length}, not ${wish.nodes}`,
      { hint },
    );
  }
  if (wish.pg === undefined) return;
  const wished = wishedMajors({ ...wish, nodes: wish.pg.length > 1 ? undefined : pg.length });
  if (wished.join() === pg.join()) return;
  throw new GatewayError(
    'launcher-failed',
    `${folder} was made with --pg ${pg.join()}, not ${wish.pg.join()}`,
    { hint },
  );
}

/** Makes the directory or finds it as it was; refuses what does not fit it. */
export function openClusterFolder(wish: ClusterWish): ClusterFolder {
  const folder = resolve(wish.folder);
  const known = readDescription(folder);
  // A first start that failed before it had made any data binds nobody.
  const hasData = describe(folder, known?.pg ?? [], usualPort, false).nodes.some((node) =>
    existsSync(node.dataFolder),
  );
  const found = hasData ? known : undefined;
  if (found !== undefined) refuseOther(folder, wish, found.pg);
  const pg = found?.pg ?? wishedMajors(wish);
  const referee = wish.referee ?? found?.referee;
  if (referee === true && pg.length !== 2) {
    throw new GatewayError('config-invalid', `--referee is for two nodes, not ${pg.length}`);
  }
  const basePort = wish.port ?? found?.port ?? usualPort;
  const created = mkdirSync(folder, { recursive: true });
  if (created !== undefined && process.getuid?.() === 0) chmodSync(folder, 0o755);
  const cluster = describe(folder, pg, basePort, referee);
  writeFileSync(join(folder, 'cluster.json'), `${JSON.stringify({ pg, port: basePort, referee })}\n`);
  if (!existsSync(cluster.secretFile)) {
    writeFileSync(cluster.secretFile, `${randomBytes(24).toString('hex')}\n`, { mode: 0o600 });
  }
  return cluster;
}

/** A cluster that exists; for start, stop and status. */
export function existingClusterFolder(path: string): ClusterFolder {
  const folder = resolve(path);
  const found = readDescription(folder);
  if (found !== undefined) return describe(folder, found.pg, found.port, found.referee);
  throw new GatewayError(
    'launcher-failed',
    `${folder} has no cluster: mtm-gateway dev --data ${path} makes one`,
  );
}

/** Takes the directory for this process until it is released. Throws when a running `dev` has it. */
export function lockClusterFolder(path: string): { release(): void } {
  const folder = resolve(path);
  const file = join(folder, 'dev.pid');
  mkdirSync(folder, { recursive: true });
  const holder = livingPid(file, ' dev');
  if (holder !== undefined && holder !== process.pid) {
    throw new GatewayError(
      'launcher-failed',
      `${folder} is in use by another mtm-gateway dev (pid ${holder})`,
      {
        hint: 'stop it, or use another directory with --data',
      },
    );
  }
  rmSync(file, { force: true });
  try {
    writeFileSync(file, `${process.pid}\n`, { flag: 'wx' });
  } catch (cause) {
    throw new GatewayError('launcher-failed', `${folder} was just taken by another mtm-gateway dev`, {
      cause,
    });
  }
  return { release: () => rmSync(file, { force: true }) };
}
