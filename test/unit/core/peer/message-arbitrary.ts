/** Any message that gateways can send each other, for property tests. */
import fc from 'fast-check';
import type { PeerMessage } from '../../../../src/core/peer/message.ts';
import type { Refusal } from '../../../../src/core/identity.ts';

const node = fc.integer({ min: 1, max: 64 });
const nodes = fc.uniqueArray(node, { maxLength: 64 });
const time = fc
  .double({ min: 0, max: 1e300, noNaN: true, noDefaultInfinity: true })
  .map((value) => value + 0);
const counter = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const text = fc.string({ unit: 'grapheme', maxLength: 60 });
const gid = fc.tuple(node, counter, counter, counter).map((parts) => `mtm:${parts.join(':')}`);
const gids = fc.array(gid, { maxLength: 20 });
/** As a set comes out of its runs: by origin process, ascending; some in a row. */
const gidSet = fc
  .uniqueArray(
    fc.tuple(
      fc.tuple(node, fc.integer({ min: 0, max: 9e14 }), fc.integer({ min: 0, max: 9e14 })),
      fc.uniqueArray(fc.oneof(fc.nat(9), fc.integer({ min: 0, max: 9e14 })), { minLength: 1, maxLength: 9 }),
    ),
    { maxLength: 3, selector: ([origin]) => origin.join() },
  )
  .map((origins) =>
    origins.flatMap(([origin, counters]) =>
      counters.sort((a, b) => a - b).map((counter) => `mtm:${origin.join(':')}:${counter}`),
    ),
  );
const timeline = fc.integer({ min: 1, max: 0xffff_ffff });
const lsn = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn });
const ballot = fc.record({ generation: counter, proposer: fc.integer({ min: 0, max: 64 }) });
const recordFields = {
  number: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  proposer: node,
  members: nodes,
  configured: nodes,
  joining: nodes,
  added: fc.array(fc.record({ id: node, host: text, port: fc.nat(0xffff), conninfo: text, since: counter }), {
    maxLength: 3,
  }),
  donors: nodes,
  commits: gidSet,
};
const record = fc.oneof(
  fc.record(recordFields),
  fc.record({ ...recordFields, former: nodes.filter((former) => former.length > 0) }),
);

const refusal: fc.Arbitrary<Refusal> = fc
  .record(
    {
      sqlstate: fc.string({ minLength: 5, maxLength: 5, unit: 'grapheme-ascii' }),
      message: text,
      detail: text,
      hint: text,
      schema: text,
      table: text,
      column: text,
      constraint: text,
      node: fc.integer({ min: 0, max: 64 }),
      retryable: fc.boolean(),
    },
    { requiredKeys: ['sqlstate', 'message', 'node', 'retryable'] },
  )
  .map((value) => ({ ...value }));

const data = fc.oneof(
  fc.uint8Array({ maxLength: 200 }),
  // Large enough to be passed on by reference.
  fc.uint8Array({ minLength: 4096, maxLength: 9000 }),
);

export const anyMessage: fc.Arbitrary<PeerMessage> = fc.oneof(
  fc.record({
    kind: fc.constant('heartbeat' as const),
    sentAt: time,
    generation: counter,
    maxVoted: counter,
    lastOnline: counter,
    onlineIn: counter,
    level: fc.boolean(),
    connected: nodes,
    healthy: fc.boolean(),
    reason: text,
    clock: time,
  }),
  fc.record({
    kind: fc.constant('heartbeat-answer' as const),
    sentAt: time,
    maxVoted: counter,
    withheld: fc.boolean(),
    clock: time,
  }),
  fc.record({
    kind: fc.constant('transaction-start' as const),
    gid,
    startTime: time,
    ddl: fc.boolean(),
    members: nodes,
    deps: gids,
  }),
  fc.record({ kind: fc.constant('transaction-data' as const), gid, offset: counter, data }),
  fc.record({ kind: fc.constant('transaction-end' as const), gid }),
  fc.record({ kind: fc.constant('vote' as const), gid, refusal: fc.option(refusal, { nil: undefined }) }),
  fc.record({ kind: fc.constant('rollback-request' as const), gid }),
  fc.record({ kind: fc.constant('rolled-back' as const), gid }),
  fc.record({ kind: fc.constant('outcome' as const), gid, outcome: fc.constantFrom('commit', 'abort') }),
  fc.record({ kind: fc.constant('finished' as const), gid }),
  fc.record({ kind: fc.constant('finished-everywhere' as const), gids, generation: counter, floor: counter }),
  fc.record({ kind: fc.constant('flow' as const), open: fc.boolean() }),
  fc.record({ kind: fc.constant('refuse-request' as const), gid, winner: gid }),
  fc.record({
    kind: fc.constant('server-position' as const),
    systemIdentifier: text,
    timeline,
    flushed: lsn,
    branches: fc.array(fc.record({ timeline, at: lsn }), { maxLength: 4 }),
  }),
  fc.record({ kind: fc.constant('server-position-verdict' as const), refusal: text }),
  fc.record({ kind: fc.constant('request' as const), id: counter, verb: text, body: text }),
  fc.record({ kind: fc.constant('reply' as const), id: counter, ok: fc.boolean(), body: text }),
  fc.record({ kind: fc.constant('vote-request' as const), ballot, members: nodes, configured: nodes }),
  fc.record({
    kind: fc.constant('election-vote' as const),
    ballot,
    incarnation: counter,
    lastOnline: counter,
    accepted: fc.option(record, { nil: undefined }),
    prepared: gidSet,
    committed: gidSet,
  }),
  fc.record({
    kind: fc.constant('vote-refused' as const),
    ballot,
    reason: text,
    retryAfterMs: time,
    promised: ballot,
  }),
  fc.record({ kind: fc.constant('accept-request' as const), record }),
  fc.record({ kind: fc.constant('accepted' as const), ballot }),
  fc.record({ kind: fc.constant('accept-refused' as const), ballot, promised: ballot }),
  fc.record({ kind: fc.constant('record' as const), record }),
  fc.record({ kind: fc.constant('record-request' as const), above: counter }),
) as fc.Arbitrary<PeerMessage>;
