/**
 * As src/node/syncpoint.ts: the floor becomes durable, then the retained slot moves.
 */
import type { Floor } from '../../src/core/commit/outcome-memory.ts';
import type { Syncpoint } from '../../src/core/node/floors.ts';
import type { NodeMachine } from '../../src/core/node/node-machine.ts';
import type { Gateway } from './gateway.ts';
import type { World } from './world.ts';

export class Syncpoints {
  readonly #world: World;
  readonly #gateway: Gateway;
  readonly #machine: NodeMachine;
  #pending: { readonly place: number; readonly syncpoint: Syncpoint } | undefined;
  #raising = false;

  constructor(world: World, gateway: Gateway, machine: NodeMachine) {
    this.#world = world;
    this.#gateway = gateway;
    this.#machine = machine;
  }

  look(): void {
    if (this.#raising) return;
    if (this.#pending === undefined) {
      const place = this.#gateway.server.history.length;
      const syncpoint = this.#machine.takeSyncpoint();
      if (syncpoint !== undefined) this.#pending = { place, syncpoint };
      return;
    }
    const { place, syncpoint } = this.#pending;
    const floor = this.#machine.passedFloor(syncpoint);
    if (floor === undefined) return;
    this.#pending = undefined;
    if (floor === 'void') return;
    // What is known of outcomes is written before; nobody knows how long that takes.
    const { random } = this.#world;
    if (this.#gateway.options.membership === undefined) return this.#raise(floor, place, syncpoint);
    this.#raising = true;
    this.#gateway.later(random.pick([0, 1, 10, 100]) * random.next(), () =>
      this.#raise(floor, place, syncpoint),
    );
  }

  #raise(floor: Floor, place: number, syncpoint: Syncpoint): void {
    this.#raising = false;
    // Its generation may be over meanwhile, and a copy of this server with the former floor on its way.
    const late = this.#machine.passedFloor(syncpoint) === 'void';
    if (late && this.#world.sabotage.raisesLate !== true) return;
    const gateway = this.#gateway;
    const { incarnation } = gateway;
    gateway.server.raiseFloor(floor, place, () => {
      if (gateway.incarnation === incarnation)
        gateway.deliver(() => gateway.step({ kind: 'floor-raised', floor }));
    });
  }
}
