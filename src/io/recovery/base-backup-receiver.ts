/**
 * The receiving side of a copy: a command on the machine of a new node writes the base backup of a node's
 * server into an empty directory (copy-folder.ts) and says how far it is.
 *
 * Rules: one frame after the other; the stream is not read while the disk is busy, so memory is bounded. A
 * copy that does not end with `done` is none: the directory is left as it was.
 */
import type { Socket } from 'node:net';
import { z } from 'zod';
import type { Lsn, NodeId } from '../../core/identity.ts';
import { GatewayError } from '../../lib/gateway-error.ts';
import { parseLsn } from '../postgres/lsn-text.ts';
import { CopyFolder, type FileOwner } from './copy-folder.ts';
import { CopyFrameReader, encodeCopyFrame, type CopyFrame } from './copy-frame.ts';
import type { RecoveryStream } from './donor.ts';
import { TarReader } from './tar-reader.ts';

export interface CopyProgress {
  /** Of archives, unpacked or not. */
  readonly received: number;
  /** What the server expected; WAL that was written meanwhile comes on top. 0: not known yet. */
  readonly expected: number;
  /** What the other side waits for; undefined while bytes come. */
  readonly waitsFor: string | undefined;
}

export interface CopyFacts {
  /** Whose server it is. */
  readonly source: NodeId;
  /** 15, 16 … */
  readonly major: number;
  readonly start: Lsn;
}

export interface FinishedCopy extends CopyFacts {
  /** The copy is of the source's server at this position of its WAL. */
  readonly end: Lsn;
  readonly timeline: number;
  readonly bytes: number;
}

export interface ReceiveOptions {
  readonly stream: RecoveryStream;
  readonly folder: string;
  readonly owner?: FileOwner | undefined;
  /** Throws when a copy of this server is of no use; nothing was written before. */
  readonly accept?: (facts: CopyFacts) => void;
  readonly progressed?: (progress: CopyProgress) => void;
  readonly signal?: AbortSignal;
}

const position = z.string().regex(/^[0-9A-Fa-f]+\/[0-9A-Fa-f]+$/);
const startedFacts = z.object({
  node: z.number().int(),
  version: z.number().int(),
  bytes: z.number(),
  start: position,
});
const doneFacts = z.object({ end: position, timeline: z.number().int() });

const aliveMs = 2_000;
/** The donor says every second what it waits for. */
const silenceMs = 30_000;

/**
 * Resolves when the copy is complete and on the disk. Rejects with a GatewayError in one sentence; the
 * directory is then as it was.
 */
export async function receiveCopy(options: ReceiveOptions): Promise<FinishedCopy> {
  const { socket } = options.stream;
  let folder: CopyFolder | undefined;
  try {
    options.signal?.throwIfAborted();
    folder = await CopyFolder.begin(options.folder, options.owner);
    const copy = await new CopyReceiver(options, folder).run();
    await folder.finish();
    return copy;
  } catch (error) {
    socket.destroy();
    await folder?.abandon();
    if (error instanceof GatewayError) throw error;
    throw new GatewayError('copy-failed', `the copy has failed: ${(error as Error).message}`, {
      cause: error,
    });
  } finally {
    socket.destroy();
  }
}

class CopyReceiver {
  readonly #options: ReceiveOptions;
  readonly #folder: CopyFolder;
  readonly #frames = new CopyFrameReader();
  #tar: TarReader | undefined;
  #facts: CopyFacts | undefined;
  #finished: FinishedCopy | undefined;
  #received = 0;
  #expected = 0;
  /** Since when bytes are waited for; undefined while some are being written. */
  #waitingSince: number | undefined;

  constructor(options: ReceiveOptions, folder: CopyFolder) {
    this.#options = options;
    this.#folder = folder;
  }

  async run(): Promise<FinishedCopy> {
    const { stream, signal } = this.#options;
    const { socket } = stream;
    const alive = setInterval(() => this.#report(socket), aliveMs);
    const aborted = (): void => void socket.destroy(signal?.reason as Error);
    signal?.addEventListener('abort', aborted, { once: true });
    try {
      socket.write(encodeCopyFrame({ kind: 'request' }));
      await this.#chunk(stream.rest);
      this.#waitingSince = performance.now();
      for await (const chunk of socket as AsyncIterable<Buffer>) {
        this.#waitingSince = undefined;
        await this.#chunk(chunk);
        if (this.#finished !== undefined) return this.#finished;
        this.#waitingSince = performance.now();
      }
      throw new Error('the connection to the node that gives the copy was lost');
    } finally {
      clearInterval(alive);
      signal?.removeEventListener('abort', aborted);
    }
  }

  #report(socket: Socket): void {
    const silent = this.#waitingSince !== undefined && performance.now() - this.#waitingSince > silenceMs;
    if (silent) socket.destroy(new Error('the node that gives the copy is silent'));
    else socket.write(encodeCopyFrame({ kind: 'alive' }));
  }

  async #chunk(chunk: Buffer): Promise<void> {
    this.#received += chunk.length;
    for (const frame of this.#frames.push(chunk)) await this.#frame(frame);
  }

  async #frame(frame: CopyFrame): Promise<void> {
    switch (frame.kind) {
      case 'refused':
      case 'failed':
        throw new GatewayError('copy-failed', frame.text, { hint: 'repeat it when that is put right' });
      case 'waiting':
        return this.#progress(frame.text);
      case 'started':
        return this.#started(startedFacts.parse(frame.json));
      case 'archive':
        this.#endArchive();
        this.#tar = new TarReader();
        return this.#folder.archive(frame.text);
      case 'data':
        return this.#data(frame.bytes);
      case 'done':
        return this.#done(doneFacts.parse(frame.json));
      default:
        throw new Error(`unexpected frame ${frame.kind}`);
    }
  }

  #started({ node, version, bytes, start }: z.output<typeof startedFacts>): void {
    this.#facts = { source: node, major: Math.floor(version / 10_000), start: parseLsn(start) };
    this.#expected = bytes;
    this.#options.accept?.(this.#facts);
    this.#progress(undefined);
  }

  async #data(bytes: Uint8Array): Promise<void> {
    if (this.#tar === undefined) throw new Error('data come before their archive');
    for (const part of this.#tar.push(bytes)) await this.#folder.write(part);
    this.#progress(undefined);
  }

  #endArchive(): void {
    if (this.#tar?.complete === false) throw new Error('an archive of the copy ends in its middle');
  }

  #done({ end, timeline }: z.output<typeof doneFacts>): void {
    this.#endArchive();
    if (this.#facts === undefined || this.#tar === undefined) throw new Error('the copy is empty');
    this.#finished = { ...this.#facts, end: parseLsn(end), timeline, bytes: this.#received };
  }

  #progress(waitsFor: string | undefined): void {
    this.#options.progressed?.({ received: this.#received, expected: this.#expected, waitsFor });
  }
}
