import { expect, test } from 'vitest';
import { changed, initialConfiguration } from '../../../../src/core/generation/configuration.ts';
import type { MemberTrouble } from '../../../../src/core/generation/liveness-event.ts';
import { statusOf, type StatusFacts } from '../../../../src/core/node/status.ts';

const third: MemberTrouble = { node: 3, kind: 'not-heard', text: 'not heard for 2000 ms' };

const joining = changed(
  initialConfiguration([1, 2, 3]),
  { kind: 'add', node: { id: 4, host: 'd', port: 7304, conninfo: '' } },
  5,
);

const well: StatusFacts = {
  health: { healthy: true },
  self: 1,
  source: undefined,
  configuration: initialConfiguration([1, 2, 3]),
  serving: true,
  inMajority: true,
  onlineIn: 4,
  chosen: {
    number: 4,
    proposer: 1,
    members: [1, 2, 3],
    ...initialConfiguration([1, 2, 3]),
    donors: [1, 2, 3],
    commits: [],
  },
  missing: [],
  troubles: [],
  waiting: '',
  voted: false,
  settling: false,
  donor: undefined,
  donorFailure: undefined,
  reseed: undefined,
};
const off: StatusFacts = { ...well, serving: false, onlineIn: 0 };

test.each<[string, StatusFacts, string]>([
  ['all is well', well, 'online: '],
  [
    'its PostgreSQL is gone',
    { ...well, health: { healthy: false, status: 'disabled', reason: 'PostgreSQL does not answer' } },
    'disabled: PostgreSQL does not answer',
  ],
  [
    'a member is missing',
    { ...well, missing: [third], troubles: [third] },
    'online: no writes without node 3 (not heard for 2000 ms)',
  ],
  [
    'a node that is no member is missing',
    { ...well, chosen: { ...well.chosen!, members: [1, 2] }, missing: [third] },
    'online: generation 4 goes on without node 3 (not heard for 2000 ms)',
  ],
  [
    'no majority',
    { ...off, inMajority: false, missing: [{ ...third, node: 2 }, third] },
    'isolated: 2 of 3 nodes must be in contact; missing: node 2 (not heard for 2000 ms), ' +
      'node 3 (not heard for 2000 ms); start them or restore their links',
  ],
  [
    'nobody answers',
    { ...well, serving: false, missing: [third] },
    'isolated: fewer than 2 of 3 nodes have answered lately; missing: node 3 (not heard for 2000 ms)',
  ],
  ['it replays', { ...off, donor: 2 }, 'catchup: replays what it missed from node 2'],
  [
    'an election has to wait',
    { ...off, waiting: 'generation 4 has lost node 3; node 3 may still hold a lease', missing: [third] },
    'recovery: a generation has to be elected: generation 4 has lost node 3; node 3 may still hold a lease; ' +
      'missing: node 3 (not heard for 2000 ms)',
  ],
  ['it has voted', { ...off, voted: true }, 'recovery: a generation is being elected'],
  ['there was none yet', { ...off, chosen: undefined }, 'recovery: a generation is being elected'],
  [
    'it settles',
    { ...off, settling: true },
    'recovery: transactions of former generations are being finished',
  ],
  [
    'its donor has failed',
    { ...off, donorFailure: 'node 2: it is silent' },
    'recovery: it needs another donor: node 2: it is silent',
  ],
  [
    'a node was added and is not there yet',
    { ...well, configuration: joining, missing: [{ node: 4, kind: 'not-heard', text: 'not heard yet' }] },
    'online: node 4 was added and is not there yet (not heard yet); history is kept for it',
  ],
  [
    'a node is joining, another one is away',
    { ...well, configuration: joining, missing: [third], chosen: { ...well.chosen!, members: [1, 2] } },
    'online: generation 4 goes on without node 3 (not heard for 2000 ms); node 4 is joining',
  ],
  [
    'it was dropped',
    { ...off, self: 7 },
    'disabled: node 7 was removed from the cluster; add it anew with mtm.add_node and a new copy',
  ],
  [
    'its server is a copy of one that is away',
    { ...off, source: 2 },
    'recovery: it waits for node 2, of whose server its own is a copy',
  ],
  [
    'no donor has what it lacks, whichever is asked now',
    { ...off, donor: 2, reseed: 'node 3 was away too long' },
    'disabled: needs re-seed: node 3 was away too long; remove it with mtm.drop_node and add it anew with ' +
      'a new copy (mtm.add_node)',
  ],
  ['no donor', off, 'recovery: it waits for a node that is online in generation 4'],
])('%s', (_name, facts, text) => {
  const { status, reason } = statusOf(facts);
  expect(`${status}: ${reason}`).toBe(text);
});
