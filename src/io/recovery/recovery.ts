/**
 * The side of the node that catches up: asks a donor for its history, replays it, says how far it is and when
 * the mark is reached.
 *
 * States: *running* → (the mark of the generation that is followed was replayed) *closing* → *reached*; from
 * anywhere a failure → *failed*, `stop` → *stopped*. Nothing leads back: another donor is a new object.
 * Rules: a mark counts only when everything before it is durable here. Progress that the donor hears of is
 * durable here, so a crash of either side loses nothing. Nothing behind the mark is replayed: what is made in
 * the new generation comes prepared.
 */
import type { Socket } from 'node:net';
import type { Gid, Lsn, NodeId } from '../../core/identity.ts';
import type { ServerLogin } from '../postgres/raw-connection.ts';
import { ReplayConnection } from './replay-connection.ts';
import { FrameReader, encodeFrame } from './stream-frame.ts';
import type { Frame } from './stream-frame.ts';

/**
 * `donor`: it ended or refused; try another one. `reseed`: it has no longer what this node misses, others
 * may. `diverged`: this node's data do not fit the history, it must be re-seeded. `local`: the own server
 * failed in a way that leaves open what was committed, so the node's part has to begin anew.
 */
export type RecoveryFailure = 'donor' | 'reseed' | 'diverged' | 'local';

export interface RecoveryProgress {
  /** WAL of the donor that is not replayed yet; undefined before it is known. */
  readonly lagBytes: number | undefined;
  /** Of it since the start. */
  readonly replayedBytes: number;
  /** Replayed since the start, without those that were known. */
  readonly transactions: number;
  readonly perSecond: number;
}

export interface RecoveryHandler {
  /** Committed here, durable soon: from now on they are known. `ddl`: definitions have changed. */
  replayed(gids: readonly Gid[], ddl: boolean): void;
  progressed(progress: RecoveryProgress): void;
  /** Everything up to `copyEnd` is known, durably. Called once, where there is one. */
  seeded(): void;
  /** The mark of this generation, and all before it, is replayed and durable. The stream has ended. */
  reached(generation: number): void;
  /** Called once, and nothing after it. */
  failed(cause: RecoveryFailure, reason: string): void;
}

export interface RecoveryOptions {
  readonly donor: NodeId;
  /** To the donor's peer port; proved, paused, with the bytes that came already. */
  readonly stream: { readonly socket: Socket; readonly rest: Buffer };
  readonly login: ServerLogin;
  readonly lastOnline: number;
  /** The own server is a copy of the donor's, with what was committed before this; 0n: it is not. */
  readonly copyEnd: Lsn;
  /** It is committed here or below the floor: not replayed again. */
  readonly isKnown: (gid: Gid) => boolean;
  readonly proof: (gid: Gid) => string;
  readonly handler: RecoveryHandler;
  /** Between two reports, ms; default 500. */
  readonly reportMs?: number;
}

const bufferLimit = 4_194_304;
/** The donor reports every half second. */
const donorSilenceMs = 10_000;

export class Recovery {
  readonly #options: RecoveryOptions;
  readonly #reader = new FrameReader();
  readonly #socket: Socket;
  #replay: ReplayConnection | undefined;
  #timer: NodeJS.Timeout | undefined;
  #state: 'running' | 'closing' | 'ended' = 'running';
  #paused = false;
  /** `reached` or `failed` was called. */
  #told = false;
  #heardAt = performance.now();
  /** Mark at which the stream ends; undefined: it goes on. */
  #target: number | undefined;
  #highestMark = 0;
  #applied: Lsn = 0n;
  #startedAt: Lsn = 0n;
  #walEnd: Lsn | undefined;
  #flushed: Lsn = 0n;
  #seeded = false;
  #transactions = 0;
  #lastReport = { at: performance.now(), transactions: 0 };

  private constructor(options: RecoveryOptions) {
    this.#options = options;
    this.#socket = options.stream.socket;
  }

  /**
   * Begins. `target` as in `follow`. Rejects when the own server does not let it; everything else is
   * `failed`.
   */
  static async start(options: RecoveryOptions, target?: number): Promise<Recovery> {
    const recovery = new Recovery(options);
    recovery.#target = target;
    try {
      await recovery.#open();
    } catch (error) {
      options.stream.socket.destroy();
      throw error;
    }
    return recovery;
  }

  /** Bytes that came and are not with the own server yet. */
  get buffered(): number {
    return this.#replay?.buffered ?? 0;
  }

  /** The stream ends with the mark of this generation (or a higher one), also when that has come already. */
  follow(generation: number | undefined): void {
    this.#target = generation;
    this.#lookAtMark();
  }

  /**
   * Ends it; resolves when nothing of it will be committed any more. Nothing is reported afterwards, unless
   * the own server did not end a commit (`local`).
   */
  async stop(): Promise<void> {
    if (this.#state === 'ended') return;
    this.#leave();
    await this.#replay?.stop();
  }

  async #open(): Promise<void> {
    const { login, handler, isKnown, proof, lastOnline, reportMs = 500 } = this.#options;
    this.#replay = await ReplayConnection.open(login, {
      isKnown,
      proof,
      committed: (gids, ddl) => {
        this.#transactions += gids.length;
        handler.replayed(gids, ddl);
      },
      applied: (position) => (this.#applied = position),
      flushed: (position) => this.#flushedTo(position),
      hungry: () => this.#resume(),
      failed: (cause, reason) => this.#replayFailed(cause, reason),
    });
    const socket = this.#socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#received(chunk));
    socket.on('error', (error) => this.#donorFailed(error.message));
    socket.on('close', () => this.#donorFailed('the donor closed the stream'));
    this.#send({ kind: 'request', lastOnline, copyEnd: this.#options.copyEnd });
    this.#timer = setInterval(() => this.#report(), reportMs);
    if (this.#options.stream.rest.length > 0) this.#received(this.#options.stream.rest);
    socket.resume();
    if (socket.destroyed) this.#donorFailed('the donor closed the stream');
  }

  #flushedTo(position: Lsn): void {
    this.#flushed = position;
    const { copyEnd, handler } = this.#options;
    if (copyEnd === 0n || position < copyEnd || this.#seeded) return;
    this.#seeded = true;
    handler.seeded();
  }

  #received(chunk: Buffer): void {
    this.#heardAt = performance.now();
    try {
      this.#reader.push(chunk);
      while (this.#state === 'running') {
        const frame = this.#reader.next();
        if (frame === undefined) break;
        this.#frame(frame);
      }
    } catch (error) {
      this.#donorFailed(`it sends what no gateway sends: ${(error as Error).message}`);
    }
    if (this.#state === 'running' && this.#replay!.buffered > bufferLimit) {
      this.#paused = true;
      this.#socket.pause();
    }
  }

  #resume(): void {
    if (!this.#paused || this.#state !== 'running') return;
    this.#paused = false;
    this.#heardAt = performance.now();
    this.#socket.resume();
  }

  #frame(frame: Frame): void {
    const replay = this.#replay!;
    switch (frame.kind) {
      case 'unit':
      case 'begin':
      case 'piece':
      case 'end':
        return replay.give(frame);
      case 'started':
        this.#startedAt = frame.position;
        return;
      case 'position':
        if (frame.walEnd !== 0n) this.#walEnd = frame.walEnd;
        return replay.give({ kind: 'position', position: frame.position });
      case 'mark':
        this.#highestMark = Math.max(this.#highestMark, frame.generation);
        return this.#lookAtMark();
      case 'refused':
        return this.#fail(frame.reseed ? 'reseed' : 'donor', frame.reason);
      default:
        return this.#donorFailed(`unexpected frame ${frame.kind}`);
    }
  }

  #lookAtMark(): void {
    const target = this.#target;
    if (target === undefined || this.#highestMark < target || this.#state !== 'running') return;
    this.#state = 'closing';
    this.#socket.destroy();
    void this.#replay?.settle().then(() => this.#finish(target));
  }

  async #finish(target: number): Promise<void> {
    if (this.#state !== 'closing') return;
    await this.#replay?.stop();
    if (this.#state !== 'closing') return;
    this.#report();
    this.#leave();
    this.#told = true;
    this.#options.handler.reached(target);
  }

  #report(): void {
    const now = performance.now();
    if (!this.#paused && this.#state === 'running' && now - this.#heardAt > donorSilenceMs) {
      return this.#donorFailed('it is silent');
    }
    this.#send({ kind: 'flushed', position: this.#flushed });
    const { at, transactions } = this.#lastReport;
    this.#lastReport = { at: now, transactions: this.#transactions };
    const behind = this.#walEnd === undefined ? undefined : Number(this.#walEnd - this.#applied);
    this.#options.handler.progressed({
      lagBytes: behind === undefined ? undefined : Math.max(behind, 0),
      replayedBytes: this.#applied > this.#startedAt ? Number(this.#applied - this.#startedAt) : 0,
      transactions: this.#transactions,
      perSecond: Math.round((this.#transactions - transactions) / Math.max((now - at) / 1000, 0.001)),
    });
  }

  #send(frame: Frame): void {
    if (this.#socket.destroyed) return;
    for (const bytes of encodeFrame(frame)) this.#socket.write(bytes);
  }

  /** What has come whole is still replayed: the next donor need not send it again. */
  #donorFailed(reason: string): void {
    if (this.#state !== 'running') return;
    this.#state = 'closing';
    this.#socket.destroy();
    void this.#replay?.settle().then(async () => {
      await this.#replay?.stop();
      if (this.#state === 'closing') this.#fail('donor', `node ${this.#options.donor}: ${reason}`);
    });
  }

  /** What became of the last commit is open then, also when the end was ordered. */
  #replayFailed(cause: 'local' | 'diverged', reason: string): void {
    if (cause === 'local' && this.#state === 'ended' && !this.#told) {
      this.#told = true;
      this.#options.handler.failed(cause, reason);
    } else this.#fail(cause, reason);
  }

  #fail(cause: RecoveryFailure, reason: string): void {
    if (this.#state === 'ended') return;
    this.#leave();
    this.#told = true;
    void this.#replay?.stop();
    this.#options.handler.failed(cause, reason);
  }

  #leave(): void {
    this.#state = 'ended';
    clearInterval(this.#timer);
    this.#socket.destroy();
  }
}
