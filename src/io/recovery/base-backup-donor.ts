/**
 * The donor's side of a copy: gives a base backup of the own server to a node that was just added, over a
 * stream that its machine has opened.
 *
 * A session: *asked* (waits for the request, under a deadline) → *refused* or *opening* → *sending* →
 * *closed*; nothing leads back.
 * Rules: one copy at a time, for it takes the disk's whole attention. Never more than `queueLimit` bytes wait
 * for the receiver: the server is not read meanwhile. Whoever goes away, the backup in the server ends with
 * it.
 */
import type { Socket } from 'node:net';
import type { NodeId } from '../../core/identity.ts';
import { formatLsn } from '../postgres/lsn-text.ts';
import type { ServerLogin } from '../postgres/raw-connection.ts';
import { BackupSource, type BackupPlace } from './base-backup-source.ts';
import { CopyFrameReader, encodeCopyFrame, type CopyFrame } from './copy-frame.ts';
import type { DonorLog, RecoveryStream } from './donor.ts';
import { endBehindLastFrame } from './last-frame.ts';

export interface CopyDonorOptions {
  readonly node: NodeId;
  readonly login: ServerLogin;
  /** Why this node's server must not be copied at the moment; undefined when it may be. */
  readonly unfit: () => string | undefined;
  readonly log: DonorLog;
}

const queueLimit = 1_048_576;
const requestTimeoutMs = 5_000;
const reportMs = 1_000;
/** A receiver says every two seconds that it is alive, whatever its disk does. */
const silenceMs = 30_000;

export class CopyDonor {
  readonly #options: CopyDonorOptions;
  #session: CopySession | undefined;
  readonly #stopped = new AbortController();

  constructor(options: CopyDonorOptions) {
    this.#options = options;
  }

  /** The machine of node `to` asks for a copy. The stream is this object's from now on. */
  serve(to: NodeId, stream: RecoveryStream): void {
    if (this.#stopped.signal.aborted) {
      stream.socket.destroy();
      return;
    }
    const other = this.#session?.to;
    const busy = other === undefined ? undefined : `it is being copied for node ${other}: one copy at a time`;
    const { signal } = this.#stopped;
    const session: CopySession = new CopySession(to, stream, this.#options, signal, busy, () => {
      if (this.#session === session) this.#session = undefined;
    });
    if (busy === undefined) this.#session = session;
  }

  /** For whom a copy is under way. */
  get copying(): NodeId | undefined {
    return this.#session?.to;
  }

  stop(): void {
    this.#stopped.abort();
    this.#session?.close('the gateway stops');
  }
}

class CopySession {
  readonly to: NodeId;
  readonly #socket: Socket;
  readonly #options: CopyDonorOptions;
  readonly #stopped: AbortSignal;
  readonly #busy: string | undefined;
  readonly #ended: () => void;
  readonly #reader = new CopyFrameReader();
  #source: BackupSource | undefined;
  #timer: NodeJS.Timeout;
  #heardAt = performance.now();
  /** What the receiver is told when nothing else is to be sent. */
  #waitsFor = 'the checkpoint that a copy begins with';
  #sentAt = performance.now();
  #requested = false;
  #paused = false;
  #closed = false;
  #bytes = 0;

  constructor(
    to: NodeId,
    { socket, rest }: RecoveryStream,
    options: CopyDonorOptions,
    stopped: AbortSignal,
    busy: string | undefined,
    ended: () => void,
  ) {
    this.to = to;
    this.#socket = socket;
    this.#options = options;
    this.#stopped = stopped;
    this.#busy = busy;
    this.#ended = ended;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#received(chunk));
    socket.on('drain', () => this.#drained());
    socket.on('error', (error) => this.close(error.message));
    socket.on('close', () => this.close('the other side closed the stream'));
    this.#timer = setTimeout(() => this.close('no request came'), requestTimeoutMs);
    if (rest.length > 0) this.#received(rest);
    socket.resume();
  }

  close(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    if (this.#requested) {
      this.#options.log.info({ to: this.to, reason, bytes: this.#bytes }, 'a copy of the server has ended');
    }
    this.#source?.close();
    endBehindLastFrame(this.#socket, this.#stopped);
    this.#ended();
  }

  #received(chunk: Buffer): void {
    if (this.#closed) return;
    this.#heardAt = performance.now();
    try {
      for (const frame of this.#reader.push(chunk)) this.#frame(frame);
    } catch (error) {
      this.close(`the other side sends what no receiver sends: ${(error as Error).message}`);
    }
  }

  #frame(frame: CopyFrame): void {
    if (frame.kind === 'alive') return;
    if (frame.kind !== 'request' || this.#requested) return this.close(`unexpected frame ${frame.kind}`);
    this.#requested = true;
    clearTimeout(this.#timer);
    void this.#begin();
  }

  async #begin(): Promise<void> {
    const { node, login, unfit, log } = this.#options;
    const reason = this.#busy ?? unfit();
    if (reason !== undefined) return this.#refuse(`node ${node} gives no copy now: ${reason}`);
    log.info({ to: this.to }, 'a copy of the server begins');
    this.#timer = setInterval(() => this.#report(), reportMs);
    try {
      const source = await BackupSource.open(login, {
        started: (...facts) => this.#started(...facts),
        archive: (location) => this.#send({ kind: 'archive', text: location }),
        data: (bytes) => {
          this.#bytes += bytes.length;
          this.#send({ kind: 'data', bytes });
        },
        done: (end) => this.#done(end),
        failed: (why) => this.#failed(why),
      });
      if (this.#closed) return source.close();
      this.#source = source;
    } catch (error) {
      this.#failed((error as Error).message);
    }
  }

  #started(start: BackupPlace, tablespaces: readonly string[], bytes: number, version: number): void {
    const outside = tablespaces.filter((place) => place.startsWith('/'));
    if (outside.length > 0) {
      const places = outside.join(', ');
      return this.#refuse(
        `the server of node ${this.#options.node} has tablespaces outside of its data directory ` +
          `(${places}): such a server is not copied; drop them, or use pg_basebackup`,
      );
    }
    this.#waitsFor = 'the server';
    const { node } = this.#options;
    this.#send({ kind: 'started', json: { node, version, bytes, start: formatLsn(start.lsn) } });
  }

  #done({ lsn, timeline }: BackupPlace): void {
    this.#send({ kind: 'done', json: { end: formatLsn(lsn), timeline } });
    this.close('it is complete');
  }

  #failed(reason: string): void {
    const text = `the server of node ${this.#options.node} cannot be copied: ${reason}`;
    this.#options.log.warn({ to: this.to, reason }, 'a copy of the server has failed');
    this.#send({ kind: 'failed', text });
    this.close(reason);
  }

  #refuse(reason: string): void {
    this.#options.log.warn({ to: this.to, reason }, 'a copy of the server is refused');
    this.#send({ kind: 'refused', text: reason });
    this.close(reason);
  }

  /** The receiver must not take a server for dead that makes a checkpoint. */
  #report(): void {
    const now = performance.now();
    if (now - this.#heardAt > silenceMs) return this.close('the receiver is silent');
    if (now - this.#sentAt < reportMs || this.#paused) return;
    this.#send({ kind: 'waiting', text: this.#waitsFor });
  }

  #send(frame: CopyFrame): void {
    if (this.#closed || this.#socket.destroyed) return;
    this.#sentAt = performance.now();
    this.#socket.write(encodeCopyFrame(frame));
    if (this.#paused || this.#socket.writableLength <= queueLimit) return;
    this.#paused = true;
    this.#source?.pause();
  }

  #drained(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#source?.resume();
  }
}
