/**
 * Back-pressure between nodes: a node that holds too many unapplied changes asks the others to pause their
 * change streams.
 * Rule: heartbeats and votes share the links with the changes, so the links themselves are never paused;
 * only the source is.
 */
import type { NodeId } from '../core/identity.ts';
import type { PeerMessage } from '../core/peer/message.ts';

/** Unapplied bytes at which the sources are asked to pause, and at which they may go on. */
const highBytes = 16 * 1024 * 1024;
const lowBytes = 4 * 1024 * 1024;

export interface FlowNode {
  /** Bytes received and not yet handed to the server. */
  unappliedBytes(): number;
  tell(message: PeerMessage): void;
  pauseSource(): void;
  resumeSource(): void;
}

export class Flow {
  readonly #node: FlowNode;
  /** Members that have asked this node to pause, or whose link is full. */
  readonly #holding = new Set<NodeId>();
  #open = true;

  constructor(node: FlowNode) {
    this.#node = node;
  }

  /** Looks at the own backlog; called on every tick. */
  look(): void {
    const bytes = this.#node.unappliedBytes();
    if (this.#open && bytes > highBytes) this.#set(false);
    else if (!this.#open && bytes < lowBytes) this.#set(true);
  }

  #set(open: boolean): void {
    this.#open = open;
    this.#node.tell({ kind: 'flow', open });
  }

  /** A member wants the changes of this node to pause or to go on. */
  asked(from: NodeId, open: boolean): void {
    if (open) this.released(from);
    else {
      this.#holding.add(from);
      this.#node.pauseSource();
    }
  }

  /** The member can take changes again, or is no longer there to be spared. */
  released(member: NodeId): void {
    if (this.#holding.delete(member) && this.#holding.size === 0) this.#node.resumeSource();
  }

  /** What was asked may have been lost with the link. */
  linkUp(): void {
    if (!this.#open) this.#node.tell({ kind: 'flow', open: false });
  }
}
