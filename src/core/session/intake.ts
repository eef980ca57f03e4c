/**
 * What the client sends, in order: the messages that wait while a unit runs, and the extended messages that
 * are collected up to a Sync, a Flush or a simple Query.
 * Rule: bounded. What waits is counted with its overhead; above the limit the client is not read, and a
 * group that grows beyond it is handed out in pieces.
 */
import { assert } from '../../lib/assert.ts';
import { frontend } from '../wire/codes.ts';

export interface ClientMessage {
  readonly type: number;
  readonly bytes: Uint8Array;
}

/** Extended messages in a row, and what ended the row. */
export interface Segment {
  readonly messages: readonly ClientMessage[];
  /** `part`: nothing has, but it has grown large. */
  readonly end: 'sync' | 'flush' | 'query' | 'part';
  /** The Sync, Flush, Query or FunctionCall. */
  readonly last: ClientMessage | undefined;
}

/** What a message in memory costs beyond its bytes. */
const overheadBytes = 96;

function costOf(message: ClientMessage): number {
  return message.bytes.length + overheadBytes;
}

export function isExtended(type: number): boolean {
  switch (type) {
    case frontend.parse:
    case frontend.bind:
    case frontend.describe:
    case frontend.execute:
    case frontend.close:
      return true;
    default:
      return false;
  }
}

export class Intake {
  readonly #limitBytes: number;
  #inbox: ClientMessage[] = [];
  /** Those before it are taken: shifting a long array costs its length each time. */
  #at = 0;
  #inboxBytes = 0;
  #group: ClientMessage[] = [];
  #groupBytes = 0;
  /** A Terminate waits in the inbox: the client may go, what it sent before is still done. */
  leaving = false;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get waiting(): boolean {
    return this.#at < this.#inbox.length;
  }

  get collecting(): boolean {
    return this.#group.length > 0;
  }

  /** Bytes that wait, with their overhead. */
  get bytes(): number {
    return this.#inboxBytes;
  }

  get groupBytes(): number {
    return this.#groupBytes;
  }

  put(message: ClientMessage): void {
    this.#inbox.push(message);
    this.#inboxBytes += costOf(message);
    if (message.type === frontend.terminate) this.leaving = true;
  }

  /** Messages that were taken too early: they are the next again. */
  putBack(messages: readonly ClientMessage[]): void {
    this.#inbox = [...messages, ...this.#inbox.slice(this.#at)];
    this.#at = 0;
    for (const message of messages) this.#inboxBytes += costOf(message);
  }

  take(): ClientMessage {
    const message = this.#inbox[this.#at++];
    assert(message !== undefined, 'a message is waiting');
    this.#inboxBytes -= costOf(message);
    if (this.#at === this.#inbox.length) {
      this.#inbox = [];
      this.#at = 0;
    }
    return message;
  }

  /** Collects an extended message; a segment when the group has grown large. */
  collect(message: ClientMessage): Segment | undefined {
    this.#group.push(message);
    this.#groupBytes += costOf(message);
    return this.#groupBytes > this.#limitBytes ? this.cut('part', undefined) : undefined;
  }

  cut(end: Segment['end'], last: ClientMessage | undefined): Segment {
    const messages = this.#group;
    this.#group = [];
    this.#groupBytes = 0;
    return { messages, end, last };
  }
}
