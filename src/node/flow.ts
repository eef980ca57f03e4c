/**
 * Back-pressure between nodes: a node that holds too many unapplied changes asks the others to pause their
 * change streams. The own stream pauses while a member asks for it or the link to one is full.
 *
 * Rules: heartbeats and votes share the links with the changes, so the links themselves are never paused;
 * only the source is. Any message may be lost with its link: a request to pause is repeated while it holds
 * and ends by itself when it is not, so that nobody waits for a member that is gone or cannot be heard.
 */
import type { NodeId } from '../core/identity.ts';
import type { PeerMessage } from '../core/peer/message.ts';

/** Unapplied bytes at which the sources are asked to pause, and at which they may go on. */
const highBytes = 16 * 1024 * 1024;
const lowBytes = 4 * 1024 * 1024;
/** A request that was not repeated for so long has ended, ms. */
const validMs = 5_000;

export interface FlowNode {
  /** Bytes received and not yet handed to the server. */
  unappliedBytes(): number;
  tell(message: PeerMessage): void;
  /** Where the own changes come from. */
  readonly source: { pause(): void; resume(): void };
}

export class Flow {
  readonly #node: FlowNode;
  /** Members that have asked this node to pause, and until when that holds. */
  readonly #asked = new Map<NodeId, number>();
  /** Members to which the link is full: another reason, which ends by itself. */
  readonly #full = new Set<NodeId>();
  #paused = false;
  /** The others may send. */
  #open = true;

  constructor(node: FlowNode) {
    this.#node = node;
  }

  /** Looks at the own backlog and at what the others have asked; called on every tick. */
  look(now: number): void {
    const former = this.#open;
    this.#open = this.#node.unappliedBytes() <= (former ? highBytes : lowBytes);
    if (!this.#open || !former) this.#tell();
    for (const [member, until] of this.#asked) if (now >= until) this.#asked.delete(member);
    this.#set();
  }

  /** A member wants the changes of this node to pause or to go on. */
  asked(from: NodeId, open: boolean, now: number): void {
    if (open) this.#asked.delete(from);
    else this.#asked.set(from, now + validMs);
    this.#set();
  }

  /** The link to the member can take no more, or can again: it is new, or what was queued is gone. */
  linkFull(to: NodeId, full: boolean): void {
    if (full) this.#full.add(to);
    else this.#full.delete(to);
    this.#set();
  }

  /** What was said last may have been lost with the former link. */
  linkUp(): void {
    this.#tell();
  }

  #tell(): void {
    this.#node.tell({ kind: 'flow', open: this.#open });
  }

  #set(): void {
    const paused = this.#asked.size > 0 || this.#full.size > 0;
    if (paused === this.#paused) return;
    this.#paused = paused;
    if (paused) this.#node.source.pause();
    else this.#node.source.resume();
  }
}
