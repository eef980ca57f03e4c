/**
 * How a machine is broken from outside: with something between it and the world, other members laid over it, or
 * a method of one of its classes replaced for a while.
 */
import type { CommitEffect, CommitEvent } from '../../src/core/commit/event.ts';
import { CommitMachine } from '../../src/core/commit/machine.ts';
import type { CommitOptions } from '../../src/core/commit/machine.ts';
import type { NodeId } from '../../src/core/identity.ts';
import type { NodeMachine } from '../../src/core/node/node-machine.ts';
import type { NodeEffect, NodeEvent } from '../../src/core/node/node-event.ts';
import type { NodeOptions } from '../../src/core/node/node-options.ts';
import type { PeerMessage } from '../../src/core/peer/message.ts';
import { realMachine } from './run.ts';
import type { MachineMaker } from './world.ts';

type Target = object;

/** The same object with other members; the rest is its own. */
export function overlaid<T extends Target>(target: T, overlay: Partial<Record<keyof T, unknown>>): T {
  return new Proxy(target, {
    get(inner, key) {
      if (key in overlay) {
        const found = Object.getOwnPropertyDescriptor(overlay, key)!;
        return found.get === undefined ? found.value : (found.get.call(overlay) as unknown);
      }
      const value = Reflect.get(inner, key, inner) as unknown;
      return typeof value === 'function' ? (value.bind(inner) as unknown) : value;
    },
  });
}

export interface Surgery {
  readonly options?: (options: NodeOptions) => NodeOptions;
  /** What the machine is told instead; undefined hides the event. */
  readonly event?: (event: NodeEvent, self: NodeId) => NodeEvent | undefined;
  /** What is executed instead. */
  readonly effects?: (
    effects: readonly NodeEffect[],
    event: NodeEvent,
    self: NodeId,
  ) => readonly NodeEffect[];
}

export function broken({ options: change, event: hear, effects: order }: Surgery): MachineMaker {
  return (options) => {
    const machine = realMachine(change?.(options) ?? options);
    const step = (event: NodeEvent): readonly NodeEffect[] => {
      const heard = hear === undefined ? event : hear(event, options.self);
      const effects = heard === undefined ? [] : machine.step(heard);
      return order?.(effects, event, options.self) ?? effects;
    };
    return overlaid<NodeMachine>(machine, { step });
  };
}

/** The commit machines of every generation pass through `make`. */
export function commitMachines(make: (options: CommitOptions) => CommitMachine): Surgery {
  return { options: (options) => ({ ...options, makeMachine: make }) };
}

/** Every message that it sends passes through `change`; undefined drops it. */
export function saying(change: (message: PeerMessage) => PeerMessage | undefined): Surgery {
  const effects = (all: readonly NodeEffect[]): NodeEffect[] => {
    const kept: NodeEffect[] = [];
    for (const effect of all) {
      if (effect.kind !== 'send') kept.push(effect);
      else {
        const message = change(effect.message);
        if (message !== undefined) kept.push({ ...effect, message } as NodeEffect);
      }
    }
    return kept;
  };
  return { effects };
}

/** Its commit machines are told nothing of these kinds. */
export function deafTo(...kinds: CommitEvent['kind'][]): Surgery {
  return commitMachines((options) => {
    const machine = new CommitMachine(options);
    const step = (event: CommitEvent): readonly CommitEffect[] => {
      return kinds.includes(event.kind) ? [] : machine.step(event);
    };
    return overlaid(machine, { step });
  });
}

/** A method of a class answers wrongly. */
export function patched<T extends Target, K extends keyof T>(
  prototype: T,
  name: K,
  replace: (original: T[K]) => T[K],
): () => () => void {
  return () => {
    const before = Object.getOwnPropertyDescriptor(prototype, name)!;
    Object.defineProperty(prototype, name, { ...before, value: replace(before.value as T[K]) });
    return () => Object.defineProperty(prototype, name, before);
  };
}
