/**
 * The donor's side of recovery: gives its retained history to nodes that catch up, each on a stream of its
 * own.
 *
 * A session: *asked* (waits for the request, under a deadline) → *refused* or *opening* (the slot is copied)
 * →
 * *streaming* → *closed*; nothing leads back.
 * Rules: never more than `queueLimit` bytes wait for a receiver: the walsender is paused, so nothing of the
 * history sits in memory. A node that needs what was given up (RetainedSlot.lost) is refused, and told so.
 */
import type { Socket } from 'node:net';
import type { Gid, Lsn, NodeId } from '../../core/identity.ts';
import { CommitCutter } from '../../core/pgoutput/commit-cutter.ts';
import { HistoryStream } from '../postgres/history-stream.ts';
import type { ServerLogin } from '../postgres/raw-connection.ts';
import { recoveryOrigin, replayedPrefix } from '../postgres/replay-names.ts';
import { endBehindLastFrame } from './last-frame.ts';
import { FrameReader, encodeFrame } from './stream-frame.ts';
import type { Frame } from './stream-frame.ts';

/** A connection that has proved which node is at its other end. */
export interface RecoveryStream {
  /** Paused. */
  readonly socket: Socket;
  /** What came already. */
  readonly rest: Buffer;
}

export interface DonorLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface DonorOptions {
  readonly login: ServerLogin;
  readonly verifyHeader: (gid: Gid, hmac: string) => boolean;
  /** What this node cannot give any more. */
  readonly lost: () => { readonly generation: number; readonly position: Lsn } | undefined;
  /** Why this node is no donor at the moment; undefined when it is. */
  readonly unfit: () => string | undefined;
  /** The end of the server's WAL. */
  readonly walEnd: () => Promise<Lsn>;
  readonly log: DonorLog;
  /** Bytes of a transaction that are held until its gid is known; default 1 MB. */
  readonly holdBytes?: number;
}

export interface DonorSessionStatus {
  readonly to: NodeId;
  readonly transactions: number;
  /** What the receiver has made durable. */
  readonly flushed: Lsn;
  /** Commits that went past the gateways and were left out. */
  readonly unsupervised: number;
  /** WAL that the receiver has not made durable yet; undefined before that is known. */
  readonly lagBytes: number | undefined;
  /** Bytes that wait for the receiver. */
  readonly buffered: number;
}

const queueLimit = 1_048_576;
const requestTimeoutMs = 5_000;
const reportMs = 500;
/** A receiver reports every half second. */
const silenceMs = 15_000;

export class RecoveryDonor {
  readonly #options: DonorOptions;
  readonly #sessions = new Set<DonorSession>();
  readonly #stopped = new AbortController();

  constructor(options: DonorOptions) {
    this.#options = options;
  }

  /** A node asks for history. The stream is this object's from now on. */
  serve(to: NodeId, stream: RecoveryStream): void {
    if (this.#stopped.signal.aborted) {
      stream.socket.destroy();
      return;
    }
    const { signal } = this.#stopped;
    const session = new DonorSession(to, stream, this.#options, signal, () => this.#sessions.delete(session));
    this.#sessions.add(session);
  }

  get sessions(): readonly DonorSessionStatus[] {
    return [...this.#sessions].map((session) => session.status);
  }

  /** Ends the streams of nodes that have not come as far as `position`: their copies of the slot hold WAL. */
  cutOff(position: Lsn, reason: string): void {
    for (const session of [...this.#sessions]) if (session.status.flushed < position) session.close(reason);
  }

  stop(): void {
    this.#stopped.abort();
    for (const session of [...this.#sessions]) session.close('the donor stops');
  }
}

class DonorSession {
  readonly #to: NodeId;
  readonly #socket: Socket;
  readonly #options: DonorOptions;
  readonly #stopped: AbortSignal;
  readonly #ended: () => void;
  readonly #reader = new FrameReader();
  readonly #cutter: CommitCutter;
  readonly #out: Uint8Array[] = [];
  #outBytes = 0;
  #flushScheduled = false;
  #paused = false;
  #history: HistoryStream | undefined;
  #timer: NodeJS.Timeout | undefined;
  #heardAt = performance.now();
  #requested = false;
  #closed = false;
  #position: Lsn = 0n;
  /** 0 before the server has told it. */
  #walEnd: Lsn = 0n;
  #asking = false;
  #flushed: Lsn = 0n;
  #transactions = 0;
  #unsupervised = 0;

  constructor(
    to: NodeId,
    { socket, rest }: RecoveryStream,
    options: DonorOptions,
    stopped: AbortSignal,
    ended: () => void,
  ) {
    this.#to = to;
    this.#socket = socket;
    this.#options = options;
    this.#stopped = stopped;
    this.#ended = ended;
    this.#cutter = this.#makeCutter();
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#received(chunk));
    socket.on('drain', () => this.#drained());
    socket.on('error', (error) => this.close(error.message));
    socket.on('close', () => this.close('the receiver closed the stream'));
    this.#timer = setTimeout(() => this.close('no request came'), requestTimeoutMs);
    if (rest.length > 0) this.#received(rest);
    socket.resume();
  }

  get status(): DonorSessionStatus {
    return {
      to: this.#to,
      transactions: this.#transactions,
      flushed: this.#flushed,
      lagBytes:
        this.#walEnd === 0n || this.#flushed === 0n
          ? undefined
          : Math.max(Number(this.#walEnd - this.#flushed), 0),
      unsupervised: this.#unsupervised,
      buffered: this.#outBytes + this.#socket.writableLength,
    };
  }

  close(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    this.#options.log.info({ to: this.#to, reason, ...this.#counts() }, 'a recovery stream has ended');
    this.#history?.close();
    endBehindLastFrame(this.#socket, this.#stopped);
    this.#ended();
  }

  #counts(): object {
    return { transactions: this.#transactions, unsupervised: this.#unsupervised };
  }

  #received(chunk: Buffer): void {
    if (this.#closed) return;
    this.#heardAt = performance.now();
    try {
      this.#reader.push(chunk);
      for (let frame = this.#reader.next(); frame !== undefined; frame = this.#reader.next()) {
        this.#frame(frame);
      }
    } catch (error) {
      this.close(`the receiver sends what no gateway sends: ${(error as Error).message}`);
    }
  }

  #frame(frame: Frame): void {
    if (frame.kind === 'request' && !this.#requested) {
      this.#requested = true;
      clearTimeout(this.#timer);
      void this.#request(frame.lastOnline, frame.copyEnd);
    } else if (frame.kind === 'flushed') {
      this.#flushed = frame.position;
      this.#history?.release(frame.position);
    } else this.close(`unexpected frame ${frame.kind}`);
  }

  async #request(lastOnline: number, copyEnd: Lsn): Promise<void> {
    const lost = this.#options.lost();
    if (copyEnd === 0n && lost !== undefined && lastOnline < lost.generation) {
      const reason =
        `node ${this.#to} was last online in generation ${lastOnline}, and what it missed before ` +
        `generation ${lost.generation} is not kept any more (max_retained_wal)`;
      return this.#refuse(true, reason);
    }
    const unfit = this.#options.unfit();
    if (unfit !== undefined) return this.#refuse(false, unfit);
    try {
      const history = await HistoryStream.open(this.#options.login, {
        message: (buffer, start, end) => this.#cutter.message(buffer, start, end),
        reached: (position) => this.#reached(position),
        closed: (reason) => this.close(reason),
      });
      if (this.#closed) return history.close();
      this.#history = history;
      if (copyEnd !== 0n && history.start > copyEnd) {
        return this.#refuse(
          true,
          `the copy for node ${this.#to} is older than the history that is kept here: take it again`,
        );
      }
      this.#cutter.copyEnd = copyEnd;
      this.#options.log.info({ to: this.#to }, 'a recovery stream begins');
      this.#send({ kind: 'started', position: history.start });
      this.#report();
      this.#timer = setInterval(() => this.#report(), reportMs);
      history.run();
    } catch (error) {
      this.#refuse(false, `the history cannot be read: ${(error as Error).message}`);
    }
  }

  #refuse(reseed: boolean, reason: string): void {
    this.#options.log.warn({ to: this.#to, reseed, reason }, 'a node that wants to recover is refused');
    this.#send({ kind: 'refused', reseed, reason });
    this.#flush();
    this.close(reason);
  }

  #makeCutter(): CommitCutter {
    const { login, verifyHeader, holdBytes = 1_048_576 } = this.#options;
    return new CommitCutter(
      {
        verifyHeader,
        unit: (gid, ddl, data, position) => {
          this.#transactions++;
          this.#send({ kind: 'unit', gid, ddl, position, data });
        },
        begin: () => this.#send({ kind: 'begin' }),
        piece: (data) => this.#send({ kind: 'piece', data }),
        end: (gid, ddl, position) => {
          if (gid !== undefined) this.#transactions++;
          this.#send({ kind: 'end', gid, ddl, position });
        },
        mark: (generation) => this.#send({ kind: 'mark', generation }),
        committed: (position) => this.#committed(position),
        unsupervised: () => void this.#unsupervised++,
      },
      { holdBytes, recoveryOrigin: recoveryOrigin(login), replayedPrefix },
    );
  }

  #committed(position: Lsn): void {
    this.#position = position;
  }

  /** Nothing before `position` is left to be sent. */
  #reached(position: Lsn): void {
    if (position > this.#position) this.#position = position;
  }

  /** Says how far the stream is, whatever the server is busy with: the receiver must not take it for dead. */
  #report(): void {
    if (performance.now() - this.#heardAt > silenceMs) return this.close('the receiver is silent');
    this.#send({ kind: 'position', position: this.#position, walEnd: this.#walEnd });
    if (this.#asking) return;
    this.#asking = true;
    this.#options.walEnd().then(
      (lsn) => {
        this.#walEnd = lsn;
        this.#asking = false;
      },
      (error: Error) => this.close(`the end of the WAL cannot be asked for: ${error.message}`),
    );
  }

  #send(frame: Frame): void {
    if (this.#closed) return;
    for (const bytes of encodeFrame(frame)) {
      this.#out.push(bytes);
      this.#outBytes += bytes.length;
    }
    if (this.#outBytes >= queueLimit) this.#flush();
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    setImmediate(() => {
      this.#flushScheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#out.length === 0 || this.#socket.destroyed) return;
    this.#socket.cork();
    for (const bytes of this.#out.splice(0)) this.#socket.write(bytes);
    this.#socket.uncork();
    this.#outBytes = 0;
    if (this.#socket.writableLength > queueLimit && !this.#paused) {
      this.#paused = true;
      this.#history?.pause();
    }
  }

  #drained(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#history?.resume();
  }
}
