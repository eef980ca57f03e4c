/**
 * Catching up, as the node machine orders it, and the other side of it: this node's history for others, and a
 * copy of its server for the machine of a node that was added.
 * Rule: one replay at a time; a new one, and anything that must come after the end of the former, waits until
 * nothing of that will be committed any more.
 */
import type { Gid, Lsn, NodeId } from '../core/identity.ts';
import type { CatchUpReport } from '../admin/status-report.ts';
import { Recovery, type RecoveryHandler, type RecoveryProgress } from '../io/recovery/recovery.ts';
import { CopyDonor } from '../io/recovery/base-backup-donor.ts';
import { RecoveryDonor, type DonorLog, type DonorSessionStatus } from '../io/recovery/donor.ts';
import type { PeerStream } from '../io/peers/peer-stream.ts';
import { noteSeeded, type Seed } from '../io/store/seed.ts';
import type { RetainedSlot } from '../io/store/retained-slot.ts';
import type { Chronicle } from '../telemetry/chronicle.ts';
import { LagEstimate } from '../telemetry/lag-estimate.ts';
import type { Happening } from './drain.ts';
import type { NodeParts } from './node-parts.ts';
import { headerProof, headerVerifier } from './header-proof.ts';

/** A line of the log tells how far a long replay is this often, ms. */
const progressLineMs = 10_000;

export interface RecoveryDeskNode {
  event(event: Happening): void;
  /** Committed here by the replay. */
  replayed(gids: readonly Gid[], ddl: boolean): void;
  openStream(to: NodeId): Promise<PeerStream>;
  isKnown(gid: Gid): boolean;
  lastOnline(): number;
  /** It is noted durably that this node knows what its copy holds. */
  seeded(): void;
  /** Why this node is no donor; undefined when it is. */
  unfit(): string | undefined;
  lost(reason: string): void;
  /** What clients have prepared is not in the way of a replay any more. */
  clearBranches(): Promise<void>;
}

export class RecoveryDesk {
  readonly #parts: NodeParts;
  readonly #node: RecoveryDeskNode;
  readonly #donor: RecoveryDonor;
  readonly #copyDonor: CopyDonor;
  /** Each order begins a new run; what a former one still says concerns nobody. */
  #run = 0;
  #recovery: Recovery | undefined;
  #target: number | undefined;
  #ended: Promise<void> = Promise.resolve();
  /** Undefined: the server is no copy, or what it holds is known. */
  #seed: Seed | undefined;
  readonly #estimate = new LagEstimate();
  #replaying: { readonly donor: NodeId; readonly since: number } | undefined;
  #progress: RecoveryProgress | undefined;
  #toldAt = 0;

  constructor(parts: NodeParts, slot: RetainedSlot, node: RecoveryDeskNode) {
    this.#parts = parts;
    this.#node = node;
    const { config, log, seed } = parts;
    this.#seed = seed?.done === false ? seed : undefined;
    this.#donor = new RecoveryDonor({
      login: config.postgres,
      verifyHeader: headerVerifier(config.clusterSecret),
      lost: () => slot.lost,
      unfit: () => node.unfit(),
      walEnd: () => slot.walEnd(),
      log: toldLog(log.child({ component: 'donor' }), parts.telemetry.chronicle),
    });
    this.#copyDonor = new CopyDonor({
      node: config.nodeId,
      login: config.postgres,
      unfit: () => node.unfit(),
      log: toldLog(log.child({ component: 'copy' }), parts.telemetry.chronicle),
    });
  }

  /** Resolves when nothing of a replay that was ended will be committed any more. */
  get ended(): Promise<void> {
    return this.#ended;
  }

  /** The nodes that catch up from this one. */
  get given(): readonly DonorSessionStatus[] {
    return this.#donor.sessions;
  }

  /** How far this node is; null: it does not catch up. */
  get progress(): CatchUpReport | null {
    if (this.#replaying === undefined) return null;
    const { donor, since } = this.#replaying;
    const progress = this.#progress;
    return {
      donor,
      sinceSeconds: Math.round((performance.now() - since) / 1000),
      lagBytes: progress?.lagBytes ?? null,
      replayedBytes: progress?.replayedBytes ?? 0,
      transactions: progress?.transactions ?? 0,
      transactionsPerSecond: progress?.perSecond ?? 0,
      paceBytesPerSecond: this.#estimate.bytesPerSecond ?? null,
      remainingSeconds: this.#estimate.remainingSeconds ?? null,
    };
  }

  serve(to: NodeId, stream: PeerStream, wanted: 'history' | 'copy'): void {
    if (wanted === 'copy') this.#copyDonor.serve(to, stream);
    else this.#donor.serve(to, stream);
  }

  recover(donor: NodeId, target: number | undefined): void {
    const run = ++this.#run;
    this.#target = target;
    const text = `this node catches up from node ${donor}`;
    const message = 'this node replays what it has missed';
    this.#parts.telemetry.chronicle.tell('info', 'catch-up', text, message, { donor, target });
    this.#replaying = { donor, since: performance.now() };
    this.#toldAt = performance.now();
    void this.#start(run, donor);
  }

  follow(target: number): void {
    this.#target = target;
    this.#recovery?.follow(target);
  }

  stop(): void {
    this.#run++;
    this.#forgetProgress();
    const recovery = this.#recovery;
    this.#recovery = undefined;
    if (recovery !== undefined) this.#ended = this.#ended.then(() => recovery.stop());
  }

  /** The history before `position` is given up: streams that have not come so far end. */
  cutOff(position: Lsn): void {
    const text = 'max_retained_wal is reached: nodes that are away must be seeded anew';
    this.#parts.telemetry.chronicle.note('warn', 'history-given-up', text);
    this.#donor.cutOff(position, 'what comes next is not kept any more (max_retained_wal)');
  }

  close(): void {
    this.stop();
    this.#donor.stop();
    this.#copyDonor.stop();
  }

  async #start(run: number, donor: NodeId): Promise<void> {
    const { config } = this.#parts;
    try {
      await this.#ended;
      await this.#node.clearBranches();
      const stream = await this.#node.openStream(donor);
      if (run !== this.#run) return void stream.socket.destroy();
      const options = {
        donor,
        stream,
        login: config.postgres,
        lastOnline: this.#completeUpTo(),
        copyEnd: this.#seed?.copyEnd ?? 0n,
        isKnown: (gid: Gid) => this.#node.isKnown(gid),
        proof: (gid: Gid) => headerProof(config.clusterSecret, gid),
        handler: this.#handler(run),
      };
      const recovery = await Recovery.start(options, this.#target);
      if (run === this.#run) {
        this.#recovery = recovery;
        recovery.follow(this.#target);
      } else this.#ended = this.#ended.then(() => recovery.stop());
    } catch (error) {
      this.#failed(run, `node ${donor}: ${(error as Error).message}`);
    }
  }

  /**
   * Of generations up to this one nothing is missing here. A copy is complete in the generation before that
   * of its source: what the others gave up since then it may lack.
   */
  #completeUpTo(): number {
    const { seed } = this.#parts;
    return Math.max(this.#node.lastOnline(), (seed?.generation ?? 0) - 1, 0);
  }

  async #seeded(): Promise<void> {
    try {
      await noteSeeded(this.#parts.observer.client);
    } catch (error) {
      return this.#node.lost(`it could not be noted what the copy holds: ${(error as Error).message}`);
    }
    this.#seed = undefined;
    this.#parts.log.info('this node knows what its copy holds');
    this.#node.seeded();
  }

  #handler(run: number): RecoveryHandler {
    const current = (): boolean => run === this.#run;
    return {
      replayed: (gids, ddl) => this.#node.replayed(gids, ddl),
      seeded: () => void this.#seeded(),
      progressed: (progress) => {
        const { lagBytes } = progress;
        if (!current()) return;
        this.#progressed(progress);
        if (lagBytes === undefined) return;
        this.#node.event((now) => ({ kind: 'recovery-progressed', now, lagBytes }));
      },
      reached: (generation) => {
        if (!current()) return;
        this.#recovery = undefined;
        this.#reached(generation);
        this.#node.event((now) => ({ kind: 'recovery-reached', now, generation }));
      },
      failed: (cause, reason) => {
        if (cause === 'local') return this.#node.lost(reason);
        this.#failed(run, reason, cause === 'reseed' || cause === 'diverged');
      },
    };
  }

  #progressed(progress: RecoveryProgress): void {
    const now = performance.now();
    this.#progress = progress;
    if (progress.lagBytes !== undefined) this.#estimate.add(now, progress.lagBytes);
    if (now - this.#toldAt < progressLineMs) return;
    this.#toldAt = now;
    this.#parts.log.info({ ...this.progress }, 'this node catches up');
  }

  #reached(generation: number): void {
    const { sinceSeconds: seconds = 0, transactions = 0 } = this.progress ?? {};
    const message = 'this node has replayed what it had missed';
    const text = `this node is level again: ${transactions} transactions replayed in ${seconds} s`;
    const fields = { generation, transactions, seconds };
    this.#parts.telemetry.chronicle.tell('info', 'caught-up', text, message, fields);
    this.#forgetProgress();
  }

  #forgetProgress(): void {
    this.#replaying = undefined;
    this.#progress = undefined;
    this.#estimate.clear();
  }

  #failed(run: number, reason: string, reseed = false): void {
    if (run !== this.#run) return;
    this.#recovery = undefined;
    this.#forgetProgress();
    const message = 'the replay has ended before its time';
    const text = `catching up has failed: ${reason}`;
    this.#parts.telemetry.chronicle.tell('warn', 'catch-up-failed', text, message, { reason, reseed });
    this.#node.event((now) => ({ kind: 'recovery-failed', now, reason, reseed }));
  }
}

/** Lines that begin with a node to which this one gives something are events, too. */
function toldLog(log: DonorLog, chronicle: Chronicle): DonorLog {
  const note = (level: 'info' | 'warn', fields: object, message: string): void => {
    const { to, reason } = fields as { to?: unknown; reason?: unknown };
    const why = typeof reason === 'string' ? `: ${reason}` : '';
    log[level](fields, message);
    if (typeof to === 'number') chronicle.note(level, 'donor', `for node ${to}: ${message}${why}`);
  };
  return {
    info: (fields, message) => note('info', fields, message),
    warn: (fields, message) => note('warn', fields, message),
  };
}
