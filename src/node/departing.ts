/**
 * `mtm-gateway prepare-upgrade`: the node of each database leaves the server, for one of another major
 * version (io/store/departure.ts).
 * Rule: nothing is left behind that only this process knows; broken off at any place it can be begun again,
 * or undone.
 */
import type { Logger } from 'pino';
import { HttpServer } from '../admin/http-server.ts';
import { configsByDatabase } from '../config/databases.ts';
import type { GatewayConfig } from '../config/schema.ts';
import type { Gid } from '../core/identity.ts';
import { GatewayError } from '../lib/gateway-error.ts';
import { loadClassifier } from '../io/parser.ts';
import { openOwnClient } from '../io/postgres/own-client.ts';
import { depart, dropSlots, readDeparture, undoDeparture } from '../io/store/departure.ts';
import { DepartureDesk } from './departure-desk.ts';
import { newPeerPort } from './gateway.ts';
import { healthOf } from './gateway-health.ts';
import { GatewayReport } from './gateway-report.ts';
import { NodeKeeper } from './node-keeper.ts';
import { NodeTelemetry } from '../telemetry/node-telemetry.ts';
import { RefusalTally } from '../telemetry/refusal-tally.ts';

export interface DepartureWish {
  /** Rows are counted: the next server gets a dump. */
  readonly counted: boolean;
  /** How long the others may take to be online without this node, ms. */
  readonly waitMs: number;
  readonly say: (line: string) => void;
}

interface DepartingNode {
  readonly config: GatewayConfig;
  readonly keeper: NodeKeeper;
  readonly desk: DepartureDesk;
}

const lookMs = 100;

/** Resolves when the node has left its server. Throws upgrade-refused and others. */
export async function departFromServer(
  config: GatewayConfig,
  log: Logger,
  wish: DepartureWish,
): Promise<void> {
  const all = configsByDatabase(config);
  const left: GatewayConfig[] = [];
  for (const each of all) if (await hasDeparted(each)) left.push(each);
  const staying = all.filter((each) => !left.includes(each));
  const peerPort = all.length === 1 ? undefined : newPeerPort(config, all, log);
  const nodes: DepartingNode[] = [];
  const outside = { on: false };
  for (const each of staying) {
    const desk = new DepartureDesk();
    const logOfIt = all.length === 1 ? log : log.child({ database: each.postgres.database });
    const classifier = await loadClassifier();
    const telemetry = new NodeTelemetry(logOfIt, performance.now());
    const pauses = { own: { on: false }, outside };
    const parts = { config: each, log: logOfIt, telemetry, classifier, peerPort, departure: desk, pauses };
    const keeper = new NodeKeeper(parts);
    nodes.push({ config: each, keeper, desk });
  }
  // The port also tells whether the gateway still runs: then nothing was touched yet.
  const keepers = new Map(nodes.map((one) => [one.config.postgres.database, one.keeper]));
  const report = new GatewayReport(config, keepers, new RefusalTally(), () => 0);
  const http = new HttpServer({ health: () => healthOf(keepers), report: () => report.source }, log);
  await http.listen(config.http.host, config.http.port).catch(gatewayRuns);
  try {
    await peerPort?.listen(config.peerListen.host, config.peerListen.port);
    await leaveAll(nodes, wish);
  } finally {
    for (const { desk } of nodes) desk.end();
    await Promise.all(nodes.map(({ keeper }) => keeper.abandon()));
    peerPort?.close();
    http.close();
  }
}

function gatewayRuns(error: unknown): never {
  if (!(error instanceof GatewayError) || error.code !== 'address-in-use') throw error;
  throw new GatewayError('upgrade-refused', `the gateway of this node still runs (${error.message})`, {
    hint: 'stop it first (SIGTERM), so that its clients end in good order',
  });
}

async function leaveAll(
  nodes: readonly DepartingNode[],
  { counted, waitMs, say }: DepartureWish,
): Promise<void> {
  const begin = performance.now();
  for (const { keeper } of nodes) await keeper.start();
  for (const { config, keeper, desk } of nodes) {
    const { database } = config.postgres;
    const gids = await departed(keeper, desk, database, begin + waitMs);
    await keeper.stop();
    say(`database ${database}: the others go on without this node` + (counted ? '; counting rows' : ''));
    await depart(config.postgres, { holder: keeper.holder, gids, counted });
  }
}

async function departed(
  keeper: NodeKeeper,
  desk: DepartureDesk,
  database: string,
  deadline: number,
): Promise<readonly Gid[]> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setInterval(() => {
      const now = performance.now();
      if (now < deadline) return;
      const why = desk.obstacle(now) || 'it takes too long';
      const text = `database ${database} cannot leave its server: ${why}`;
      const hint =
        'start the nodes that are missing and wait until all are online; start this gateway again meanwhile';
      reject(new GatewayError('upgrade-refused', text, { hint }));
    }, lookMs);
  });
  try {
    return await Promise.race([desk.departed, late, keeper.node!.failed]);
  } finally {
    clearInterval(timer);
  }
}

/** What may be left to do of a departure is done. */
async function hasDeparted(config: GatewayConfig): Promise<boolean> {
  const client = await openOwnClient(config.postgres, 'mtm_store');
  try {
    const departure = await readDeparture(client);
    if (departure === undefined || departure.undone) return false;
    await dropSlots(client, config.postgres);
    return true;
  } finally {
    await client.end();
  }
}

/** The node stays on its server. Returns the databases of which the departure was taken back. */
export async function stayOnServer(config: GatewayConfig): Promise<readonly string[]> {
  const undone: string[] = [];
  for (const { postgres } of configsByDatabase(config)) {
    const client = await openOwnClient(postgres, 'mtm_store');
    try {
      if ((await readDeparture(client))?.undone !== false) continue;
      await undoDeparture(client);
      undone.push(postgres.database);
    } finally {
      await client.end();
    }
  }
  return undone;
}
