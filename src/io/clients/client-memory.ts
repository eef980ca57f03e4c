/**
 * What the clients of a node keep in the gateway: messages that are half received or wait, prepared
 * statements. Each session tells what it holds; above the limit the one that holds most has to go.
 * Rule: a session that holds little never pays for others; nothing is counted that the flow of bytes bounds
 * already.
 */
export class ClientMemory {
  limitBytes: number;
  readonly #holders = new Map<Holder, number>();
  #bytes = 0;

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** So much is held now; 0 at the end. May end a session, this one or another. */
  holds(holder: Holder, bytes: number): void {
    this.#bytes += bytes - (this.#holders.get(holder) ?? 0);
    if (bytes === 0) this.#holders.delete(holder);
    else this.#holders.set(holder, bytes);
    if (this.#bytes > this.limitBytes) this.#largest()?.memoryExceeded();
  }

  #largest(): Holder | undefined {
    let largest: Holder | undefined;
    let most = 0;
    for (const [holder, bytes] of this.#holders) {
      if (bytes <= most) continue;
      most = bytes;
      largest = holder;
    }
    return largest;
  }
}

/** Changes are told in steps of so much. */
const stepBytes = 64 * 1024;

/** What one session holds. */
export class MemoryShare {
  readonly #memory: ClientMemory;
  readonly #holder: Holder;
  #told = 0;

  constructor(memory: ClientMemory, holder: Holder) {
    this.#memory = memory;
    this.#holder = holder;
  }

  tell(bytes: number): void {
    if (bytes === this.#told || (bytes !== 0 && Math.abs(bytes - this.#told) < stepBytes)) return;
    this.#told = bytes;
    this.#memory.holds(this.#holder, bytes);
  }
}

export interface Holder {
  /** Ends the session, and with it what it holds. */
  memoryExceeded(): void;
}
