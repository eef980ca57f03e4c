/**
 * Who holds the commits of this node's own transactions back for a moment (snapshot-hands.ts,
 * repair-hands.ts).
 * Rule: a hold ends by itself, whatever becomes of whoever asked for it; nobody ends the hold of somebody
 * else.
 */

export class CommitHolds {
  readonly #until = new Map<string, number>();

  /** Nothing is prepared from now on. */
  hold(token: string, ms: number): void {
    this.#until.set(token, performance.now() + ms);
  }

  release(token: string): void {
    this.#until.delete(token);
  }

  /** The hold with this name has lasted until now. */
  isHeldFor(token: string): boolean {
    return performance.now() < (this.#until.get(token) ?? 0);
  }

  get held(): boolean {
    if (this.#until.size === 0) return false;
    const now = performance.now();
    for (const [token, until] of this.#until) if (until <= now) this.#until.delete(token);
    return this.#until.size > 0;
  }
}
