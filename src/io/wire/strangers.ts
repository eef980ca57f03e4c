/**
 * Connections to a port that have proved nothing yet, and which of them goes when there are too many.
 * Rule: the oldest of the address that has most of them, so a crowd from one place never takes the place of
 * somebody who comes from another.
 */
export class Strangers<T> {
  readonly #addresses = new Map<T, string>();
  /** In the order in which they came. */
  readonly #byAddress = new Map<string, Set<T>>();

  get size(): number {
    return this.#addresses.size;
  }

  add(stranger: T, address: string | undefined): void {
    const from = address ?? '';
    this.#addresses.set(stranger, from);
    const those = this.#byAddress.get(from) ?? new Set<T>();
    this.#byAddress.set(from, those.add(stranger));
  }

  /** It is none any more; again without effect. */
  delete(stranger: T): void {
    const from = this.#addresses.get(stranger);
    if (from === undefined) return;
    this.#addresses.delete(stranger);
    const those = this.#byAddress.get(from);
    those?.delete(stranger);
    if (those?.size === 0) this.#byAddress.delete(from);
  }

  /** The one that has to go first. */
  get oldestOfCrowd(): T | undefined {
    let crowd: Set<T> | undefined;
    for (const those of this.#byAddress.values()) if (those.size > (crowd?.size ?? 0)) crowd = those;
    return crowd?.values().next().value;
  }

  [Symbol.iterator](): Iterator<T> {
    return [...this.#addresses.keys()][Symbol.iterator]();
  }
}
