/**
 * `startGateway`: checks the server, takes it over and runs the node. When the server or a connection to it
 * is lost, the node ends
 * and begins anew with a higher incarnation once the server answers: nothing that was remembered is trusted
 * (architecture §3).
 */
import type { Logger } from 'pino';
import { HttpServer } from '../admin/http-server.ts';
import type { GatewayConfig } from '../config/schema.ts';
import { shownSettings } from '../config/settings.ts';
import { GatewayError } from '../lib/gateway-error.ts';
import { ClientListener } from '../io/clients/client-listener.ts';
import { loadClassifier } from '../io/parser.ts';
import { checkServer, connectForCheck, requireSuitable } from '../io/postgres-check.ts';
import { Control, type Holding } from '../io/postgres/control.ts';
import { adoptObjects, ensureSlots, installSchema, verifySensors } from '../io/postgres/schema-installer.ts';
import { NodeStore } from '../io/store/node-store.ts';
import { readHistory } from '../io/store/history-reader.ts';
import { RetainedSlot } from '../io/store/retained-slot.ts';
import { becomeNode, loadSeed, rollBackCopied, type Seed } from '../io/store/seed.ts';
import { loadPeerPositions, readPosition, type ServerPosition } from '../io/store/server-position.ts';
import type { Gid } from '../core/identity.ts';
import { newHolding, orSuperseded, superseded } from './hold.ts';
import { configuredNodes } from './machine-options.ts';
import { Node } from './node.ts';
import { headerVerifier } from './header-proof.ts';

export interface RunningGateway {
  /** Ends sessions, links and connections in good order. */
  stop(): Promise<void>;
  /** Settled when the gateway has ended; rejects with a GatewayError when it had to. */
  readonly done: Promise<void>;
}

const retryMs = 500;

/** Resolves when the gateway listens. Rejects with a GatewayError: one clear sentence. */
export async function startGateway(config: GatewayConfig, log: Logger): Promise<RunningGateway> {
  let node: Node | undefined;
  let stopping = false;
  const holding = newHolding();
  const http = new HttpServer(() => node);
  await http.listen(config.http.host, config.http.port);
  let listener: ClientListener;
  try {
    const first = await startNode(config, log, holding);
    // Open as long as the gateway runs: while the server is away, clients are told so.
    listener = new ClientListener(() => (node ?? first).reception);
    await listenForClients(listener, first, config);
    node = first;
  } catch (error) {
    http.close();
    throw error;
  }
  const run = async (): Promise<void> => {
    while (!stopping) {
      await watch(node!, log);
      if (stopping) return;
      node = await restart(config, log, holding, () => stopping);
    }
  };
  const done = run().finally(() => {
    listener.close();
    http.close();
  });
  return {
    stop: async () => {
      stopping = true;
      listener.close();
      await node?.stop();
      http.close();
    },
    done,
  };
}

async function listenForClients(listener: ClientListener, node: Node, config: GatewayConfig): Promise<void> {
  try {
    await listener.listen(config.listen.host, config.listen.port);
  } catch (error) {
    await node.abandon();
    throw error;
  }
}

/** Resolves when the node has failed and is stopped. */
async function watch(node: Node, log: Logger): Promise<void> {
  try {
    await node.failed;
  } catch (error) {
    await node.abandon();
    if (error instanceof GatewayError && !error.retryable) throw error;
    log.error({ err: error }, 'the node ends its part and starts anew');
  }
}

async function restart(
  config: GatewayConfig,
  log: Logger,
  holding: Holding,
  stopped: () => boolean,
): Promise<Node | undefined> {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, retryMs));
    if (stopped()) return undefined;
    try {
      return await startNode(config, log, holding);
    } catch (error) {
      if (!(error instanceof GatewayError) || !error.retryable) throw error;
      log.warn({ reason: error.message }, 'the server is not back yet');
    }
  }
}

async function startNode(config: GatewayConfig, log: Logger, holding: Holding): Promise<Node> {
  await requireServer(config);
  let node: Node | undefined;
  let lost: string | undefined;
  const onLost = (reason: string): void => {
    lost = reason;
    node?.controlLost(reason);
  };
  // Until the node has them they are closed here, whatever fails.
  const opened: { close(): Promise<void> }[] = [];
  const open = async (): Promise<Control> => {
    const connection = await Control.open(config.postgres, onLost);
    opened.push(connection);
    return connection;
  };
  const control = await open();
  try {
    const positionAtStart = await readPosition(control.client);
    if (!(await control.claim(holding))) throw superseded(config);
    await control.endSessions();
    const seed = await equip(control, config, positionAtStart);
    const takeOver = await control.takeOver(holding);
    if (takeOver === undefined) throw superseded(config);
    const observer = await open();
    const probe = await open();
    const store = await NodeStore.open(config.postgres, onLost);
    opened.push(store);
    const committed: Gid[] = [];
    const empty: Gid[] = [];
    const verify = headerVerifier(config.clusterSecret);
    await readHistory(config.postgres, verify, (gid, isEmpty) => (isEmpty ? empty : committed).push(gid));
    node = new Node({
      config,
      log,
      control,
      observer,
      probe,
      takeOver,
      store,
      seed,
      slot: await RetainedSlot.load(() => observer.client),
      positionAtStart,
      peerPositions: await loadPeerPositions(observer.client),
      committed,
      empty,
      classifier: await loadClassifier(),
      announceKey: await control.announceKey(),
      shownSettings: shownSettings(config),
    });
    if (lost !== undefined) node.controlLost(lost);
    await node.start();
    return node;
  } catch (error) {
    if (node !== undefined) await node.abandon();
    else await Promise.allSettled(opened.map((each) => each.close()));
    throw await orSuperseded(asGatewayError(error, config, lost), config, holding);
  }
}

/** Everything that the gateway needs inside the server is there afterwards. */
async function equip(
  { client }: Control,
  config: GatewayConfig,
  position: ServerPosition,
): Promise<Seed | undefined> {
  const { nodeId: myId, clusterName, adminRole, replicatePgNotify } = config;
  await installSchema(client, {
    myId,
    highestNode: configuredNodes(config).at(-1)!,
    clusterName,
    adminRole,
    replicatePgNotify,
    timeline: position.timeline,
    become: (connection) => becomeNode(connection, { myId, position }),
  });
  const seed = await loadSeed(client);
  if (seed?.done === false) {
    await rollBackCopied(client);
    await adoptObjects(client);
  }
  await ensureSlots(client);
  const missing = await verifySensors(client);
  if (missing.length === 0) return seed;
  throw new GatewayError('server-unsuitable', `sensors are missing in the database: ${missing.join('; ')}`);
}

async function requireServer(config: GatewayConfig): Promise<void> {
  const client = await connectForCheck(config.postgres, config.connectTimeoutMs);
  try {
    const needs = {
      nodes: config.peers.length + 1,
      maxWorkers: config.maxWorkers,
      maxConnections: config.maxConnections,
    };
    requireSuitable(await checkServer(client, needs));
  } catch (error) {
    // Another gateway that starts ends all sessions, this one too.
    throw asGatewayError(error, config, undefined);
  } finally {
    await client.end();
  }
}

function asGatewayError(error: unknown, config: GatewayConfig, lost: string | undefined): unknown {
  if (error instanceof GatewayError) return error;
  const { code, message } = error as { code?: unknown; message: string };
  // Without a code and with all connections alive it is our own bug: it keeps its stack.
  if (typeof code !== 'string' && lost === undefined) return error;
  const where = `${config.postgres.host}:${config.postgres.port}`;
  return new GatewayError(
    'server-lost',
    `PostgreSQL at ${where} failed while the gateway started: ${message}`,
    {
      cause: error,
    },
  );
}
