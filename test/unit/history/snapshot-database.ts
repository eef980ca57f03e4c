/**
 * A dumb database for tests of the judge: serial, or with snapshots and first-committer-wins, transactions interleaved at
 * random. What it records must please the judge; what is then spoilt must not.
 */
import type { Prng } from '../../../src/lib/prng.ts';
import type { Level, MicroOperation, Operation, Outcome } from '../../support/history/operation.ts';

interface Running {
  readonly process: number;
  readonly level: Level;
  readonly invokedMs: number;
  readonly micro: MicroOperation[];
  readonly own: Map<number, number[]>;
  readonly snapshot: Map<number, readonly number[]>;
  left: number;
}

export interface SnapshotOptions {
  readonly operations: number;
  /** 1: serial. */
  readonly clients: number;
  /** Appends until a key is done with and the next one begins. */
  readonly appendsOfAKey?: number;
}

/** All committed lists, and the history that led to them. */
export function snapshotHistory(random: Prng, options: SnapshotOptions) {
  const { operations: wanted, clients, appendsOfAKey = 30 } = options;
  const state = new Map<number, readonly number[]>();
  const locked = new Map<number, Running>();
  const history: Operation[] = [];
  const running: (Running | undefined)[] = Array.from({ length: clients }, () => undefined);
  const appended = new Map<number, number>();
  let now = 0;
  let process = 0;
  let value = 0;
  let begun = 0;
  const keys = [1, 2, 3, 4];

  const begin = (): Running => {
    begun += 1;
    const level = random.chance(0.5) ? 'repeatable read' : 'read committed';
    const snapshot = level === 'repeatable read' ? new Map(state) : state;
    process += 1;
    return {
      process,
      level,
      invokedMs: ++now,
      micro: [],
      own: new Map(),
      snapshot,
      left: 1 + random.below(4),
    };
  };
  const finish = (client: number, one: Running, outcome: Outcome, takesEffect: boolean): void => {
    if (takesEffect)
      for (const [key, values] of one.own) state.set(key, [...(state.get(key) ?? []), ...values]);
    for (const [key, owner] of locked) if (owner === one) locked.delete(key);
    const { process: number, level, invokedMs, micro } = one;
    history.push({ process: number, node: 1, level, invokedMs, endedMs: ++now, outcome, micro });
    running[client] = undefined;
  };
  const nextKey = (): number => {
    const place = random.below(keys.length);
    const key = keys[place] as number;
    const count = (appended.get(key) ?? 0) + 1;
    appended.set(key, count);
    if (count >= appendsOfAKey) keys[place] = Math.max(...keys) + 1;
    return key;
  };
  const step = (client: number, one: Running): void => {
    const key = nextKey();
    const seen = one.snapshot.get(key) ?? [];
    if (random.chance(0.5)) {
      one.micro.push({ kind: 'read', key, values: [...seen, ...(one.own.get(key) ?? [])] });
    } else {
      const holder = locked.get(key);
      one.micro.push({ kind: 'append', key, value: ++value });
      // First updater wins; a reader of an old version may not overwrite a newer one.
      const changed = one.level === 'repeatable read' && (state.get(key) ?? []).length !== seen.length;
      if ((holder !== undefined && holder !== one) || changed) return finish(client, one, 'fail', false);
      locked.set(key, one);
      one.own.set(key, [...(one.own.get(key) ?? []), value]);
    }
    one.left -= 1;
  };
  while (begun < wanted || running.some((one) => one !== undefined)) {
    const client = random.below(clients);
    const one = running[client];
    if (one === undefined) {
      if (begun < wanted) running[client] = begin();
    } else if (one.left > 0) {
      step(client, one);
    } else {
      const luck = random.next();
      if (luck < 0.05) finish(client, one, 'fail', false);
      else if (luck < 0.1) finish(client, one, 'info', random.chance(0.5));
      else finish(client, one, 'ok', true);
    }
  }
  return { history, final: state };
}
