/**
 * Whether what stands in the way of a client is likely to pass in a moment: while the members agree on a new
 * generation statements wait instead of failing.
 * Rule: only in contact with a majority, and only for a while; then the client is told.
 */
import type { NodeMachine } from '../core/node/node-machine.ts';

export class Patience {
  readonly #machine: NodeMachine;
  readonly #limitMs: number;
  #servedAt: number;
  #writableAt: number;

  /**
   * `recvTimeoutMs`: heartbeat_recv_timeout. An election after a failure that nobody announced takes that.
   */
  constructor(machine: NodeMachine, recvTimeoutMs: number, now: number) {
    this.#machine = machine;
    this.#limitMs = 3 * recvTimeoutMs + 2000;
    this.#servedAt = now;
    this.#writableAt = now;
  }

  /** To be called on every tick. */
  look(now: number): void {
    const { liveness } = this.#machine;
    if (!liveness.hasLease(now)) return;
    this.#servedAt = now;
    if (liveness.membersReachable(now)) this.#writableAt = now;
  }

  /** The node does not serve, and will probably soon. */
  forService(now: number): boolean {
    return this.#hopes(now) && now - this.#servedAt < this.#limitMs;
  }

  /** A member cannot be reached, and a generation without it will probably be there soon. */
  forMembers(now: number): boolean {
    return this.#hopes(now) && now - this.#writableAt < this.#limitMs;
  }

  #hopes(now: number): boolean {
    const { liveness } = this.#machine;
    return liveness.health.healthy && this.#machine.hopeful(now);
  }
}
