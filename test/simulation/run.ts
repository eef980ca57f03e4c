/**
 * One run: phase 1 with faults, where nothing wrong may happen; phase 2 without, where everything must become
 * right.
 */
import { NodeMachine } from '../../src/core/node/node-machine.ts';
import { nodesOf } from '../../src/core/generation/configuration.ts';
import type { Gid, NodeId } from '../../src/core/identity.ts';
import { Prng } from '../../src/lib/prng.ts';
import { copyOf } from './copy.ts';
import { Checker } from './checker.ts';
import { Faults } from './faults.ts';
import { Gateway } from './gateway.ts';
import type { GatewayCluster } from './gateway.ts';
import { Membership } from './membership.ts';
import { Network } from './network.ts';
import { accountKeys, counterKeys, incrementOf, openingBalance, randomOperation } from './operation.ts';
import type { Operation } from './operation.ts';
import type { RunOptions } from './options.ts';
import { Referee } from './referee.ts';
import { Scheduler } from './scheduler.ts';
import type { Identity } from './server-record.ts';
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
  readonly membership: Membership | undefined;
  readonly #options: RunOptions;
  readonly #increments = new Map<Gid, string>();
  #busyClients = 0;
  #clientsUntil = 0;

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
    if (options.membership !== undefined)
      this.membership = new Membership(this.world, this, options.membership);
  }

  #addNode(id: number): void {
    const server = new Server(this.world, { place: id, id, since: 0, address: `h${id}` });
    for (const key of accountKeys(this.#options))
      server.rows.set(key, { value: openingBalance, by: '', commitIndex: 0 });
    for (const key of counterKeys) server.rows.set(key, { value: 0, by: '', commitIndex: 0 });
    this.#addGateway(server);
  }

  /** The machine of a new node, whose server is a copy of the source's; its gateway is not started yet. */
  addCopy(source: Gateway, identity: Identity): Gateway {
    const gateway = this.#addGateway(copyOf(this.world, source.server, identity));
    this.checker.copied(identity.place, source.place);
    this.network.add(gateway);
    this.#startClients(gateway);
    return gateway;
  }

  /** The machines of the nodes that the highest generation has. */
  get #current(): readonly Gateway[] {
    const { chain } = this.checker;
    if (this.membership === undefined || chain.highest === undefined) return this.gateways;
    const places = chain.placesOf(chain.highest, nodesOf(chain.highest));
    return this.gateways.filter(({ place }) => places.includes(place));
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
    this.#clientsUntil = until;
    for (const gateway of this.gateways) this.#startClients(gateway);
  }

  #startClients(gateway: Gateway): void {
    for (let client = 0; client < this.#options.clientsPerNode; client += 1)
      this.#client(gateway, this.#clientsUntil);
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
    if (this.referee === undefined) return this.#run(until, () => false);
    scheduler.run(until, () => {
      const serving = this.gateways.filter((gateway) => gateway.serving).map(({ generation }) => generation);
      if (new Set(serving).size > 1) throw new Violation(`both serve, in ${serving.join(' and ')}`);
      return false;
    });
  }

  /** Without a referee: whoever serves is looked at all the time. */
  #run(until: number, stop: () => boolean): void {
    const { chain } = this.checker;
    this.scheduler.run(until, () => {
      if (this.referee === undefined) {
        for (const gateway of this.gateways)
          if (gateway.serving)
            chain.serves(gateway.identity, gateway.generation ?? gateway.server.durable.lastOnline);
      }
      return stop();
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
    this.membership?.end();
    this.#startAll();
    this.#settle();
    this.#changeOnceMore();
    this.#writeEverywhere();
    this.#settle();
    if (this.referee !== undefined) for (const gateway of this.gateways) this.#oneAlone(gateway);
    this.checker.final(this.#current.map(({ place }) => place));
    for (const gateway of this.#current)
      this.checker.outcomes(gateway.place, (gid) => gateway.outcomeOf(gid));
    this.#countIncrements();
  }

  /** All machines, or only those of present nodes; two do not listen at one address. */
  #startAll(): void {
    const current = new Set(this.#current);
    const addresses = new Set([...current].map(({ identity }) => identity.address));
    for (const gateway of this.gateways)
      if (!current.has(gateway) && addresses.has(gateway.identity.address)) gateway.crash();
    const all = this.membership === undefined || this.world.random.chance(0.5);
    for (const gateway of this.gateways) {
      if (!all && !current.has(gateway)) continue;
      gateway.server.slowness = 1;
      gateway.server.start();
      gateway.start();
    }
  }

  /** Without faults a node can be added; one that is there is not dropped; one that is gone is. */
  #changeOnceMore(): void {
    const { membership, world } = this;
    const highest = this.checker.chain.highest;
    if (membership === undefined || highest === undefined) return;
    const { configured } = highest;
    const { random, scheduler } = world;
    const draw = random.next();
    if (draw < 0.3 && !membership.full && configured.length < 6) {
      const id = membership.addOneMore();
      this.#runUntil(() => this.#isConfigured(id), `node ${id} does not get in`);
    } else if (draw < 0.6) {
      const node = random.pick(configured);
      membership.insist({ kind: 'drop', node });
      this.#run(scheduler.now + 1000, () => false);
      if (!this.#isConfigured(node)) throw new Violation(`node ${node} was dropped while it was there`);
    } else if (configured.length > 2) {
      const node = random.pick(configured);
      const victim = this.#current.find(({ id }) => id === node)!;
      membership.giveUp(victim);
      this.#runUntil(() => !this.#isConfigured(node), `node ${node} is not dropped`);
      if (random.chance(0.5)) this.faults.restart(victim);
    }
    this.#settle();
  }

  #isConfigured(node: NodeId): boolean {
    return this.checker.chain.highest?.configured.includes(node) === true;
  }

  #runUntil(done: () => boolean, failure: string): void {
    const until = this.scheduler.now + convergenceMs;
    let lookAt = 0;
    let found = false;
    this.#run(until, () => {
      if (this.scheduler.now >= lookAt) {
        lookAt = this.scheduler.now + 20;
        this.membership?.tend();
        found = done();
      }
      return found;
    });
    if (!done()) throw new Violation(`${failure} (liveness)`);
  }

  /** Each node writes the same row; "simple" refuses both of a pair, so there only one writes at a time. */
  #writeEverywhere(): void {
    const { scheduler } = this;
    const waiting = [...this.#current];
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
    const until = scheduler.now + (this.membership === undefined ? 1 : 3) * convergenceMs;
    let tendAt = 0;
    this.#run(until, () => {
      if (this.membership !== undefined && scheduler.now >= tendAt) {
        tendAt = scheduler.now + 50;
        this.membership.tend();
      }
      return this.#unsettled() === undefined;
    });
    const why = this.#unsettled();
    if (why !== undefined) throw new Violation(`not settled after ${convergenceMs} ms: ${why} (liveness)`);
  }

  #unsettled(): string | undefined {
    if (this.#busyClients > 0) return `${this.#busyClients} clients wait`;
    const highest = this.checker.chain.highest;
    if (this.membership !== undefined && (highest === undefined || highest.joining.length > 0))
      return `${highest?.joining.join()} are joining: ${this.#current.map(({ name, story }) => `${name}: ${story}`).join('; ')}`;
    for (const gateway of this.#current) {
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
      if (gateway.lacksFloors) return `node ${id} does not know that all is finished: its slot cannot move`;
    }
    return undefined;
  }

  #countIncrements(): void {
    for (const key of counterKeys) {
      let expected = 0;
      for (const [gid, counter] of this.#increments)
        if (counter === key && this.checker.isCommitted(gid)) expected += 1;
      for (const { id, server } of this.#current) {
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
