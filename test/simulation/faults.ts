/**
 * The faults of phase 1. Each one heals by itself after a while; `heal` ends all of them for phase 2.
 */
import type { Gateway } from './gateway.ts';
import type { Network } from './network.ts';
import type { FaultKind, RunOptions } from './options.ts';
import type { World } from './world.ts';

export class Faults {
  readonly #world: World;
  readonly #network: Network;
  readonly #gateways: readonly Gateway[];
  readonly #options: RunOptions;
  #over = false;

  constructor(world: World, network: Network, gateways: readonly Gateway[], options: RunOptions) {
    this.#world = world;
    this.#network = network;
    this.#gateways = gateways;
    this.#options = options;
    if (options.faults.length > 0) this.#next();
  }

  #next(): void {
    const { random, scheduler } = this.#world;
    scheduler.after(random.between(0, 2 * this.#options.faultEveryMs), () => {
      if (this.#over) return;
      this.inflict(random.pick(this.#options.faults));
      this.#next();
    });
  }

  inflict(kind: FaultKind): void {
    const { random } = this.#world;
    const [one, other] = random.shuffled(this.#gateways);
    const victim = one!;
    const durationMs = random.pick([20, 100, 350, 700]) * random.between(0.5, 1.5);
    this.#world.trace?.('fault', `${kind} ${victim.place} ${other?.place ?? ''} ${durationMs.toFixed(0)} ms`);
    switch (kind) {
      case 'link-break':
        if (other !== undefined) this.#network.break(victim.place, other.place);
        return;
      case 'one-way-cut':
        if (other !== undefined) this.#network.cut(victim.place, other.place, durationMs);
        return;
      case 'isolate':
        return this.isolate(victim, durationMs);
      case 'gateway-crash':
        return this.gatewayCrash(victim, durationMs);
      case 'server-crash':
        return this.serverCrash(victim, 20 + durationMs);
      case 'node-crash':
        return this.nodeCrash(victim, durationMs);
      case 'two-crashes':
        this.nodeCrash(victim, durationMs);
        if (other !== undefined) this.gatewayCrash(other, durationMs * random.between(0.1, 1.5));
        return;
      case 'pause':
        return victim.pause(durationMs);
      case 'slow-disk':
        victim.server.slowness = random.pick([5, 20, 60]);
        this.#world.scheduler.after(durationMs, () => (victim.server.slowness = 1));
        return;
      case 'slow-prepare':
        victim.server.prepareMs = random.pick([50, 300, 600]);
        this.#world.scheduler.after(durationMs, () => (victim.server.prepareMs = 0));
        return;
      case 'refusing-server':
        victim.server.refuses = true;
        this.#world.scheduler.after(durationMs, () => (victim.server.refuses = false));
        return;
      case 'isolate-and-crash':
        // Whoever is cut off must not be forgotten by a process that begins anew at that moment.
        this.isolate(victim, durationMs + 200);
        if (other !== undefined) this.gatewayCrash(other, random.between(1, 60));
        return;
      case 'donor-crash': {
        const donor = this.#gateways.find(({ id }) => this.#gateways.some((other) => other.donor === id));
        if (donor !== undefined) this.nodeCrash(donor, durationMs);
        return;
      }
      case 'walsender-reconnect':
        return victim.deliver(() => victim.reconnectWalsender());
    }
  }

  isolate(victim: Gateway, durationMs: number): void {
    for (const { place } of this.#gateways) {
      if (place === victim.place) continue;
      this.#network.cut(victim.place, place, durationMs);
      this.#network.cut(place, victim.place, durationMs);
    }
  }

  gatewayCrash(victim: Gateway, downMs: number): void {
    victim.crash();
    this.#world.scheduler.after(downMs, () => victim.start());
  }

  /** The gateway notices and says so, ends its part, and begins anew when the server is back. */
  serverCrash(victim: Gateway, downMs: number): void {
    victim.server.crash();
    this.#world.scheduler.after(downMs, () => victim.server.start());
    victim.serverLost();
  }

  nodeCrash(victim: Gateway, downMs: number): void {
    victim.crash();
    victim.server.crash();
    this.#world.scheduler.after(downMs * 0.6 + 20, () => victim.server.start());
    this.#world.scheduler.after(downMs, () => victim.start());
  }

  /** For long, or for ever. */
  stop(victim: Gateway, downMs: number): void {
    victim.crash();
    if (this.#world.random.chance(0.5)) victim.server.crash();
    if (downMs !== Infinity) this.#world.scheduler.after(downMs, () => this.restart(victim));
  }

  restart(victim: Gateway): void {
    victim.server.start();
    victim.start();
  }

  heal(): void {
    this.#over = true;
    this.#network.heal();
    for (const { server } of this.#gateways) {
      server.refuses = false;
      server.prepareMs = 0;
    }
  }
}
