/**
 * Recovery as src/io/recovery does it: the donor's retained slot is streamed in commit order over a connection
 * of its own; the receiver reads ahead, drops what it knows and applies the rest in one phase, not yet durable.
 * The mark that it is to end at closes the stream when it comes: what came before it is applied and flushed, and
 * only then the mark is told. It breaks with either process, either server, the network.
 */
import type { Gid } from '../../src/core/identity.ts';
import type { HistoryEntry } from './server-record.ts';
import type { Server } from './server.ts';
import type { World } from './world.ts';

export interface RecoveryDonor {
  readonly incarnation: number | undefined;
  /** The generation that it is online in. */
  readonly generation: number | undefined;
  readonly server: Server;
}

export interface RecoveryReceiver extends RecoveryDonor {
  deliver(action: () => void): void;
  isKnown(gid: Gid): boolean;
  recoveryApplied(gid: Gid): void;
  recoveryProgressed(lagBytes: number): void;
  recoveryReached(generation: number): void;
  recoverySeeded(): void;
  recoveryFailed(reason: string, reseed: boolean): void;
}

/** What a transaction weighs in the lag, bytes: ten of them are "nearly level". */
const entryBytes = 100_000;
const pollMs = 3;
/** Entries that come at once at most. */
const mostAtOnce = 30;

export class Recovery {
  readonly #world: World;
  readonly #receiver: RecoveryReceiver;
  readonly #donor: RecoveryDonor;
  readonly #connected: () => boolean;
  readonly #processes: readonly [number | undefined, number | undefined];
  readonly #servers: readonly [number, number];
  #next: number;
  /** The receiver's server is a copy of the donor's up to here, and this is not noted yet. */
  readonly #copyEnd: number | undefined;
  #seeding = false;
  /** The mark at which it ends; undefined: it goes on. */
  #target: number | undefined;
  #highestMark = 0;
  /** What stands before this has come. */
  #come: number;
  /** The mark that came: nothing behind it is read. */
  #closing: number | undefined;
  #asked = false;
  #over = false;

  constructor(
    world: World,
    receiver: RecoveryReceiver,
    donor: RecoveryDonor,
    target: number | undefined,
    connected: () => boolean,
  ) {
    this.#world = world;
    this.#receiver = receiver;
    this.#donor = donor;
    this.#target = target;
    this.#connected = connected;
    this.#processes = [receiver.incarnation, donor.incarnation];
    this.#servers = [receiver.server.epoch, donor.server.epoch];
    this.#next = donor.server.retained;
    this.#come = this.#next;
    const { seed } = receiver.server;
    this.#copyEnd = seed?.done === false ? seed.copyEnd : undefined;
    this.#soon(world.random.between(1, 10));
  }

  stop(): void {
    this.#over = true;
  }

  /** Also when the mark has come already; one that ends at a lower mark is not held up by it. */
  follow(generation: number): void {
    this.#target = generation;
    this.#lookAtMark();
  }

  #lookAtMark(): void {
    if (this.#target !== undefined && this.#highestMark >= this.#target) this.#closing ??= this.#target;
  }

  #soon(ms: number): void {
    this.#world.scheduler.after(ms, () => {
      if (this.#over || this.#receiver.incarnation !== this.#processes[0]) return;
      this.#receiver.deliver(() => this.#step());
    });
  }

  get #whole(): boolean {
    const { server: here } = this.#receiver;
    const { server: there, incarnation } = this.#donor;
    if (this.#closing !== undefined) return here.up && here.epoch === this.#servers[0];
    if (!here.up || !there.up || incarnation === undefined || !this.#connected()) return false;
    return (
      incarnation === this.#processes[1] &&
      here.epoch === this.#servers[0] &&
      there.epoch === this.#servers[1]
    );
  }

  #step(): void {
    if (this.#over) return;
    if (!this.#whole) {
      this.#over = true;
      this.#receiver.recoveryFailed('the connection to the donor broke', false);
      return;
    }
    if (!this.#asked && this.#donor.generation === undefined) {
      this.#over = true;
      this.#receiver.recoveryFailed('it is not online itself', false);
      return;
    }
    const lost = this.#asked ? undefined : this.#lacking();
    this.#asked = true;
    if (lost !== undefined) {
      this.#over = true;
      this.#receiver.recoveryFailed(lost, true);
      return;
    }
    this.#read();
    const entry = this.#next < this.#come ? this.#donor.server.history[this.#next] : undefined;
    this.#look();
    if (entry !== undefined) {
      if (this.#world.sabotage.reachesBeforeApplied && this.#closing !== undefined) return this.#reached();
      return this.#apply(entry);
    }
    if (this.#closing !== undefined) return this.#flushed(() => this.#reached());
    this.#receiver.recoveryProgressed(0);
    this.#soon(pollMs);
  }

  /** What has come, whole, up to the mark that ends it. A walsender shows what is flushed. */
  #read(): void {
    const { server } = this.#donor;
    const limit = Math.min(this.#next + this.#world.random.below(mostAtOnce), server.flushed);
    while (this.#come < limit && this.#closing === undefined) {
      const entry = server.history[this.#come];
      this.#come += 1;
      if (entry?.kind !== 'mark') continue;
      this.#highestMark = Math.max(this.#highestMark, entry.generation);
      this.#lookAtMark();
    }
  }

  #reached(): void {
    this.#over = true;
    this.#receiver.recoveryReached(this.#closing!);
  }

  /** As the donor answers the request: what the receiver needs of it that it has not. */
  #lacking(): string | undefined {
    const { server } = this.#donor;
    const { seed, durable } = this.#receiver.server;
    if (this.#copyEnd !== undefined)
      return server.retained > this.#copyEnd ? 'the copy is older than the history that is kept' : undefined;
    const complete = Math.max(durable.lastOnline, (seed?.generation ?? 0) - 1, 0);
    if (complete >= server.lostGeneration || this.#world.sabotage.givesWhatItLacks === true) return undefined;
    return `what it missed before generation ${server.lostGeneration} is not kept`;
  }

  /** Everything that the copy holds has come: once it is durable, that is noted. */
  #look(): void {
    if (this.#copyEnd === undefined || this.#next < this.#copyEnd || this.#seeding) return;
    this.#seeding = true;
    const { server, incarnation } = this.#receiver;
    server.flush(() => {
      if (this.#receiver.incarnation !== incarnation) return;
      server.noteSeeded(() => {
        if (this.#receiver.incarnation === incarnation)
          this.#receiver.deliver(() => this.#receiver.recoverySeeded());
      });
    });
  }

  #apply(entry: HistoryEntry): void {
    const { random } = this.#world;
    if (entry.kind === 'mark') {
      this.#next += 1;
      return this.#soon(0.1);
    }
    const { gid } = entry;
    const changes = entry.kind === 'commit' ? entry.changes : [];
    if (this.#copyEnd !== undefined && this.#next < this.#copyEnd) {
      if (!this.#receiver.isKnown(gid)) {
        this.#receiver.server.noteHeader(gid);
        this.#receiver.recoveryApplied(gid);
      }
    } else if (changes.length > 0 && !this.#receiver.isKnown(gid)) {
      if (!this.#receiver.server.replay(gid, changes)) return this.#soon(pollMs);
      this.#receiver.recoveryApplied(gid);
      this.#world.checker.counts.recovered += 1;
    }
    this.#next += 1;
    const lag = (this.#donor.server.flushed - this.#next) * entryBytes;
    if (random.chance(0.2)) this.#receiver.recoveryProgressed(lag);
    this.#soon(random.between(0.05, 1));
  }

  /** Everything applied so far is durable before anybody hears of it. */
  #flushed(done: () => void): void {
    this.#receiver.server.flush(() => {
      if (this.#over || this.#receiver.incarnation !== this.#processes[0]) return;
      this.#receiver.deliver(() => {
        if (!this.#over) done();
      });
    });
  }
}
