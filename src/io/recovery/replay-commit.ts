/** One commit of the connection that replays, and how far what was committed is durable. */
import type { Gid, Lsn } from '../../core/identity.ts';

export interface ReplayCommit {
  readonly gids: Gid[];
  readonly big: boolean;
  position: Lsn;
  units: number;
  ddl: boolean;
  /** The first error that came for it. */
  error: string | undefined;
  ending: 'commit' | 'rollback' | undefined;
  inserted: Lsn;
  flushedTo: Lsn;
  readonly done: (() => void) | undefined;
}

export function newCommit(big: boolean, done?: () => void): ReplayCommit {
  return {
    gids: [],
    big,
    position: 0n,
    units: 0,
    ddl: false,
    error: undefined,
    ending: undefined,
    inserted: 0n,
    flushedTo: 0n,
    done,
  };
}

/** Positions of the donor whose effects are committed, in order, until they are durable. */
export class FlushProgress {
  #waiting: { readonly inserted: Lsn; readonly position: Lsn }[] = [];

  get waiting(): boolean {
    return this.#waiting.length > 0;
  }

  /** `position` is committed; its effects end before `inserted` in the own WAL (0: there were none). */
  committed(position: Lsn, inserted: Lsn): void {
    this.#waiting.push({ inserted, position });
  }

  /** The own WAL is durable up to here: the highest position that is, if it is a new one. */
  flushed(upTo: Lsn): Lsn | undefined {
    let count = 0;
    while (count < this.#waiting.length && this.#waiting[count]!.inserted <= upTo) count++;
    return this.#waiting.splice(0, count).at(-1)?.position;
  }
}
