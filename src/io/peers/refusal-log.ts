/**
 * Tells the log who was refused on the peer port.
 * It must never be filled by somebody who calls again and again.
 */
import type { NodeId } from '../../core/identity.ts';
import type { LinkReason } from './link-reason.ts';
import type { LinkLog } from './link-settings.ts';

/** The same refusal is logged this often at most, however often somebody calls. */
const sameRefusalMs = 10_000;

export class RefusalLog {
  readonly #log: LinkLog;
  readonly #now: () => number;
  /** By kind and claimed node: when it was logged last. Both are bounded. */
  readonly #told = new Map<string, number>();
  readonly #counts = new Map<string, number>();

  /** `now` is monotonic, ms. */
  constructor(log: LinkLog, now: () => number) {
    this.#log = log;
    this.#now = now;
  }

  /** How many were refused, by the kind of the reason. */
  get counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  /** The caller at `address` was refused; `claimed` as in the handshake's result. */
  tell(address: string, reason: LinkReason, claimed: NodeId | undefined): void {
    this.#counts.set(reason.kind, (this.#counts.get(reason.kind) ?? 0) + 1);
    const key = `${reason.kind} ${claimed ?? ''}`;
    const now = this.#now();
    if (now - (this.#told.get(key) ?? -Infinity) < sameRefusalMs) return;
    this.#told.set(key, now);
    const fields = { claimed, address, reason: reason.kind, text: reason.text };
    this.#log.warn(fields, 'connection on the peer port refused');
  }
}
