/**
 * Would the load and its judge notice? Answers that come before a commit is visible on the other nodes (wait_peer_commits off)
 * are the smallest fault that a real cluster can show on request: the judge must see it, and nothing worse.
 */
import { expect, test } from 'vitest';
import { Prng } from '../../../src/lib/prng.ts';
import { checkHistory } from '../../support/history/check.ts';
import { eventually } from '../../support/polling.ts';
import { createWorkload, startLoad, testSeed } from './fault-rounds.ts';
import { loopbackSite } from './site.ts';

test('without wait_peer_commits another node shows what was, and the judge says so', async () => {
  const site = await loopbackSite({ settings: { wait_peer_commits: false } });
  try {
    const workload = await createWorkload(site, new Prng(testSeed()));
    const load = startLoad(site, workload);
    const { lists } = workload;
    let judged = 0;
    try {
      await eventually(
        'a read on another node is too old',
        () => {
          if (lists.operations.length < judged + 50) return false;
          judged = lists.operations.length;
          return checkHistory(lists.operations, { realTime: true }).counts.has('stale-read');
        },
        60_000,
      );
    } finally {
      await load.stop();
    }
    const kinds = [...checkHistory(lists.operations, { realTime: true }).counts.keys()];
    expect(kinds.filter((kind) => !['stale-read', 'G1c-realtime', 'G0-realtime'].includes(kind))).toEqual([]);
    expect([...checkHistory(lists.operations).counts]).toEqual([]);
  } finally {
    await site.stop();
  }
});
