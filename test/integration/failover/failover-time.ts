/** How long do writes stand still? From the moment of the fault to the first write that was begun after it and acknowledged. */
import { setTimeout as rest } from 'node:timers/promises';
import { eventually } from '../../support/polling.ts';
import { GatewaySession } from './gateway-session.ts';
import { ask, type Site } from './site.ts';

const writersOfANode = 3;

interface Write {
  readonly node: number;
  readonly begunMs: number;
  readonly endedMs: number;
  readonly acknowledged: boolean;
}

export interface FailoverTime {
  /** By survivor, ms. */
  readonly firstMs: ReadonlyMap<number, number>;
  /** The longest that one acknowledged statement took, ms. */
  readonly slowestMs: number;
  /** Statements of the survivors' clients that failed. */
  readonly failed: number;
  /** Sessions of the survivors' clients that were lost. */
  readonly lostSessions: number;
}

export function failoverText({ firstMs, slowestMs, failed, lostSessions }: FailoverTime): string {
  const first = [...firstMs].map(([node, ms]) => `node ${node}: ${(ms / 1000).toFixed(2)} s`).join(', ');
  return (
    `first write begun after it: ${first}; slowest acknowledged ${(slowestMs / 1000).toFixed(2)} s, ` +
    `${failed} statements failed, ${lostSessions} sessions lost`
  );
}

export async function createBeats(site: Site): Promise<void> {
  await ask(site, 1, 'gateway', 'CREATE TABLE IF NOT EXISTS beat (id bigserial PRIMARY KEY, node int)');
}

/** Writers on `survivors`; then `inflict`. Throws when a survivor has written nothing after `limitMs`. */
export async function failoverTime(
  site: Site,
  survivors: readonly number[],
  inflict: () => Promise<void> | void,
  limitMs = 20_000,
): Promise<FailoverTime> {
  const writes: Write[] = [];
  let goOn = true;
  let lostSessions = 0;
  const writer = async (node: number): Promise<void> => {
    let session: GatewaySession | undefined;
    while (goOn) {
      if (session?.usable === false) lostSessions += 1;
      if (session?.usable !== true) session = await GatewaySession.open(site, node);
      const begunMs = performance.now();
      const attempt = await session?.alone('INSERT INTO beat (node) VALUES ($1)', [node]);
      writes.push({ node, begunMs, endedMs: performance.now(), acknowledged: attempt?.outcome === 'ok' });
      await rest(10);
    }
    session?.close();
  };
  const since = (node: number, time: number): Write | undefined =>
    writes.find((write) => write.node === node && write.acknowledged && write.begunMs >= time);
  const running = survivors.flatMap((node) => Array.from({ length: writersOfANode }, () => writer(node)));
  let faultMs = performance.now();
  try {
    await eventually('all write', () => survivors.every((node) => since(node, faultMs) !== undefined));
    lostSessions = 0;
    faultMs = performance.now();
    await inflict();
    await eventually(
      'all write again',
      () => survivors.every((node) => since(node, faultMs) !== undefined),
      limitMs,
    );
  } finally {
    goOn = false;
    await Promise.all(running);
  }
  const after = writes.filter(({ endedMs }) => endedMs >= faultMs);
  const times = after
    .filter(({ acknowledged }) => acknowledged)
    .map(({ begunMs, endedMs }) => endedMs - begunMs);
  return {
    firstMs: new Map(survivors.map((node) => [node, firstOf(node) - faultMs])),
    slowestMs: Math.max(0, ...times),
    failed: after.filter(({ acknowledged }) => !acknowledged).length,
    lostSessions,
  };

  function firstOf(node: number): number {
    const ends = after.filter(
      (write) => write.node === node && write.acknowledged && write.begunMs >= faultMs,
    );
    return Math.min(...ends.map(({ endedMs }) => endedMs));
  }
}
