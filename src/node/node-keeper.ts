/**
 * Keeps the node of one database running: checks the server, takes it over and runs the node. When the server
 * or a connection to it is lost, the node ends and begins anew with a higher incarnation once the server
 * answers: nothing that was remembered is trusted (architecture §3).
 */
import type { Logger } from 'pino';
import type { GatewayConfig } from '../config/schema.ts';
import { shownSettings } from '../config/settings.ts';
import { GatewayError } from '../lib/gateway-error.ts';
import type { Reception } from '../io/clients/arrival.ts';
import type { SharedPort } from '../io/peers/peer-listener.ts';
import { checkServer, connectForCheck, requireSuitable } from '../io/postgres-check.ts';
import { Control, type Holding } from '../io/postgres/control.ts';
import { adoptObjects, ensureSlots, installSchema, verifySensors } from '../io/postgres/schema-installer.ts';
import { slotNames } from '../io/postgres/slot-names.ts';
import {
  arrive,
  checkArrival,
  findPlaces,
  loadPredecessors,
  outnumber,
  readDeparture,
} from '../io/store/departure.ts';
import { NodeStore } from '../io/store/node-store.ts';
import { readHistory } from '../io/store/history-reader.ts';
import { RetainedSlot } from '../io/store/retained-slot.ts';
import { becomeNode, loadSeed, rollBackCopied, type Seed } from '../io/store/seed.ts';
import { loadPeerPositions, readPosition, type ServerPosition } from '../io/store/server-position.ts';
import type { Gid } from '../core/identity.ts';
import type { Classifier } from '../core/statement/classifier.ts';
import type { NodeTelemetry } from '../telemetry/node-telemetry.ts';
import type { DepartureDesk } from './departure-desk.ts';
import { newHolding, orSuperseded, superseded } from './hold.ts';
import { configuredNodes } from './machine-options.ts';
import { Node } from './node.ts';
import type { PauseFlags } from './pause-switch.ts';
import { headerProof, headerVerifier } from './header-proof.ts';

export interface NodeSurroundings {
  readonly config: GatewayConfig;
  readonly log: Logger;
  readonly telemetry: NodeTelemetry;
  readonly classifier: Classifier;
  /** Undefined when the node has the peer port for itself. */
  readonly peerPort: SharedPort | undefined;
  /** They outlive a node that begins anew. */
  readonly pauses: PauseFlags;
  /** Given when the node is to leave its server. */
  readonly departure?: DepartureDesk;
}

const retryMs = 500;

export class NodeKeeper {
  readonly #surroundings: NodeSurroundings;
  readonly #holding = newHolding();
  #node: Node | undefined;
  #stopping = false;

  constructor(surroundings: NodeSurroundings) {
    this.#surroundings = surroundings;
  }

  /** The node that runs; while the server is away the one that has ended. */
  get node(): Node | undefined {
    return this.#node;
  }

  /** By which the server knows this process. */
  get holder(): string {
    return this.#holding.holder;
  }

  get telemetry(): NodeTelemetry {
    return this.#surroundings.telemetry;
  }

  get config(): GatewayConfig {
    return this.#surroundings.config;
  }

  get pauses(): PauseFlags {
    return this.#surroundings.pauses;
  }

  /** What functions of the server ask. Rejects with a GatewayError. */
  async writeAdminRole(adminRole: string): Promise<void> {
    const client = await connectForCheck(this.config.postgres, this.config.connectTimeoutMs);
    try {
      await client.query('UPDATE mtm.node SET admin_role = $1', [adminRole]);
    } catch (error) {
      throw asGatewayError(error, this.config, undefined);
    } finally {
      await client.end();
    }
  }

  /** Its configuration has other values now. */
  reconfigured(): void {
    const { desk, members, machine } = this.#node ?? {};
    desk?.reconfigured(shownSettings(this.config));
    if (machine !== undefined) members?.configure(machine.configuration);
  }

  /** Resolves when the node runs. Rejects with a GatewayError: one clear sentence. */
  async start(): Promise<void> {
    this.#node = await startNode(this.#surroundings, this.#holding);
  }

  /** Resolves when the keeper was stopped; rejects with a GatewayError when the node cannot go on. */
  async run(): Promise<void> {
    while (!this.#stopping) {
      await watch(this.#node!, this.#surroundings);
      if (this.#stopping) return;
      this.#node = (await this.#restart()) ?? this.#node;
    }
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#node?.stop();
  }

  async abandon(): Promise<void> {
    this.#stopping = true;
    await this.#node?.abandon();
  }

  /** `outside`: the client wants a database that the cluster does not replicate. */
  reception(outside?: string): Reception {
    return this.#node?.reception(outside) ?? starting;
  }

  async #restart(): Promise<Node | undefined> {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, retryMs));
      if (this.#stopping) return undefined;
      try {
        return await startNode(this.#surroundings, this.#holding);
      } catch (error) {
        if (!(error instanceof GatewayError) || !error.retryable) throw error;
        this.#surroundings.log.warn({ reason: error.message }, 'the server is not back yet');
      }
    }
  }
}

const starting = {
  severity: 'FATAL',
  sqlstate: '57P03',
  message: '[multimaster] the gateway is starting',
} as const;

/** Resolves when the node has failed and is stopped. */
async function watch(node: Node, { telemetry }: NodeSurroundings): Promise<void> {
  try {
    await node.failed;
  } catch (error) {
    await node.abandon();
    if (error instanceof GatewayError && !error.retryable) throw error;
    const message = 'the node ends its part and starts anew';
    const text = `${message}: ${(error as Error).message}`;
    telemetry.tally.restarts++;
    telemetry.chronicle.tell('error', 'node-restart', text, message, { err: error });
  }
}

async function startNode(surroundings: NodeSurroundings, holding: Holding): Promise<Node> {
  const { config } = surroundings;
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
    const arrival = await arrivalAt(control.client, config, positionAtStart);
    if (arrival !== undefined) await outnumber(control.client);
    if (!(await control.claim(holding))) throw superseded(config);
    await control.endSessions(config.adminRole);
    const seed = await equip(control, config, positionAtStart);
    const takeOver = await control.takeOver(holding, config.adminRole);
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
      ...surroundings,
      control,
      observer,
      probe,
      takeOver,
      store,
      seed,
      slot: await RetainedSlot.load(() => observer.client, slotNames(config.postgres).retained),
      positionAtStart,
      peerPositions: await loadPeerPositions(observer.client),
      predecessors: await loadPredecessors(observer.client),
      departure: surroundings.departure,
      committed,
      empty,
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
  const { nodeId: myId, clusterName, adminRole, ignoreTablesWithoutPk, replicatePgNotify } = config;
  const slots = slotNames(config.postgres);
  const arrival = await arrivalAt(client, config, position);
  await installSchema(client, {
    myId,
    highestNode: configuredNodes(config).at(-1)!,
    clusterName,
    adminRole,
    replicatePgNotify,
    ignoreTablesWithoutPk,
    timeline: position.timeline,
    become: (connection) => becomeNode(connection, { myId, position }),
  });
  const seed = await loadSeed(client);
  if (seed?.done === false) {
    await rollBackCopied(client);
    await adoptObjects(client);
  }
  if (arrival?.kind === 'restored') await findPlaces(client);
  if (arrival !== undefined) await adoptObjects(client);
  await ensureSlots(client, slots);
  if (arrival !== undefined) {
    await arrive(config.postgres, arrival, (gid) => headerProof(config.clusterSecret, gid));
  }
  const missing = await verifySensors(client, slots);
  if (missing.length === 0) return seed;
  throw new GatewayError('server-unsuitable', `sensors are missing in the database: ${missing.join('; ')}`);
}

/** The server is the one that an upgrade has made, or is to be used again. Throws upgrade-refused. */
async function arrivalAt(client: Control['client'], config: GatewayConfig, position: ServerPosition) {
  const departure = await readDeparture(client);
  return departure && checkArrival(client, departure, { myId: config.nodeId, position });
}

async function requireServer(config: GatewayConfig): Promise<void> {
  const client = await connectForCheck(config.postgres, config.connectTimeoutMs);
  try {
    const needs = {
      nodes: config.peers.length + 1,
      databases: config.moreDatabases.length + 1,
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
