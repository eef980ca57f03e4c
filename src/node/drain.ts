/**
 * The one drain loop: events of the node machine in, effects out, in order. Rule: an event that comes up
 * while effects are executed waits its turn, so that the machine is never entered twice, and its time is read
 * only then, so that time never runs backwards.
 */
import { failPoint } from './fail-point.ts';
import type { NodeEffect, NodeEvent } from '../core/node/node-event.ts';
import type { NodeMachine } from '../core/node/node-machine.ts';

type Timed = Extract<NodeEvent, { readonly now: number }>;
/** What the machine is told of at `now`. */
export type Happening = (now: number) => Timed;

export class Drain {
  readonly #machine: NodeMachine;
  readonly #execute: (effect: NodeEffect) => void;
  readonly #queue: (NodeEvent | Happening)[] = [];
  #running = false;

  constructor(machine: NodeMachine, execute: (effect: NodeEffect) => void) {
    this.#machine = machine;
    this.#execute = execute;
  }

  /** Events that carry a time are given as functions of it. */
  push(event: Exclude<NodeEvent, Timed> | Happening): void {
    this.#queue.push(event);
    if (this.#running) return;
    this.#running = true;
    let at = 0;
    while (at < this.#queue.length) {
      const queued = this.#queue[at++]!;
      const event = typeof queued === 'function' ? queued(performance.now()) : queued;
      failPoint?.('event', event);
      for (const effect of this.#machine.step(event)) {
        failPoint?.('effect', effect);
        this.#execute(effect);
      }
      if (at > 1024) {
        this.#queue.splice(0, at);
        at = 0;
      }
    }
    this.#queue.length = 0;
    this.#running = false;
  }
}

/** Gives what is decided the time to be executed, so that the next start has less to ask for. */
export async function commitsFinished(
  machine: Pick<NodeMachine, 'openTransactions'>,
  limitMs: number,
): Promise<void> {
  const until = performance.now() + limitMs;
  while (performance.now() < until) {
    const { own, foreign } = machine.openTransactions;
    if (own === 0 && foreign === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
