/**
 * A result of 400 MB through a gateway to a client that reads slowly: whoever relays must stop reading from the server when the
 * client does not keep up. Also says how much memory an idle gateway has.
 */
import { connect, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { serialize } from 'pg-protocol';
import type { PgbenchTarget } from './pgbench.ts';
import { residentMegabytes } from './process-figures.ts';

const rows = 400_000;
const rowBytes = 1000;
/** Nothing at all is read for this long, then what one read of a socket gives every tick: about 20 MB/s. */
const stallMs = 2000;
const tickMs = 3;
const bytesEachTick = 64 * 1024;
const limitMs = 60_000;
const sampleEveryMs = 25;

/** ReadyForQuery outside a transaction: `Z`, length 5, `I`. After the rows it is the end of the result. */
const readyForQuery = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);

export interface SlowReaderResult {
  /** 10⁶ bytes. */
  readonly receivedMegabytes: number;
  readonly peakMegabytes: number;
  readonly seconds: number;
}

/** `failure`: why the result did not arrive. */
export type SlowReaderOutcome = SlowReaderResult | { readonly failure: string };

class SlowClient {
  received = 0;
  complete = false;
  failure: Error | undefined;
  readonly #socket: Socket;
  #tail: Buffer = Buffer.alloc(0);

  constructor(target: PgbenchTarget) {
    this.#socket = connect({ host: '127.0.0.1', port: target.port });
    this.#socket.on('error', (error) => (this.failure = error));
    this.#socket.on('close', () => (this.failure ??= new Error('the connection was closed early')));
    this.#socket.write(serialize.startup({ user: 'postgres', database: target.database }));
  }

  /** Logs in (trust) and orders the result. */
  async order(signal: AbortSignal): Promise<void> {
    while (!this.#endsReady()) {
      if (this.failure !== undefined) throw this.failure;
      this.read(Number.POSITIVE_INFINITY);
      await pause(tickMs, undefined, { signal });
    }
    this.#socket.write(serialize.query(`SELECT repeat('x', ${rowBytes}) FROM generate_series(1, ${rows})`));
    this.received = 0;
  }

  #endsReady(): boolean {
    return this.#tail.equals(readyForQuery);
  }

  /** Reads about this many bytes and then nothing until the next call. */
  read(bytes: number): void {
    for (let left = bytes; left > 0;) {
      const chunk = this.#socket.read() as Buffer | null;
      if (chunk === null) return;
      this.received += chunk.length;
      left -= chunk.length;
      const end = [this.#tail, chunk.subarray(-readyForQuery.length)];
      this.#tail = Buffer.concat(end).subarray(-readyForQuery.length);
      this.complete = this.received > rows * rowBytes && this.#endsReady();
    }
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** Reads the big result through `target` and watches the memory of process `pid`. Throws when the result does not arrive. */
export async function readSlowly(
  target: PgbenchTarget,
  pid: number,
  signal: AbortSignal,
): Promise<SlowReaderResult> {
  const begun = performance.now();
  const client = new SlowClient(target);
  let peak = 0;
  const timer = setInterval(() => (peak = Math.max(peak, residentMegabytes(pid) ?? 0)), sampleEveryMs);
  try {
    await client.order(signal);
    await pause(stallMs, undefined, { signal });
    while (!client.complete) {
      if (client.failure !== undefined) throw client.failure;
      if (performance.now() - begun > limitMs) {
        throw new Error(`only ${client.received} bytes arrived within ${limitMs / 1000} s`);
      }
      client.read(bytesEachTick);
      await pause(tickMs, undefined, { signal });
    }
  } finally {
    clearInterval(timer);
    client.close();
  }
  return {
    receivedMegabytes: client.received / 1e6,
    peakMegabytes: peak,
    seconds: (performance.now() - begun) / 1000,
  };
}
