/**
 * What has happened to a node, for people: the last events with their reasons, each also one line of the log.
 * Rule: one event for a change, none for a transaction; bounded, whatever happens how often. The message of
 * the log line is constant, its fields say the rest; the text is for the status page.
 */
import type { Logger } from 'pino';
import { withoutPasswords } from './log.ts';

export type EventLevel = 'info' | 'warn' | 'error';

export interface ChronicleEvent {
  /** Of the wall clock, ms. */
  readonly at: number;
  readonly level: EventLevel;
  /** A word that never changes, for tests and alerts. */
  readonly kind: string;
  readonly text: string;
  /** How often it has happened in a row. */
  readonly times: number;
}

const mostEvents = 100;
const mostTextLength = 500;
const momentMs = 1000;

export class Chronicle {
  readonly #log: Logger;
  readonly #events: ChronicleEvent[] = [];

  constructor(log: Logger) {
    this.#log = log;
  }

  /** The newest first. */
  get events(): readonly ChronicleEvent[] {
    return this.#events.toReversed();
  }

  /** An event with its line of the log: `message` with `fields`. */
  tell(level: EventLevel, kind: string, text: string, message: string, fields: object): void {
    this.#log[level](fields, message);
    this.note(level, kind, text);
  }

  /** An event that has its line of the log already. */
  note(level: EventLevel, kind: string, text: string): void {
    const clean = withoutPasswords(text);
    const shown = clean.length > mostTextLength ? `${clean.slice(0, mostTextLength)} …` : clean;
    const last = this.#events.at(-1);
    const at = Date.now();
    if (last?.kind === kind && last.text === shown) {
      this.#events[this.#events.length - 1] = { ...last, at, times: last.times + 1 };
      return;
    }
    // On the way from one state to another there are many words: the last of a second counts.
    if (last?.kind === 'status' && kind === 'status' && at - last.at < momentMs) this.#events.pop();
    if (this.#events.length >= mostEvents) this.#events.shift();
    this.#events.push({ at, level, kind, text: shown, times: 1 });
  }
}
