/**
 * The one drain loop: events of the commit and liveness machines in, effects out, in order.
 * Rule: an event that comes up while effects are executed waits its turn, so that a machine is never entered
 * twice.
 */
import type { CommitEffect, CommitEvent } from '../core/commit/event.ts';
import type { CommitMachine } from '../core/commit/machine.ts';
import type { Liveness } from '../core/generation/liveness.ts';
import type { LivenessEffect, LivenessEvent } from '../core/generation/liveness-event.ts';

type Queued =
  | { readonly machine: 'commit'; readonly event: CommitEvent }
  | { readonly machine: 'liveness'; readonly event: () => LivenessEvent };

export class Drain {
  readonly #commit: CommitMachine;
  readonly #liveness: Liveness;
  readonly #execute: (effect: CommitEffect | LivenessEffect) => void;
  readonly #queue: Queued[] = [];
  #running = false;

  constructor(
    commit: CommitMachine,
    liveness: Liveness,
    execute: (effect: CommitEffect | LivenessEffect) => void,
  ) {
    this.#commit = commit;
    this.#liveness = liveness;
    this.#execute = execute;
  }

  commit(event: CommitEvent): void {
    this.#queue.push({ machine: 'commit', event });
    this.#drain();
  }

  /** The event is made when its turn comes, so that its `now` never runs backwards. */
  liveness(event: () => LivenessEvent): void {
    this.#queue.push({ machine: 'liveness', event });
    this.#drain();
  }

  #drain(): void {
    if (this.#running) return;
    this.#running = true;
    let at = 0;
    while (at < this.#queue.length) {
      const queued = this.#queue[at++]!;
      const effects =
        queued.machine === 'commit' ? this.#commit.step(queued.event) : this.#liveness.step(queued.event());
      for (const effect of effects) this.#execute(effect);
      if (at > 1024) {
        this.#queue.splice(0, at);
        at = 0;
      }
    }
    this.#queue.length = 0;
    this.#running = false;
  }
}
