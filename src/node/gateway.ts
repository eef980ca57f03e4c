/**
 * `startGateway`: the ports of a gateway, and behind them one node for each database (config/databases.ts).
 * Rule: a connection is told by its startup packet which database it wants; what is of all databases (ports,
 * the end of the process) is here, everything else with the nodes.
 */
import type { Logger } from 'pino';
import { HttpServer } from '../admin/http-server.ts';
import { configsByDatabase, consoleDatabase } from '../config/databases.ts';
import type { LoadedSettings } from '../config/loading.ts';
import type { GatewayConfig } from '../config/schema.ts';
import type { Reception } from '../io/clients/arrival.ts';
import { ClientEncryption } from '../io/clients/client-encryption.ts';
import { ClientListener } from '../io/clients/client-listener.ts';
import type { SessionServices } from '../io/clients/session-services.ts';
import { ownSessions } from '../io/wire/own-sessions.ts';
import { loadClassifier } from '../io/parser.ts';
import { PeerPort } from '../io/peers/peer-port.ts';
import { RefusalLog } from '../io/peers/refusal-log.ts';
import { LogLevel } from '../telemetry/log-level.ts';
import { ConsoleDesk } from './console-desk.ts';
import { healthOf } from './gateway-health.ts';
import { NodeTelemetry } from '../telemetry/node-telemetry.ts';
import { RefusalTally } from '../telemetry/refusal-tally.ts';
import { GatewayReport } from './gateway-report.ts';
import { NodeKeeper } from './node-keeper.ts';
import { Reloader } from './reloader.ts';

export interface RunningGateway {
  /** Ends sessions, links and connections in good order. */
  stop(): Promise<void>;
  /** The settings are read again. Rejects with a GatewayError, and nothing has changed then. */
  reload(): Promise<readonly string[]>;
  /** Settled when the gateway has ended; rejects with a GatewayError when it had to. */
  readonly done: Promise<void>;
}

export interface GatewayHands {
  /** What file, environment and flags say now. Throws a GatewayError. */
  readonly read: () => LoadedSettings;
  /** Ends the process in good order, as a signal does. */
  readonly shutDown: () => void;
}

/** Resolves when the gateway listens. Rejects with a GatewayError: one clear sentence. */
export async function startGateway(
  settings: LoadedSettings,
  log: Logger,
  hands: GatewayHands,
): Promise<RunningGateway> {
  const { config } = settings;
  const logLevel = new LogLevel(log);
  const outside = { on: false };
  const configs = configsByDatabase(config);
  const peerPort = configs.length === 1 ? undefined : newPeerPort(config, configs, log);
  const keepers = new Map<string, NodeKeeper>();
  for (const each of configs) {
    const { database } = each.postgres;
    const logOfIt = configs.length === 1 ? log : log.child({ database });
    keepers.set(
      database,
      new NodeKeeper({
        config: each,
        log: logOfIt,
        telemetry: new NodeTelemetry(logOfIt, performance.now()),
        classifier: await loadClassifier(),
        peerPort,
        pauses: { own: { on: false }, outside },
      }),
    );
  }
  const encryption = ClientEncryption.of(config.clientTls, log, config.authenticationTimeoutMs);
  const door: Door = { config, keepers, encryption };
  const encrypt = (renewed: ClientEncryption | undefined): void => void (door.encryption = renewed);
  const reloader = new Reloader(settings, hands.read, { keepers, log, logLevel, encrypt });
  const consoles = new ConsoleDesk({ keepers, reloader, log, shutDown: hands.shutDown });
  const refused = new RefusalTally();
  const listener = newListener(door, consoles, refused);
  const report = new GatewayReport(config, keepers, refused, () => listener.strangers);
  const http = new HttpServer({ health: () => healthOf(keepers), report: () => report.source }, log);
  report.start();
  const closePorts = (): void => {
    listener.close();
    peerPort?.close();
    http.close();
    report.stop();
  };
  await http.listen(config.http.host, config.http.port);
  try {
    await peerPort?.listen(config.peerListen.host, config.peerListen.port);
    // One after the other: what the first one cannot do, the others cannot either.
    for (const keeper of keepers.values()) await keeper.start();
    // Open as long as the gateway runs: while the server is away, clients are told so.
    await listener.listen(config.listen.host, config.listen.port);
  } catch (error) {
    await Promise.all([...keepers.values()].map((keeper) => keeper.abandon()));
    closePorts();
    throw error;
  }
  const all = [...keepers.values()];
  const done = Promise.all(all.map((keeper) => keeper.run())).then(() => undefined);
  return {
    stop: async () => {
      consoles.draining();
      // The port stays open meanwhile: who comes is told why not, and who is still at work may cancel.
      await Promise.all(all.map((keeper) => keeper.stop()));
      consoles.close();
      closePorts();
    },
    reload: () => reloader.reload(),
    done: done.finally(closePorts),
  };
}

export function newPeerPort(config: GatewayConfig, configs: readonly GatewayConfig[], log: Logger): PeerPort {
  const refusals = new RefusalLog(log, () => performance.now());
  return new PeerPort(
    configs.map(({ clusterName }) => clusterName),
    { secret: config.clusterSecret, tls: config.peerTls },
    {
      onRefused: (address, reason) => refusals.tell(address, reason, undefined),
      onAcceptFailed: (error) =>
        log.warn({ err: error }, 'a connection on the peer port could not be accepted'),
    },
  );
}

/** What is asked for each client that comes: RELOAD may have changed it. */
interface Door {
  readonly config: GatewayConfig;
  readonly keepers: ReadonlyMap<string, NodeKeeper>;
  encryption: ClientEncryption | undefined;
}

function newListener(door: Door, consoles: ConsoleDesk, refused: RefusalTally): ClientListener {
  const { config, keepers } = door;
  const first = keepers.get(config.postgres.database)!;
  return new ClientListener({
    own: ownSessions,
    refused: (reason) => refused.count(reason),
    get loginTimeoutMs() {
      return config.authenticationTimeoutMs;
    },
    get encryption() {
      return door.encryption;
    },
    reception: (database): Reception =>
      database === consoleDatabase
        ? consoleReception(first, consoles)
        : (keepers.get(database)?.reception() ?? first.reception(database)),
    newestMinor: () => Math.max(...reachable(keepers).map(({ newestMinor }) => newestMinor), 0),
    cancel: async (processId, key) => {
      if (consoles.cancel(processId, key)) return;
      const nodes = reachable(keepers);
      for (const node of nodes) if (await node.cancel(processId, key)) return;
      // Whoever has a list of hosts, or a load balancer, cancels anywhere.
      await Promise.all(nodes.map((node) => node.cancelElsewhere(processId, key)));
    },
  });
}

/** The console needs the server for the login only, and no place among the sessions. */
function consoleReception(first: NodeKeeper, consoles: ConsoleDesk): Reception {
  const services = first.reception();
  if ('severity' in services) return services;
  return { ...services, admission: () => consoles.admission(), console: consoles };
}

function reachable(keepers: ReadonlyMap<string, NodeKeeper>): SessionServices[] {
  return [...keepers.values()].flatMap((keeper) => {
    const services = keeper.reception();
    return 'severity' in services ? [] : [services];
  });
}
