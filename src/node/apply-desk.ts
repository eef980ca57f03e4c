/**
 * The transactions of other nodes that are being applied here, and the look at what they wait for.
 * Rule: only while something is applied is anybody woken for it: an idle gateway sleeps as long as it can.
 */
import type { GidEvent } from '../core/node/node-event.ts';
import { parseGid } from '../core/identity.ts';
import type { Gid, Refusal } from '../core/identity.ts';
import type { ClientBranches } from '../io/postgres/client-branches.ts';
import type { Applier, ApplyHandle } from '../io/postgres/applier.ts';
import { ConflictWatch } from './conflict-watch.ts';
import { headerProof } from './header-proof.ts';
import type { NodeParts } from './node-parts.ts';

const watchMs = 10;

export interface ApplyDeskNode {
  event(event: GidEvent): void;
  /** Hybrid start time of the transaction that the backend runs; undefined when it is not one of ours. */
  startTimeOf(backendPid: number): number | undefined;
  readonly server: {
    /** The transaction that the backend holds open while the others prepare it. */
    heldOpenBy(backendPid: number): Gid | undefined;
    /** The process that decodes the slot. */
    readonly walsender: number | undefined;
    /** The transaction is prepared, or may be; the handle knows what it carried. */
    applied(gid: Gid, handle: ApplyHandle, prepared: boolean): void;
    /** Decoding waits for a lock of what a client has prepared, or somebody past the gateway. */
    readonly branchDesk: { captureBlocked(): void };
    readonly branches: Pick<ClientBranches, 'bringerOf'>;
  };
}

export class ApplyDesk {
  readonly #secret: string;
  readonly #applier: Applier;
  readonly #node: ApplyDeskNode;
  readonly #watch: ConflictWatch;
  readonly #applying = new Map<Gid, ApplyHandle>();
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: NodeParts, applier: Applier, node: ApplyDeskNode) {
    this.#secret = parts.config.clusterSecret;
    this.#applier = applier;
    this.#node = node;
    this.#watch = new ConflictWatch(parts.observer, {
      applying: () => this.#applying.values(),
      startTimeOf: (pid) => node.startTimeOf(pid),
      heldOpenBy: (pid) => node.server.heldOpenBy(pid),
      blocked: (event) => node.event(event),
      walsender: () => node.server.walsender,
      bringerOf: (name) => node.server.branches.bringerOf(name),
      captureBlocked: (gid) => {
        if (parseGid(gid) === undefined) node.server.branchDesk.captureBlocked();
        else node.event({ kind: 'capture-blocked', gid });
      },
    });
  }

  /** Transactions that are being applied. */
  get size(): number {
    return this.#applying.size;
  }

  /** Bytes received and not yet handed to the server. */
  get unappliedBytes(): number {
    let bytes = 0;
    for (const handle of this.#applying.values()) bytes += handle.buffered;
    return bytes;
  }

  open(gid: Gid): void {
    const handle = this.#applier.open(gid, headerProof(this.#secret, gid));
    this.#applying.set(gid, handle);
    this.#timer ??= setInterval(() => this.#look(), watchMs);
    handle.onDone = (result) => {
      this.#applying.delete(gid);
      // What was refused gets no finish, with which the server forgets what it notes here.
      if (result.kind !== 'refused') this.#node.server.applied(gid, handle, result.kind === 'prepared');
      this.#node.event({ kind: 'apply-ended', gid, result });
    };
  }

  push(gid: Gid, data: Uint8Array): void {
    this.#applying.get(gid)?.push(data);
  }

  end(gid: Gid): void {
    this.#applying.get(gid)?.end();
  }

  cancel(gid: Gid, refusal: Refusal): void {
    this.#applying.get(gid)?.cancel(refusal);
  }

  /** Decoding that waits for a lock of a prepared transaction waits for ever. */
  lookAtWalsender(): void {
    void this.#watch.lookAtWalsender();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#applier.stop();
  }

  #look(): void {
    if (this.#applying.size > 0) {
      void this.#watch.look();
      return;
    }
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
