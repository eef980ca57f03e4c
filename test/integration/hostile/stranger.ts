/** A client that says whatever it likes, whole messages or not, and writes down the little that it is told. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { backend } from '../../../src/core/wire/codes.ts';
import { FrameScanner } from '../../../src/core/wire/frame-scanner.ts';
import { errorFields, startup } from '../../../src/core/wire/messages.ts';
import { embeddedDatabase, embeddedHost } from '../../../src/io/launcher/node-layout.ts';
import { eventually } from '../../support/polling.ts';

export class Stranger {
  readonly socket: Socket;
  /** SQLSTATEs of errors, `ready` for ReadyForQuery, `closed` for the end. */
  readonly heard: string[] = [];
  /** Messages of the errors. */
  readonly texts: string[] = [];
  /** The one byte that answers a request for encryption comes before every message. */
  #answer: number;
  answered = '';
  ready = 0;

  private constructor(socket: Socket, requestsEncryption: boolean) {
    this.socket = socket;
    this.#answer = requestsEncryption ? 1 : 0;
    const scanner = new FrameScanner({
      limit: () => 0x3fffffff,
      streams: (type) => type === backend.dataRow || type === backend.copyData,
      message: (type, buffer, start, end) => this.#message(type, buffer, start, end),
      part: () => undefined,
    });
    socket.on('data', (chunk: Uint8Array) => {
      this.answered += Buffer.from(chunk.subarray(0, this.#answer)).toString('latin1');
      scanner.push(chunk.subarray(this.#answer));
      this.#answer = 0;
    });
    socket.on('error', () => undefined); // the close that follows is what counts
    socket.on('close', () => this.heard.push('closed'));
  }

  /** Says nothing yet. */
  static async connect(port: number, requestsEncryption = false): Promise<Stranger> {
    const socket = connect({ host: embeddedHost, port, noDelay: true });
    const stranger = new Stranger(socket, requestsEncryption);
    await once(socket, 'connect');
    return stranger;
  }

  /** Logged in. */
  static async login(port: number, parameters: Record<string, string> = {}): Promise<Stranger> {
    const stranger = await Stranger.connect(port);
    const all = { user: 'postgres', database: embeddedDatabase, ...parameters };
    stranger.send(startup(Object.entries(all)));
    await stranger.until('logged in', () => stranger.ready > 0 || stranger.closed);
    return stranger;
  }

  get closed(): boolean {
    return this.heard.at(-1) === 'closed';
  }

  send(...messages: readonly Uint8Array[]): void {
    this.socket.write(Buffer.concat(messages));
  }

  /** Sends as much of it as the other side takes; resolves when it has not taken any for a while. */
  async pour(chunk: Uint8Array, mostBytes: number, stallMs = 700): Promise<number> {
    const { socket } = this;
    let sent = 0;
    let last = performance.now();
    const go = (): void => {
      last = performance.now();
      while (sent < mostBytes && !socket.destroyed) {
        sent += chunk.length;
        if (!socket.write(chunk)) return;
      }
    };
    socket.on('drain', go);
    go();
    await eventually('the other side takes no more', () => {
      return socket.destroyed || sent >= mostBytes || performance.now() - last > stallMs;
    });
    socket.off('drain', go);
    return sent - socket.writableLength;
  }

  until(what: string, probe: () => boolean, limitMs?: number): Promise<void> {
    return eventually(`${what} (heard ${this.heard.slice(-5).join(' ')})`, probe, limitMs);
  }

  untilClosed(limitMs?: number): Promise<void> {
    return this.until('closed', () => this.closed, limitMs);
  }

  /** Reset, as a machine that has crashed or was cut off does. */
  reset(): void {
    this.socket.resetAndDestroy();
  }

  #message(type: number, buffer: Uint8Array, start: number, end: number): void {
    if (type === backend.readyForQuery) {
      this.ready++;
      if (this.heard.at(-1) !== 'ready') this.heard.push('ready');
    } else if (type === backend.errorResponse) {
      const fields = errorFields(buffer, start, end);
      if (this.heard.length < 1000) this.heard.push(fields.get('C') ?? '');
      if (this.texts.length < 100) this.texts.push(fields.get('M') ?? '');
    }
  }
}
