/**
 * What the liveness machine remembers of one peer. Rule: a record of facts, it decides nothing but the words.
 */
import type { NodeId } from '../identity.ts';
import type { Heartbeat, MemberTrouble } from './liveness-event.ts';

export class PeerRecord {
  readonly node: NodeId;
  /** Which node of that id it is (configuration.ts). */
  readonly since: number;
  /** Undefined while the outgoing link is up. */
  linkDownReason: string | undefined = 'not connected yet';
  /** When the latest of our heartbeats that it answered was sent. */
  answeredAt = -Infinity;
  #heardAt = -Infinity;
  #silence = 'not heard yet';
  #heartbeat: Heartbeat | undefined;
  #incarnation: number | undefined;

  constructor(node: NodeId, since: number) {
    this.node = node;
    this.since = since;
  }

  get heartbeat(): Heartbeat | undefined {
    return this.#heartbeat;
  }

  /** Only a heartbeat counts as heard: it says how the peer is, an answer does not. */
  heard(now: number, message: Heartbeat): void {
    this.#heardAt = now;
    this.#silence = '';
    // One that was overtaken on another link says nothing new.
    if (this.#heartbeat === undefined || message.sentAt >= this.#heartbeat.sentAt) this.#heartbeat = message;
  }

  heardWithin(timeoutMs: number, now: number): boolean {
    return now - this.#heardAt <= timeoutMs;
  }

  /**
   * What a former process of the peer said is void. True when this is another process than the one before:
   * the first that is introduced may be one that a former process of this node has answered.
   */
  introduce(incarnation: number): boolean {
    const known = this.#incarnation;
    if (known !== undefined && incarnation <= known) return false;
    this.#incarnation = incarnation;
    if (known === undefined) return false;
    this.forget('not heard since its restart');
    return true;
  }

  forget(why: string): void {
    this.#heardAt = -Infinity;
    this.#heartbeat = undefined;
    this.#silence = why;
    this.answeredAt = -Infinity;
  }

  /** Why it is not in contact, so that nothing can be agreed with it; the texts hold no times. */
  silence(now: number, timeoutMs: number): MemberTrouble | undefined {
    const { node } = this;
    if (this.linkDownReason !== undefined) return { node, kind: 'no-link', text: this.linkDownReason };
    if (this.#heartbeat === undefined) return { node, kind: 'not-heard', text: this.#silence };
    if (!this.heardWithin(timeoutMs, now))
      return { node, kind: 'not-heard', text: `not heard for ${timeoutMs} ms` };
    return undefined;
  }

  /**
   * Why the peer cannot take part in a write; the texts hold no times, so that they stay put while nothing
   * changes.
   */
  trouble(now: number, timeoutMs: number, generation: number): MemberTrouble | undefined {
    const silent = this.silence(now, timeoutMs);
    const heartbeat = this.#heartbeat;
    if (silent !== undefined || heartbeat === undefined) return silent;
    const { node } = this;
    if (!heartbeat.healthy) {
      return { node, kind: 'unhealthy', text: heartbeat.reason === '' ? 'not healthy' : heartbeat.reason };
    }
    if (heartbeat.generation !== generation) {
      const text = heartbeat.generation === 0 ? 'in no generation' : `in generation ${heartbeat.generation}`;
      return { node, kind: 'other-generation', text };
    }
    if (heartbeat.onlineIn !== generation) {
      return { node, kind: 'not-online', text: 'is getting online' };
    }
    if (now - this.answeredAt > timeoutMs) {
      return { node, kind: 'no-answer', text: 'heard, but answers no heartbeat' };
    }
    return undefined;
  }
}

/** What is known of any peer while this process has not noticed the time yet that it stood still. */
export function stoodStill(node: NodeId): MemberTrouble {
  return { node, kind: 'not-heard', text: 'this gateway stood still' };
}
