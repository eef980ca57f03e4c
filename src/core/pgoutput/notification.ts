/**
 * A notification on its way: the content of a logical message with prefix `mtm-notify`, which the server's
 * functions write inside the transaction (sql/notify.sql), and what one transaction has of them.
 * Rule: whoever may write messages can have made one, so everything is checked here: what passes is what
 * pg_notify itself would take, and nothing that is wrong stops anybody.
 */
import { decodePgoutput } from './decoder.ts';

export interface Notification {
  readonly channel: string;
  readonly payload: string;
}

export const notifyPrefix = 'mtm-notify';

/** PostgreSQL's: NAMEDATALEN, and BLCKSZ − NAMEDATALEN − 128. */
const channelLimit = 64;
export const payloadLimit = 8000;
/** Of one transaction; PostgreSQL's own queue is as large by far. */
const keptBytes = 32 * 1024 * 1024;

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
const encoder = new TextEncoder();

/** NUL, and halves of characters: no text of PostgreSQL has them. */
const noText = /[\0\p{Surrogate}]/u;

function fits(text: string, limit: number): boolean {
  return text.length < limit && encoder.encode(text).length < limit && !noText.test(text);
}

/** The notification in a message, undefined when PostgreSQL would not take it. */
export function readNotification(content: Uint8Array): Notification | undefined {
  let value: unknown;
  try {
    value = JSON.parse(decoder.decode(content));
  } catch {
    return undefined; // counted by the caller
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { channel, payload } = value as { readonly channel?: unknown; readonly payload?: unknown };
  if (typeof channel !== 'string' || typeof payload !== 'string') return undefined;
  if (channel === '' || !fits(channel, channelLimit) || !fits(payload, payloadLimit)) return undefined;
  return { channel, payload };
}

/** The notifications of one transaction, in their order; a repeated one counts once, as in PostgreSQL. */
export class Notifications {
  readonly #list = new Map<string, Notification>();
  #bytes = 0;
  #dropped = 0;

  /** A logical message as it comes in the stream; what is wrong with it, if anything. */
  message(buffer: Uint8Array, start: number, end: number): string | undefined {
    const message = decodePgoutput(buffer, start, end);
    if (message.kind === 'logical-message') this.add(message.content);
    return message.kind === 'malformed' ? message.reason : undefined;
  }

  add(content: Uint8Array): void {
    const read = readNotification(content);
    const key = read === undefined ? '' : `${read.channel}\0${read.payload}`;
    if (this.#list.has(key)) return;
    this.#bytes += content.length;
    if (read === undefined || this.#bytes > keptBytes) this.#dropped++;
    else this.#list.set(key, read);
  }

  get list(): readonly Notification[] {
    return [...this.#list.values()];
  }

  get size(): number {
    return this.#list.size;
  }

  /** Messages that were no notifications, or too many. */
  get dropped(): number {
    return this.#dropped;
  }

  get isEmpty(): boolean {
    return this.#list.size === 0 && this.#dropped === 0;
  }
}
