/**
 * Whoever adds and drops nodes while everything else goes on: as src/node/membership-desk.ts asks for a change at
 * one gateway, takes a copy of a server for the new node, starts that, and stops, drops and forgets others – in
 * no good order, two at a time, and not always to the end. Old machines come back.
 */
import { isFulfilled, nodesOf, obstacleTo, sinceOf } from '../../src/core/generation/configuration.ts';
import type { ConfigurationWish } from '../../src/core/generation/configuration.ts';
import type { Configuration } from '../../src/core/generation/record.ts';
import type { NodeId } from '../../src/core/identity.ts';
import type { Faults } from './faults.ts';
import type { Gateway } from './gateway.ts';
import type { MembershipOptions } from './options.ts';
import type { Identity } from './server-record.ts';
import type { World } from './world.ts';

export interface MembershipCluster {
  readonly gateways: readonly Gateway[];
  readonly faults: Faults;
  /** The server of the new node is a copy of that one's. */
  addCopy(source: Gateway, identity: Identity): Gateway;
}

const deeds = ['add', 'add', 'add', 'drop-dead', 'drop-dead', 'drop-cut', 'drop-living', 'return'] as const;
/** The desk looks so often whether the wish has come true, ms. */
const lookMs = 5;
/** Another donor may still help, ms. */
const hopelessMs = 1500;

export class Membership {
  readonly #world: World;
  readonly #cluster: MembershipCluster;
  readonly #options: MembershipOptions;
  readonly #wishing = new Set<Gateway>();
  readonly #hopelessSince = new Map<Gateway, number>();
  readonly #givenUp = new Set<Gateway>();
  #addresses = 0;
  #over = false;

  constructor(world: World, cluster: MembershipCluster, options: MembershipOptions) {
    this.#world = world;
    this.#cluster = cluster;
    this.#options = options;
    this.#next();
  }

  /** From now on it only ends what is begun. */
  end(): void {
    this.#over = true;
  }

  #next(): void {
    const { random, scheduler } = this.#world;
    scheduler.after(random.between(0, 2 * this.#options.everyMs), () => {
      if (this.#over) return;
      this.#act(random.pick(deeds));
      if (random.chance(0.15)) this.#act(random.pick(deeds));
      if (random.chance(0.7)) this.copyAll();
      this.#next();
    });
  }

  #act(deed: (typeof deeds)[number]): void {
    const { random } = this.#world;
    this.#world.trace?.('members', deed);
    switch (deed) {
      case 'add':
        return this.#add();
      case 'drop-dead':
        return this.#drop((victim) => {
          this.#cluster.faults.stop(victim, random.pick([100, 600, 5000]) * random.between(0.5, 1.5));
        });
      case 'drop-cut':
        return this.#drop((victim) =>
          this.#cluster.faults.isolate(victim, random.pick([200, 700, 1500]) * random.between(0.5, 1.5)),
        );
      case 'drop-living':
        return this.#drop(() => undefined);
      case 'return': {
        const gone = this.#cluster.gateways.filter(({ incarnation }) => incarnation === undefined);
        if (gone.length > 0) this.#cluster.faults.restart(random.pick(gone));
        return;
      }
    }
  }

  /** Somebody who serves, as far as he knows. */
  #anybody(except?: NodeId): Gateway | undefined {
    const working = this.#cluster.gateways.filter(({ id, serving }) => serving && id !== except);
    return working.length === 0 ? undefined : this.#world.random.pick(working);
  }

  #add(): void {
    const at = this.#anybody();
    const { random } = this.#world;
    const configuration = at?.configuration;
    if (at === undefined || configuration === undefined || this.full) return;
    const taken = nodesOf(configuration);
    if (taken.length >= this.#options.maxNodes || configuration.joining.length > 1) return;
    const free = [1, 2, 3, 4, 5, 6].filter((id) => !taken.includes(id));
    const id = random.chance(0.8) ? free[0]! : random.pick(free);
    this.#wish(at, this.#addition(id), random.pick([30, 300, 1500]));
  }

  #addition(id: NodeId): ConfigurationWish {
    // The former machine of the id, or another one.
    this.#addresses += 1;
    const host = this.#world.random.chance(0.3) ? `h${id}` : `n${this.#addresses}`;
    return { kind: 'add', node: { id, host, port: 1, conninfo: '' } };
  }

  /** At the end of a run. */
  addOneMore(): NodeId {
    const taken = nodesOf(this.#anybody()!.configuration!);
    const id = [1, 2, 3, 4, 5, 6].find((node) => !taken.includes(node))!;
    const wish = this.#addition(id);
    const insist = (): void => {
      this.insist(wish);
      const known = this.#anybody()?.configuration;
      if (known === undefined || !isFulfilled(wish, known)) this.#world.scheduler.after(100, insist);
    };
    insist();
    return id;
  }

  get full(): boolean {
    return this.#cluster.gateways.length >= this.#options.maxPlaces;
  }

  #drop(before: (victim: Gateway) => void): void {
    const { random, scheduler } = this.#world;
    const known = this.#anybody()?.configuration;
    if (known === undefined || known.configured.length < 2) return;
    // Of two nodes none is dropped: a majority of them is both.
    if (known.configured.length === 2 && random.chance(0.9)) return;
    const id = random.pick(nodesOf(known));
    const victim = this.#placed(id, sinceOf(known, id));
    if (victim !== undefined) before(victim);
    scheduler.after(random.between(0, 400), () => {
      const at = this.#anybody(id);
      if (at !== undefined) this.#wish(at, { kind: 'drop', node: id }, random.pick([50, 500, 1500]));
    });
  }

  /** As the desk: until it has come true, has become impossible, or somebody has waited long enough. */
  #wish(at: Gateway, wish: ConfigurationWish, patienceMs: number, insisting = false): void {
    if (this.#wishing.has(at)) return;
    this.#world.trace?.('members', `wish at ${at.name}: ${JSON.stringify(wish)}`);
    const { scheduler } = this.#world;
    const { incarnation } = at;
    const until = scheduler.now + patienceMs;
    this.#wishing.add(at);
    at.wish(wish);
    const look = (): void => {
      const { configuration } = at;
      const gone = at.incarnation !== incarnation || configuration === undefined;
      const open =
        !gone && !isFulfilled(wish, configuration) && obstacleTo(wish, configuration) === undefined;
      if (open && scheduler.now < until && this.#over === insisting) return scheduler.after(lookMs, look);
      this.#wishing.delete(at);
      if (!gone) at.wish(undefined);
    };
    scheduler.after(lookMs, look);
  }

  /** Until it has come true: for the end of a run. */
  insist(wish: ConfigurationWish): void {
    const at = this.#anybody(wish.kind === 'drop' ? wish.node : undefined);
    if (at === undefined || this.#wishing.has(at)) return;
    this.#wish(at, wish, 1000, true);
  }

  #placed(id: NodeId, since: number): Gateway | undefined {
    return this.#cluster.gateways.find(({ identity }) => identity.id === id && identity.since === since);
  }

  /** Whoever is joining and has no machine yet gets one, with a copy of a server that knows of it. */
  copyAll(): void {
    const { random, scheduler } = this.#world;
    for (const { server } of this.#cluster.gateways) {
      const { chosen } = server.durable;
      for (const id of chosen?.joining ?? []) {
        const since = sinceOf(chosen!, id);
        if (this.#placed(id, since) !== undefined || this.full) continue;
        const source = this.#source(id, since);
        if (source === undefined) continue;
        const entry = source.server.durable.chosen!.added.find((node) => node.id === id)!;
        const identity = { place: this.#cluster.gateways.length + 1, id, since, address: entry.host };
        this.#world.trace?.('members', `copy of ${source.name} for ${id} since ${since}`);
        const gateway = this.#cluster.addCopy(source, identity);
        scheduler.after(random.pick([0, 20, 300, 2000]) * random.between(0.1, 1), () => {
          if (this.#over) this.#evict(gateway);
          gateway.start();
        });
      }
    }
  }

  /** Somebody stops the former process at its address. */
  #evict({ identity }: Gateway): void {
    for (const other of this.#cluster.gateways)
      if (other.identity !== identity && other.identity.address === identity.address) other.crash();
  }

  /** The copy began while this process was online; it ends when the record with the new node is noted here. */
  #source(id: NodeId, since: number): Gateway | undefined {
    const fit = this.#cluster.gateways.filter(({ server, incarnation, wasOnline }) => {
      const { chosen } = server.durable;
      const knows = chosen?.joining.includes(id) === true && sinceOf(chosen, id) === since;
      return incarnation !== undefined && server.up && wasOnline && knows;
    });
    return fit.length === 0 ? undefined : this.#world.random.pick(fit);
  }

  /** For long enough, and nobody else was given up who is still to be dropped: one after the other. */
  #isHopeless(gateway: Gateway, configuration: Configuration): boolean {
    const { now } = this.#world.scheduler;
    if (!gateway.hopeless(configuration)) this.#hopelessSince.delete(gateway);
    else if (!this.#hopelessSince.has(gateway)) this.#hopelessSince.set(gateway, now);
    const isThere = ({ identity: { id, since } }: Gateway): boolean =>
      nodesOf(configuration).includes(id) && sinceOf(configuration, id) === since;
    if ([...this.#givenUp].some(isThere)) return false;
    return now - (this.#hopelessSince.get(gateway) ?? now) > hopelessMs;
  }

  /** It is stopped, and nobody starts it again. */
  giveUp(gateway: Gateway): void {
    this.#world.trace?.('members', `${gateway.name} is given up`);
    this.#givenUp.add(gateway);
    this.#cluster.faults.stop(gateway, Infinity);
  }

  /** At the end of a run: who cannot become level any more is given up, the others get what they lack. */
  tend(): void {
    this.copyAll();
    for (const gateway of this.#cluster.gateways) {
      const { configuration } = this.#anybody() ?? {};
      const { id, since } = gateway.identity;
      if (configuration === undefined || !nodesOf(configuration).includes(id)) continue;
      if (sinceOf(configuration, id) !== since) continue;
      if (this.#givenUp.has(gateway)) {
        gateway.crash();
        this.insist({ kind: 'drop', node: id });
        continue;
      }
      if (gateway.incarnation === undefined) {
        this.#evict(gateway);
        this.#cluster.faults.restart(gateway);
      }
      if (!this.#isHopeless(gateway, configuration)) continue;
      this.giveUp(gateway);
      this.insist({ kind: 'drop', node: id });
    }
    for (const { configuration } of this.#cluster.gateways) {
      for (const id of configuration?.joining ?? []) {
        if (this.#placed(id, sinceOf(configuration!, id)) === undefined && this.full)
          this.insist({ kind: 'drop', node: id });
      }
    }
  }
}
