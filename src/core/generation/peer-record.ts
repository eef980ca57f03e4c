/**
 * What the liveness machine remembers of one peer. Rule: a record of facts, it decides nothing but the words.
 */
import type { NodeId } from '../identity.ts';
import type { Heartbeat, MemberTrouble } from './liveness-event.ts';

export class PeerRecord {
  readonly node: NodeId;
  /** Undefined while the outgoing link is up. */
  linkDownReason: string | undefined = 'not connected yet';
  /** What the last member-lost or member-back said. */
  reportedReachable = false;
  #heardAt = -Infinity;
  #silence = 'not heard yet';
  #heartbeat: Heartbeat | undefined;
  #incarnation: number | undefined;

  constructor(node: NodeId) {
    this.node = node;
  }

  /** Only a heartbeat counts as heard: it says how the peer is, an answer does not. */
  heard(now: number, message: Heartbeat): void {
    this.#heardAt = now;
    this.#heartbeat = message;
    this.#silence = '';
  }

  heardWithin(timeoutMs: number, now: number): boolean {
    return now - this.#heardAt <= timeoutMs;
  }

  /** What a former process of the peer said is void. */
  introduce(incarnation: number): void {
    const known = this.#incarnation;
    if (known !== undefined && incarnation <= known) return;
    this.#incarnation = incarnation;
    if (known !== undefined) this.forget('not heard since its restart');
  }

  forget(why: string): void {
    this.#heardAt = -Infinity;
    this.#heartbeat = undefined;
    this.#silence = why;
  }

  /**
   * Why the peer cannot take part in a write; the texts hold no times, so that they stay put while nothing
   * changes.
   */
  trouble(now: number, timeoutMs: number, generation: number, answeredAt: number): MemberTrouble | undefined {
    const { node } = this;
    if (this.linkDownReason !== undefined) return { node, kind: 'no-link', text: this.linkDownReason };
    const heartbeat = this.#heartbeat;
    if (heartbeat === undefined) return { node, kind: 'not-heard', text: this.#silence };
    if (!this.heardWithin(timeoutMs, now))
      return { node, kind: 'not-heard', text: `not heard for ${timeoutMs} ms` };
    if (!heartbeat.healthy) {
      return { node, kind: 'unhealthy', text: heartbeat.reason === '' ? 'not healthy' : heartbeat.reason };
    }
    if (heartbeat.generation !== generation) {
      return { node, kind: 'other-generation', text: `in generation ${heartbeat.generation}` };
    }
    if (now - answeredAt > timeoutMs) {
      return { node, kind: 'no-answer', text: 'heard, but answers no heartbeat' };
    }
    return undefined;
  }
}
