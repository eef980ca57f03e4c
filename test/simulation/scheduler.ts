/**
 * Virtual time: a queue of actions, executed in the order of their times; equal times in the order of asking.
 */
interface Item {
  readonly at: number;
  readonly order: number;
  readonly action: () => void;
}

export class Scheduler {
  /** Virtual time, ms. */
  now = 0;
  /** Actions executed so far: the places where the exhaustive exploration puts its faults. */
  executed = 0;
  #order = 0;
  readonly #heap: Item[] = [];

  after(delayMs: number, action: () => void): void {
    const item = { at: this.now + delayMs, order: this.#order++, action };
    const heap = this.#heap;
    let hole = heap.push(item) - 1;
    while (hole > 0) {
      const parent = (hole - 1) >> 1;
      if (before(heap[parent]!, item)) break;
      heap[hole] = heap[parent]!;
      hole = parent;
    }
    heap[hole] = item;
  }

  /** Runs until the queue is empty, the time is over or `stop` says so. */
  run(until: number, stop?: () => boolean): void {
    for (;;) {
      if (stop?.() === true) return;
      const next = this.#heap[0]; // read after `stop`, which may have added an earlier one
      if (next === undefined || next.at > until) break;
      this.#removeFirst();
      this.now = next.at;
      this.executed += 1;
      next.action();
    }
    this.now = Math.max(this.now, until);
  }

  #removeFirst(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let hole = 0;
    for (;;) {
      let child = 2 * hole + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child += 1;
      if (before(last, heap[child]!)) break;
      heap[hole] = heap[child]!;
      hole = child;
    }
    heap[hole] = last;
  }
}

function before(a: Item, b: Item): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
