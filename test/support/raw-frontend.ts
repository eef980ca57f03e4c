/** A client that says exactly what a test tells it to say, message by message, and hears everything. */
import { connect, type Socket } from 'node:net';
import { parse, serialize } from 'pg-protocol';
import { embeddedDatabase, embeddedHost } from '../../src/io/launcher/node-layout.ts';
import { within } from './polling.ts';

/** One message of the server: its name and the fields that pg-protocol read. */
export interface Heard {
  readonly name: string;
  readonly [field: string]: unknown;
}

const answerLimitMs = 10_000;

export class RawFrontend {
  readonly socket: Socket;
  readonly #heard: Heard[] = [];
  #wake: (() => void) | undefined;
  #closed = false;
  /** Reported parameters, the newest value of each. */
  readonly parameters = new Map<string, string>();
  backend = { processId: 0, secretKey: 0 };

  constructor(socket: Socket) {
    this.socket = socket;
    const stir = (): void => this.#wake?.();
    void parse(socket, (message) => {
      this.#heard.push(message as unknown as Heard);
      stir();
    });
    socket.on('error', () => undefined); // `next` tells that it is closed
    socket.on('close', () => {
      this.#closed = true;
      stir();
    });
  }

  /** Connected and logged in (trust), up to the first ReadyForQuery. */
  static async open(port: number, parameters: Record<string, string> = {}): Promise<RawFrontend> {
    const socket = connect({ host: embeddedHost, port, noDelay: true });
    const frontend = new RawFrontend(socket);
    frontend.send(serialize.startup({ user: 'postgres', database: embeddedDatabase, ...parameters }));
    for (const message of await frontend.ready()) {
      if (message.name === 'parameterStatus') {
        frontend.parameters.set(String(message['parameterName']), String(message['parameterValue']));
      } else if (message.name === 'backendKeyData') {
        frontend.backend = {
          processId: Number(message['processID']),
          secretKey: Number(message['secretKey']),
        };
      }
    }
    return frontend;
  }

  /** All in one write. */
  send(...messages: Uint8Array[]): void {
    this.socket.write(Buffer.concat(messages));
  }

  /** The next message; an error when the connection ends or nothing comes. */
  async next(): Promise<Heard> {
    for (;;) {
      const message = this.#heard.shift();
      if (message !== undefined) return message;
      if (this.#closed) throw new Error('the server has closed the connection');
      const woken = new Promise<void>((resolve) => (this.#wake = resolve));
      await within('the next message', answerLimitMs, woken);
    }
  }

  /** All messages up to and with the first of this name. */
  async until(name: string): Promise<Heard[]> {
    const messages: Heard[] = [];
    for (;;) {
      const message = await this.next();
      messages.push(message);
      if (message.name === name) return messages;
    }
  }

  ready(): Promise<Heard[]> {
    return this.until('readyForQuery');
  }

  /** A simple query and all of its answer. */
  query(text: string): Promise<Heard[]> {
    this.send(serialize.query(text));
    return this.ready();
  }

  close(): void {
    this.socket.destroy();
  }
}

/** A message in one word, with what a test looks at: `commandComplete INSERT 0 1`, `error 23505`, `readyForQuery T`. */
export function brief(message: Heard): string {
  switch (message.name) {
    case 'commandComplete':
      return `commandComplete ${String(message['text'])}`;
    case 'error':
    case 'notice':
      return `${message.name} ${String(message['code'])}`;
    case 'readyForQuery':
      return `readyForQuery ${String(message['status'])}`;
    case 'dataRow':
      return `dataRow ${(message['fields'] as unknown[]).join(',')}`;
    default:
      return message.name;
  }
}
