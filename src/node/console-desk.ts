/**
 * What the admin console shows of the gateway, and what it orders.
 * Rules: facts are of the moment at which they are asked for; nothing of a session is kept here. PAUSE is
 * undone when whoever ordered it stops waiting before it was reached, as with PgBouncer.
 */
import type { Logger } from 'pino';
import type { ActionResult, ConsoleAction } from '../core/console/console-machine.ts';
import type { ConsoleFacts, DatabaseFacts, NodeFacts, SettingFacts } from '../core/console/facts.ts';
import type { ErrorText } from '../core/wire/messages.ts';
import { valueIn } from '../config/reload.ts';
import { withoutRefereePassword } from '../config/referee-address.ts';
import { isSecret, settings, shownValue, type Setting } from '../config/settings.ts';
import { gatewayVersion } from '../config/version.ts';
import type { ConsoleServices } from '../io/clients/console-services.ts';
import type { ConsoleSession } from '../io/clients/console-session.ts';
import type { ClientSession } from '../io/clients/client-session.ts';
import { clientFacts } from '../io/clients/session-facts.ts';
import { GatewayError } from '../lib/gateway-error.ts';
import type { NodeKeeper } from './node-keeper.ts';
import type { PauseFlag } from './pause-switch.ts';
import type { Reloader } from './reloader.ts';

/** At once; nobody needs more, and a login costs a connection to the server. */
const mostConsoles = 20;
const lookMs = 20;

export interface ConsoleGateway {
  readonly keepers: ReadonlyMap<string, NodeKeeper>;
  readonly reloader: Reloader;
  readonly log: Logger;
  /** As a signal does. */
  shutDown(): void;
}

const done: ActionResult = { notices: [], error: undefined };

export class ConsoleDesk implements ConsoleServices {
  readonly facts: ConsoleFacts;
  readonly loginDatabase: string;
  readonly #gateway: ConsoleGateway;
  readonly #sessions = new Set<ConsoleSession>();
  readonly #startedAt = new Date();
  #stopping = false;

  constructor(gateway: ConsoleGateway) {
    this.#gateway = gateway;
    this.loginDatabase = [...gateway.keepers.keys()][0] ?? '';
    this.facts = this.#newFacts();
  }

  /** Why no console may be opened now; undefined: it may. */
  admission(): ErrorText | undefined {
    if (this.#stopping)
      return { severity: 'FATAL', sqlstate: '57P03', message: '[multimaster] the gateway is shutting down' };
    if (this.#sessions.size < mostConsoles) return undefined;
    const message = `[multimaster] there are ${mostConsoles} sessions of the admin console already`;
    return { severity: 'FATAL', sqlstate: '53300', message };
  }

  started(session: ConsoleSession): void {
    this.#sessions.add(session);
  }

  ended(session: ConsoleSession): void {
    this.#sessions.delete(session);
  }

  /** False: no session of the console has this key. */
  cancel(processId: number, key: Uint8Array): boolean {
    return [...this.#sessions].some((session) => session.cancel(processId, key));
  }

  /** No new sessions; those that are there see the end. */
  draining(): void {
    this.#stopping = true;
  }

  close(): void {
    for (const session of [...this.#sessions])
      session.shutDown('57P01', 'terminating connection due to administrator command');
  }

  // ---- actions

  async act(action: ConsoleAction, user: string, givenUp: AbortSignal): Promise<ActionResult> {
    const { log } = this.#gateway;
    log.info({ user, ...action }, 'an order of the admin console');
    const result = await this.#carriedOut(action, givenUp);
    if (result.error !== undefined)
      log.warn({ user, ...action, reason: result.error.message }, 'it was not done');
    return result;
  }

  async #carriedOut(action: ConsoleAction, givenUp: AbortSignal): Promise<ActionResult> {
    switch (action.kind) {
      case 'pause':
        return this.#pause(action.database, givenUp);
      case 'resume':
        return this.#resume(action.database);
      case 'reload':
        return this.#reload();
      case 'kill-client':
        return this.#kill(action.id);
      case 'shutdown':
        this.#gateway.shutDown();
        return done;
    }
  }

  /** The flags of a database, or all. Undefined: there is no such database. */
  #flags(database: string | undefined): PauseFlag[] | undefined {
    const keepers = [...this.#gateway.keepers.values()];
    if (database === undefined) return keepers.flatMap(({ pauses }) => [pauses.own, pauses.outside]);
    const keeper = this.#gateway.keepers.get(database);
    return keeper === undefined ? undefined : [keeper.pauses.own];
  }

  async #pause(database: string | undefined, givenUp: AbortSignal): Promise<ActionResult> {
    const flags = this.#flags(database);
    if (flags === undefined) return noDatabase(database);
    const raised = flags.filter((flag) => !flag.on);
    for (const flag of raised) flag.on = true;
    while (this.#clients().some((session) => works(session, database))) {
      if (givenUp.aborted) {
        for (const flag of raised) flag.on = false;
        this.#wake();
        return failed('57014', 'canceling statement due to user request');
      }
      if (flags.every((flag) => !flag.on))
        return failed('57014', '[multimaster] RESUME has ended this PAUSE');
      await new Promise((resolve) => setTimeout(resolve, lookMs));
    }
    return done;
  }

  #resume(database: string | undefined): ActionResult {
    const flags = this.#flags(database);
    if (flags === undefined) return noDatabase(database);
    for (const flag of flags) flag.on = false;
    this.#wake();
    return done;
  }

  /** Whoever waits looks whether it may go on. */
  #wake(): void {
    for (const session of this.#clients()) {
      if (session.machine.statistics.waitsForResume) session.drive((machine) => machine.resume());
    }
  }

  async #reload(): Promise<ActionResult> {
    try {
      const changed = await this.#gateway.reloader.reload();
      const list = changed.length === 0 ? 'nothing has changed' : `changed: ${changed.join(', ')}`;
      return {
        notices: [{ severity: 'NOTICE', sqlstate: '00000', message: `[multimaster] ${list}` }],
        error: undefined,
      };
    } catch (error) {
      if (!(error instanceof GatewayError))
        return failed('XX000', `[multimaster] ${(error as Error).message}`);
      const message = `[multimaster] ${error.message.replaceAll('\n', '; ')}`;
      return failed(error.sqlstate, message, error.hint);
    }
  }

  #kill(id: number): ActionResult {
    const session = this.#clients().find(({ identity }) => identity.id === id);
    if (session === undefined) {
      const hint = 'SHOW CLIENTS tells which there are.';
      return failed('42704', `[multimaster] there is no client ${id}`, hint);
    }
    session.shutDown('57P01', 'terminating connection due to administrator command');
    session.finish();
    return done;
  }

  // ---- facts

  #clients(): ClientSession[] {
    return [...this.#gateway.keepers.values()].flatMap(({ node }) => [...(node?.desk.sessions ?? [])]);
  }

  #newFacts(): ConsoleFacts {
    const keepers = (): [string, NodeKeeper][] => [...this.#gateway.keepers];
    return {
      version: `mtm-gateway ${gatewayVersion()}`,
      clients: () => this.#clients().map(clientFacts),
      databases: () => keepers().map(([name, keeper]) => databaseFacts(name, keeper)),
      nodes: () => keepers().flatMap(([name, keeper]) => nodeFacts(name, keeper)),
      settings: () => settings.map((setting) => this.#settingFacts(setting)),
      memory: () => {
        const { rss, heapTotal, heapUsed, external, arrayBuffers } = process.memoryUsage();
        const clients = keepers().reduce((sum, [, { node }]) => sum + (node?.desk.memoryBytes ?? 0), 0);
        return Object.entries({ rss, heapTotal, heapUsed, external, arrayBuffers, clients });
      },
      state: () => this.#state(keepers().map(([, keeper]) => keeper)),
    };
  }

  #state(keepers: readonly NodeKeeper[]): [string, string][] {
    const config = keepers[0]?.config;
    const paused = keepers.some(({ pauses }) => pauses.own.on);
    return [
      ['active', paused || this.#stopping ? 'no' : 'yes'],
      ['paused', paused ? 'yes' : 'no'],
      ['shutting_down', this.#stopping ? 'yes' : 'no'],
      ['node_id', String(config?.nodeId ?? '')],
      ['cluster_name', config?.clusterName ?? ''],
      ['pid', String(process.pid)],
      ['start_time', this.#startedAt.toISOString()],
    ];
  }

  #settingFacts(setting: Setting): SettingFacts {
    const value = valueIn(this.#gateway.reloader.running.file, setting.path);
    const usual = setting.usual === undefined ? '' : textOf(setting, setting.usual);
    const shown = value === undefined ? '' : textOf(setting, value);
    return { name: setting.name, value: shown, usual, live: setting.reload === 'live' };
  }
}

/** Something of it runs that PAUSE waits for. */
function works(
  { loggedIn, supervised, machine, identity }: ClientSession,
  database: string | undefined,
): boolean {
  if (database !== undefined && identity.database !== database) return false;
  return loggedIn && supervised && !machine.idle && !machine.statistics.waitsForResume;
}

function databaseFacts(name: string, { node, config, pauses }: NodeKeeper): DatabaseFacts {
  const { host, port } = config.postgres;
  const { status, reason } = node?.status ?? { status: 'disabled', reason: 'the gateway is starting' };
  const { number = 0, members = [] } = node?.machine.generation ?? {};
  const totals = node?.desk.totals;
  return {
    ...{ name, host, port, status, reason, members, totals },
    generation: number,
    clients: node?.desk.size ?? 0,
    maxConnections: config.maxConnections,
    paused: pauses.own.on,
    clientMemoryBytes: node?.desk.memoryBytes ?? 0,
  };
}

function nodeFacts(database: string, { node, config }: NodeKeeper): NodeFacts[] {
  if (node === undefined) return [];
  const { machine, members } = node;
  const inGeneration = machine.generation?.members ?? [];
  const self: NodeFacts = {
    database,
    id: config.nodeId,
    address: `${config.peerListen.host}:${config.peerListen.port}`,
    isSelf: true,
    isMember: inGeneration.includes(config.nodeId),
    connected: true,
    heardMs: null,
  };
  const others = members.links.linkStatus().map((link): NodeFacts => {
    const peer = members.peers.find(({ id }) => id === link.node);
    return {
      database,
      id: link.node,
      address: peer === undefined ? '' : `${peer.host}:${peer.port}`,
      isSelf: false,
      isMember: inGeneration.includes(link.node),
      connected: link.connected,
      heardMs: link.lastHeardMs ?? null,
    };
  });
  return [self, ...others].sort((a, b) => a.id - b.id);
}

function textOf({ name, kind }: Setting, value: unknown): string {
  if (name === 'referee_connstring') return withoutRefereePassword(String(value));
  if (isSecret(name)) return '***';
  if (!Array.isArray(value)) return shownValue(kind, value);
  return value.map((item: unknown) => (typeof item === 'string' ? item : JSON.stringify(item))).join(', ');
}

function failed(sqlstate: string, message: string, hint?: string): ActionResult {
  return { notices: [], error: { severity: 'ERROR', sqlstate, message, hint } };
}

function noDatabase(name = ''): ActionResult {
  const hint = 'SHOW DATABASES tells which there are; without a name all are meant.';
  return failed('3D000', `[multimaster] "${name}" is no database of this cluster`, hint);
}
