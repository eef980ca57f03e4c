/**
 * One run: phase 1 with faults, where nothing wrong may happen; phase 2 without, where everything must become
 * right.
 */
import { NodeMachine } from '../../src/core/node/node-machine.ts';
import type { Gid } from '../../src/core/identity.ts';
import { Prng } from '../../src/lib/prng.ts';
import { Checker } from './checker.ts';
import { Faults } from './faults.ts';
import { Gateway } from './gateway.ts';
import type { GatewayCluster } from './gateway.ts';
import { Network } from './network.ts';
import { accountKeys, counterKeys, incrementOf, openingBalance, randomOperation } from './operation.ts';
import type { Operation } from './operation.ts';
import type { RunOptions } from './options.ts';
import { Referee } from './referee.ts';
import { Scheduler } from './scheduler.ts';
import { Server } from './server.ts';
import { Session } from './session.ts';
import { Violation } from './world.ts';
import type { MachineMaker, Sabotage, World } from './world.ts';

/** Phase 2 must end within this, virtual ms. */
const convergenceMs = 6000;

export const realMachine: MachineMaker = (options) => new NodeMachine(options);

export interface RunHooks {
  readonly makeMachine?: MachineMaker;
  readonly sabotage?: Sabotage;
  readonly trace?: (at: number, who: string, text: string) => void;
}

export class Cluster {
  readonly scheduler = new Scheduler();
  readonly checker: Checker;
  readonly network: Network;
  readonly gateways: Gateway[] = [];
  readonly world: World;
  readonly faults: Faults;
  readonly referee: Referee | undefined;
  readonly #options: RunOptions;
  readonly #increments = new Map<Gid, string>();
  #busyClients = 0;

  constructor(options: RunOptions, hooks: RunHooks = {}) {
    this.#options = options;
    this.checker = new Checker(options.waitPeerCommits, options.referee);
    const { scheduler, checker } = this;
    const { trace } = hooks;
    this.world = {
      scheduler,
      checker,
      random: new Prng(options.seed),
      makeMachine: hooks.makeMachine ?? realMachine,
      sabotage: hooks.sabotage ?? {},
      trace: trace === undefined ? undefined : (who, text) => trace(scheduler.now, who, text),
    };
    this.network = new Network(this.world);
    this.network.maxDelayMs = options.maxDelayMs;
    if (options.referee === true) {
      const faultEveryMs = options.faults.length > 0 ? options.faultEveryMs : undefined;
      this.referee = new Referee(this.world, options.maxDelayMs, faultEveryMs);
    }
    for (const id of options.nodes) this.#addNode(id);
    this.network.connectAll(this.gateways);
    for (const gateway of this.gateways) gateway.start();
    this.faults = new Faults(this.world, this.network, this.gateways, options);
  }

  #addNode(id: number): void {
    const server = new Server(this.world, { place: id, id, since: 0, address: `h${id}` });
    for (const key of accountKeys(this.#options))
      server.rows.set(key, { value: openingBalance, by: '', commitIndex: 0 });
    for (const key of counterKeys) server.rows.set(key, { value: 0, by: '', commitIndex: 0 });
    this.#addGateway(server);
  }

  #addGateway(server: Server): Gateway {
    this.checker.addServer(server);
    const cluster: GatewayCluster = {
      peer: (from, node) => this.network.streamTo(from, node) as Gateway | undefined,
      connected: (a, b) => this.network.passes(a, b) && this.network.passes(b, a),
      isTaken: ({ place, address }) =>
        this.gateways.some((other) => {
          const { identity, incarnation } = other;
          return identity.place !== place && identity.address === address && incarnation !== undefined;
        }),
      referee: this.referee,
    };
    const gateway = new Gateway(this.world, this.network, server, this.#options, cluster);
    this.gateways.push(gateway);
    return gateway;
  }

  /** Clients that work until `until`. */
  startClients(until: number): void {
    for (const gateway of this.gateways) {
      for (let client = 0; client < this.#options.clientsPerNode; client += 1) this.#client(gateway, until);
    }
  }

  #client(gateway: Gateway, until: number): void {
    const { random, scheduler } = this.world;
    scheduler.after(random.between(0, 2 * this.#options.thinkMs), () => {
      if (scheduler.now >= until) return;
      const again = (): void => this.#client(gateway, until);
      gateway.deliver(() => {
        this.runOperation(gateway, randomOperation(random, this.#options, gateway.server), 5, again);
      });
      if (gateway.incarnation === undefined) again();
    });
  }

  runOperation(
    gateway: Gateway,
    operation: Operation,
    repeats: number,
    done: (result: string) => void,
  ): void {
    if (!gateway.server.up) return done('failed');
    this.#busyClients += 1;
    new Session(this.world, gateway, operation, repeats, (result, gid) => {
      this.#busyClients -= 1;
      if (gid !== undefined) this.#note(gid, operation);
      this.world.trace?.('client', `${operation.kind} at ${gateway.id}: ${result} ${gid ?? ''}`);
      done(result);
    });
  }

  #note(gid: Gid, operation: Operation): void {
    if (operation.kind === 'increment') this.#increments.set(gid, operation.statements[0]!.key);
  }

  /** Phase 1. With a referee it is looked at all the time whether both decide alone. */
  runFor(ms: number): void {
    const { scheduler } = this;
    const until = scheduler.now + ms;
    if (this.referee === undefined) return scheduler.run(until);
    scheduler.run(until, () => {
      const serving = this.gateways.filter((gateway) => gateway.serving).map(({ generation }) => generation);
      if (new Set(serving).size > 1) throw new Violation(`both serve, in ${serving.join(' and ')}`);
      return false;
    });
  }

  /** With a referee: one node dies and stays away, the other goes on alone; then both are whole again. */
  #oneAlone(victim: Gateway): void {
    const { scheduler } = this;
    victim.crash();
    victim.server.crash();
    const survivor = this.gateways.find((gateway) => gateway !== victim)!;
    scheduler.run(scheduler.now + convergenceMs, () => survivor.writable);
    if (!survivor.writable) throw new Violation(`node ${survivor.id} does not go on alone (liveness)`);
    let open = 3;
    const write = (): void => {
      this.runOperation(survivor, incrementOf(counterKeys[0]!), 1000, () => {
        open -= 1;
        if (open > 0) write();
      });
    };
    write();
    scheduler.run(scheduler.now + convergenceMs, () => open === 0);
    if (open > 0) throw new Violation('writes of one node alone do not succeed (liveness)');
    victim.server.start();
    victim.start();
    this.#settle();
  }

  /** Ends all faults, lets everything settle, writes once on every node, and compares. */
  converge(): void {
    this.faults.heal();
    this.referee?.heal();
    for (const gateway of this.gateways) {
      gateway.server.slowness = 1;
      gateway.server.start();
      gateway.start();
    }
    this.#settle();
    this.#writeEverywhere();
    this.#settle();
    if (this.referee !== undefined) for (const gateway of this.gateways) this.#oneAlone(gateway);
    this.checker.final(this.gateways.map(({ place }) => place));
    for (const gateway of this.gateways) this.checker.outcomes(gateway.place, (gid) => gateway.outcomeOf(gid));
    this.#countIncrements();
  }

  /** Each node writes the same row; "simple" refuses both of a pair, so there only one writes at a time. */
  #writeEverywhere(): void {
    const { scheduler } = this;
    const waiting = [...this.gateways];
    let open = waiting.length;
    const write = (gateway: Gateway): void => {
      this.runOperation(gateway, incrementOf(counterKeys[0]!), 1000, (result) => {
        if (result !== 'committed') return scheduler.after(20, () => write(gateway));
        open -= 1;
        const next = waiting.shift();
        if (next !== undefined) write(next);
      });
    };
    const atOnce = this.#options.deadlockPrevention === 'smart' ? waiting.length : 1;
    for (const gateway of waiting.splice(0, atOnce)) write(gateway);
    scheduler.run(scheduler.now + convergenceMs, () => open === 0);
    if (open > 0) throw new Violation('writes do not succeed again (liveness)');
  }

  #settle(): void {
    const { scheduler } = this;
    const until = scheduler.now + convergenceMs;
    scheduler.run(until, () => this.#unsettled() === undefined);
    const why = this.#unsettled();
    if (why !== undefined) throw new Violation(`not settled after ${convergenceMs} ms: ${why} (liveness)`);
  }

  #unsettled(): string | undefined {
    if (this.#busyClients > 0) return `${this.#busyClients} clients wait`;
    for (const gateway of this.gateways) {
      const { id, server, incarnation } = gateway;
      if (incarnation === undefined) return `gateway ${id} is down`;
      if (!gateway.writable) return `node ${id} takes no writes: ${gateway.story}`;
      if (server.prepared.size > 0) return `node ${id} holds ${[...server.prepared.keys()].join(' ')}`;
      const grant = this.referee?.grant;
      if (grant !== undefined) return `node ${grant.winner} still has the grant of ${grant.generation}`;
      if (this.referee !== undefined && this.referee.cleared !== gateway.generation)
        return `the referee has cleared ${this.referee.cleared}`;
      const { own, foreign, left } = gateway.openTransactions;
      if (own + foreign + left > 0)
        return `node ${id} remembers ${own} own, ${foreign} foreign, ${left} left`;
    }
    return undefined;
  }

  #countIncrements(): void {
    for (const key of counterKeys) {
      let expected = 0;
      for (const [gid, counter] of this.#increments)
        if (counter === key && this.checker.isCommitted(gid)) expected += 1;
      for (const { id, server } of this.gateways) {
        const value = server.rows.get(key)!.value;
        if (value !== expected)
          throw new Violation(`counter ${key} is ${value} on node ${id}, not ${expected}`);
      }
    }
  }
}

export interface Outcome {
  readonly violation: Error | undefined;
  readonly cluster: Cluster;
}

/** Runs one seed from beginning to end. Whatever is thrown is the outcome. */
export function runSeed(options: RunOptions, hooks: RunHooks = {}): Outcome {
  const cluster = new Cluster(options, hooks);
  try {
    cluster.startClients(options.durationMs);
    cluster.runFor(options.durationMs);
    cluster.converge();
    return { violation: undefined, cluster };
  } catch (error) {
    return { violation: error as Error, cluster };
  }
}
