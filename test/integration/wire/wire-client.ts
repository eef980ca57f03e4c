/**
 * A client that sends bytes and writes down what comes back, message by message, as readable lines. Listed
 * differences between two equal servers, and nothing else, are left out of the lines: process id and key, the
 * OID of a table in RowDescription, and the place in the server's source in errors and notices (fields F, L,
 * R).
 */
import { once } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { connect, type Socket } from 'node:net';
import { backend, protocol30 } from '../../../src/core/wire/codes.ts';
import { FrameScanner } from '../../../src/core/wire/frame-scanner.ts';
import { cancelRequest, errorFields, int32At, startup } from '../../../src/core/wire/messages.ts';
import { within } from '../../support/polling.ts';

const names = new Map<number, string>(Object.entries(backend).map(([name, code]) => [code, name]));

/** What ends the waiting after a step: so many of these messages. */
export interface Step {
  readonly send: readonly Uint8Array[];
  /** ReadyForQuery when absent. */
  readonly until?: keyof typeof backend;
  /** How many of them; 1 when absent. */
  readonly count?: number;
}

/** The bytes in the pieces in which they are sent, each in a packet of its own. */
export type Cutter = (bytes: Buffer) => readonly Buffer[];

const stepLimitMs = 15_000;

export class WireClient {
  readonly #socket: Socket;
  readonly lines: string[] = [];
  #wake: (() => void) | undefined;
  #left = 0;
  #awaited = 0;
  #closed = false;
  #cancel: Uint8Array = new Uint8Array(0);

  private constructor(socket: Socket) {
    this.#socket = socket;
    const scanner = new FrameScanner({
      limit: () => 0x3fffffff,
      streams: () => false,
      message: (type, buffer, start, end) => this.#message(type, buffer, start, end),
      part: () => undefined,
    });
    socket.on('data', (chunk: Uint8Array) => void scanner.push(chunk));
    socket.on('error', () => undefined); // the close that follows is what counts
    socket.on('close', () => {
      this.#closed = true;
      this.lines.push('closed');
      this.#wake?.();
    });
  }

  /** `minor`: of protocol 3. */
  static async open(port: number, parameters: Record<string, string> = {}, minor = 0): Promise<WireClient> {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true });
    const client = new WireClient(socket);
    const all = { user: 'postgres', database: 'app', ...parameters };
    await client.step({ send: [startup(Object.entries(all), protocol30 + minor)] });
    return client;
  }

  get processId(): number {
    return int32At(this.#cancel, 8);
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Resolves when the answer is there; rejects when it does not come. */
  async step({ send, until = 'readyForQuery', count = 1 }: Step, cut?: Cutter): Promise<void> {
    if (this.#closed) return;
    this.#awaited = backend[until];
    this.#left = count;
    const done = new Promise<void>((resolve) => (this.#wake = resolve));
    const sent = this.#write(cut === undefined ? [Buffer.concat(send)] : cut(Buffer.concat(send)));
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new Error(`no ${until}; so far\n${this.lines.join('\n')}`)),
        stepLimitMs,
      );
    });
    try {
      await Promise.race([done, late]);
      await sent;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Between two pieces others of this process have their turn. */
  async #write(pieces: readonly Buffer[]): Promise<void> {
    for (const [index, piece] of pieces.entries()) {
      if (index > 0) await nextTurn();
      if (!this.#closed) this.#socket.write(piece);
    }
  }

  /** Sends the cancel request there; resolves when that connection is closed. `wrong`: the last bit of its key is. */
  async cancel(port: number, wrong = false): Promise<void> {
    const request = Uint8Array.from(this.#cancel);
    if (wrong) request[request.length - 1]! ^= 1;
    const socket = connect({ host: '127.0.0.1', port, noDelay: true });
    socket.on('error', () => undefined).resume();
    socket.write(request);
    await within('the end of a cancel request', stepLimitMs, once(socket, 'close'));
  }

  get keyBytes(): number {
    return this.#cancel.length - 12;
  }

  end(): void {
    this.#socket.destroy();
  }

  #message(type: number, buffer: Uint8Array, start: number, end: number): void {
    if (type === backend.backendKeyData) {
      this.#cancel = cancelRequest(int32At(buffer, start + 5), buffer.slice(start + 9, end));
    } else this.lines.push(describe(type, buffer, start, end));
    if (type !== this.#awaited || --this.#left !== 0) return;
    this.#wake?.();
  }
}

/** A message in one line. */
export function describe(type: number, buffer: Uint8Array, start: number, end: number): string {
  const name = names.get(type) ?? String.fromCharCode(type);
  if (type === backend.errorResponse || type === backend.noticeResponse) {
    const fields = [...errorFields(buffer, start, end)].filter(([code]) => !'FLR'.includes(code));
    return `${name} ${fields.map(([code, value]) => `${code}=${value}`).join(' | ')}`;
  }
  const body = Buffer.from(buffer.slice(start + 5, end));
  if (type === backend.rowDescription) zeroTables(body);
  if (type === backend.notificationResponse) body.writeInt32BE(0, 0);
  return `${name} ${JSON.stringify(body.toString('latin1')).slice(1, -1)}`;
}

/**
 * RowDescription (B): Int16 columns, each String name, Int32 table, Int16 column, and 12 bytes about the
 * type.
 */
function zeroTables(body: Buffer): void {
  let at = 2;
  for (let column = body.readInt16BE(0); column > 0; column--) {
    at = body.indexOf(0, at) + 1;
    body.writeInt32BE(0, at);
    at += 18;
  }
}
