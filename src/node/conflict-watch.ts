/**
 * Looks for applied transactions that wait for locks, and tells the commit machine who holds them.
 * Rule: nothing is asked of the server while every apply is young: the common case costs a comparison.
 */
import type { CommitEvent } from '../core/commit/event.ts';
import type { Gid } from '../core/identity.ts';
import type { ApplyHandle } from '../io/postgres/applier.ts';
import type { Control } from '../io/postgres/control.ts';
import { blockedBy, lockWaiters } from '../io/postgres/lock-monitor.ts';
import type { BlockedBy } from '../io/postgres/lock-monitor.ts';

/** An apply that runs longer may be waiting for a lock; looked for this often at most. */
const suspiciousMs = 10;
const betweenLooksMs = 15;
/** Of the time that the youngest apply has lasted: what takes seconds is found waiting a little later. */
const betweenLooksShare = 0.05;
const mostBetweenLooksMs = 250;

export interface WatchedNode {
  applying(): Iterable<ApplyHandle>;
  /** The process that decodes the slot. */
  walsender(): number | undefined;
  captureBlocked(gid: Gid): void;
  /** The undecided transaction that brings the rows of what a client has prepared under this name. */
  bringerOf(name: string): Gid | undefined;
  startTimeOf(backendPid: number): number | undefined;
  heldOpenBy(backendPid: number): Gid | undefined;
  blocked(event: Extract<CommitEvent, { kind: 'apply-blocked' }>): void;
}

export class ConflictWatch {
  readonly #control: Control;
  readonly #node: WatchedNode;
  readonly #since = new Map<Gid, number>();
  readonly #blockedSince = new Map<Gid, number>();
  #looking = false;
  #lookingAtWalsender = false;
  #nextLookAt = -Infinity;
  #endedAt = -Infinity;

  constructor(control: Control, node: WatchedNode) {
    this.#control = control;
    this.#node = node;
  }

  /** Called on every tick; does nothing while the look before is under way. */
  async look(): Promise<void> {
    if (this.#looking) return;
    const now = performance.now();
    if (now < this.#nextLookAt) return;
    const suspects = this.#suspects(now);
    if (suspects.size === 0 || now < this.#endedAt + this.#patience(now)) return;
    this.#looking = true;
    try {
      const { client } = this.#control;
      const waiting = await lockWaiters(client, [...suspects.keys()]);
      if (waiting.length > 0) this.#report(suspects, await blockedBy(client, waiting));
    } catch {
      // The control connection reports its own end; the next look comes with the next tick.
    } finally {
      // On a busy server looking must not become the load: it takes a fifth of the time at most.
      const endedAt = performance.now();
      this.#nextLookAt = endedAt + Math.max(betweenLooksMs, 4 * (endedAt - now));
      this.#endedAt = endedAt;
      this.#looking = false;
    }
  }

  #patience(now: number): number {
    let youngest = Infinity;
    for (const since of this.#since.values()) youngest = Math.min(youngest, now - since);
    return Math.min(youngest * betweenLooksShare, mostBetweenLooksMs);
  }

  /**
   * Decoding that waits for a lock of a prepared transaction waits for ever: nobody behind it would ever be
   * decoded. Does nothing while the look before is under way: a server that hangs is not asked again.
   */
  async lookAtWalsender(): Promise<void> {
    const pid = this.#node.walsender();
    if (pid === undefined || this.#lookingAtWalsender) return;
    this.#lookingAtWalsender = true;
    try {
      const waiting = await lockWaiters(this.#control.client, [pid]);
      if (waiting.length === 0) return;
      for (const { holder } of await blockedBy(this.#control.client, waiting)) {
        if (holder.kind === 'prepared') this.#node.captureBlocked(holder.gid);
      }
    } catch {
      // The control connection reports its own end; the next look comes with the next tick.
    } finally {
      this.#lookingAtWalsender = false;
    }
  }

  #suspects(now: number): Map<number, ApplyHandle> {
    const suspects = new Map<number, ApplyHandle>();
    const seen = new Set<Gid>();
    for (const handle of this.#node.applying()) {
      seen.add(handle.gid);
      const since = this.#since.get(handle.gid);
      if (since === undefined) this.#since.set(handle.gid, now);
      else if (now - since >= suspiciousMs && handle.pid !== undefined) suspects.set(handle.pid, handle);
    }
    for (const gid of this.#since.keys()) {
      if (seen.has(gid)) continue;
      this.#since.delete(gid);
      this.#blockedSince.delete(gid);
    }
    return suspects;
  }

  #report(waiters: ReadonlyMap<number, ApplyHandle>, blocks: readonly BlockedBy[]): void {
    const now = performance.now();
    const blocked = new Set<Gid>();
    const byPid = new Map<number, Gid>();
    for (const handle of this.#node.applying())
      if (handle.pid !== undefined) byPid.set(handle.pid, handle.gid);
    for (const { waiter, holder } of blocks) {
      const handle = waiters.get(waiter);
      if (handle === undefined || handle.pid !== waiter) continue; // it has ended meanwhile
      const { gid, ddl } = handle;
      blocked.add(gid);
      const since = this.#blockedSince.get(gid) ?? now;
      this.#blockedSince.set(gid, since);
      const event = { kind: 'apply-blocked', gid, ddl, waitedMs: now - since } as const;
      if (holder.kind === 'prepared') {
        const held = this.#node.bringerOf(holder.gid) ?? holder.gid;
        this.#node.blocked({ ...event, holder: { kind: 'transaction', gid: held } });
        continue;
      }
      const applied = byPid.get(holder.pid) ?? this.#node.heldOpenBy(holder.pid);
      if (applied !== undefined) {
        this.#node.blocked({ ...event, holder: { kind: 'transaction', gid: applied } });
        continue;
      }
      const startTime = this.#node.startTimeOf(holder.pid);
      const { pid, waits: waiting, mutual } = holder;
      this.#node.blocked({ ...event, holder: { kind: 'session', pid, startTime, waiting, mutual } });
    }
    for (const gid of this.#blockedSince.keys()) if (!blocked.has(gid)) this.#blockedSince.delete(gid);
  }
}
