/** What waits to be replayed, in the donor's order, with the number of its bytes. */
import type { Lsn } from '../../core/identity.ts';
import type { Frame } from './stream-frame.ts';

export type ReplayItem =
  | Extract<Frame, { kind: 'unit' | 'begin' | 'piece' | 'end' }>
  | { readonly kind: 'position'; readonly position: Lsn }
  /** Everything before it must be durable when `done` is called. */
  | { readonly kind: 'flush'; readonly done: () => void };

/** Items that are taken away from the front are forgotten in bulk. */
const compactFrom = 1024;

export class ReplayQueue {
  #items: ReplayItem[] = [];
  #at = 0;
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  get empty(): boolean {
    return this.#at >= this.#items.length;
  }

  get first(): ReplayItem | undefined {
    return this.#items[this.#at];
  }

  push(item: ReplayItem): void {
    this.#items.push(item);
    this.#bytes += sizeOf(item);
  }

  take(): ReplayItem | undefined {
    const item = this.#items[this.#at];
    if (item === undefined) return undefined;
    this.#at++;
    this.#bytes -= sizeOf(item);
    if (this.#at >= compactFrom) {
      this.#items.splice(0, this.#at);
      this.#at = 0;
    }
    return item;
  }

  clear(): void {
    this.#items = [];
    this.#at = 0;
    this.#bytes = 0;
  }
}

function sizeOf(item: ReplayItem): number {
  return 'data' in item ? item.data.length + 64 : 64;
}
