/** Where the simulation is blunt: what a peer should not say, and what must not stop the process. */
import { beforeEach, describe, expect, test } from 'vitest';
import type { CommitEffect, CommitEvent } from '../../../../src/core/commit/event.ts';
import { CommitMachine } from '../../../../src/core/commit/machine.ts';
import type { NodeId } from '../../../../src/core/identity.ts';
import type { PeerMessage } from '../../../../src/core/peer/message.ts';

const options = {
  self: 1,
  members: [1, 2, 3],
  blockingSize: 2,
  waitPeerCommits: true,
  retainBytes: 1000,
  deadlockPrevention: 'smart',
  blockerTimeoutMs: 1000,
} as const;
const own = 'mtm:1:1:1:1';
const foreign = 'mtm:2:1:1:1';
const data = new Uint8Array([1, 2, 3]);

let machine: CommitMachine;

const step = (event: CommitEvent): readonly CommitEffect[] => machine.step(event);
const hear = (from: NodeId, message: PeerMessage): readonly CommitEffect[] => {
  return step({ kind: 'message-received', from, message });
};
const vote = (gid: string): PeerMessage => ({ kind: 'vote', gid, refusal: undefined });
const kinds = (effects: readonly CommitEffect[]): string[] => {
  return effects.map((effect) => (effect.kind === 'send' ? effect.message.kind : effect.kind));
};

beforeEach(() => {
  machine = new CommitMachine(options);
  step({ kind: 'recovered', prepared: [], committed: [] });
  for (const node of [2, 3]) step({ kind: 'member-back', node });
});

function prepareOwn(): void {
  step({ kind: 'prepare-sent', gid: own, startTime: 1 });
  step({ kind: 'captured', gid: own, ddl: false, data, last: true });
  step({ kind: 'prepare-returned', gid: own });
}

function startForeign(deps: readonly string[] = []): readonly CommitEffect[] {
  return hear(2, {
    kind: 'transaction-start',
    gid: foreign,
    startTime: 1,
    ddl: false,
    members: [1, 2, 3],
    deps,
  });
}

describe('as coordinator', () => {
  test('a decision waits until the server can find the home branch by its gid', () => {
    step({ kind: 'prepare-sent', gid: own, startTime: 1 });
    step({ kind: 'captured', gid: own, ddl: false, data, last: true });
    hear(2, vote(own));
    expect(hear(3, vote(own))).toEqual([]);
    expect(kinds(step({ kind: 'prepare-returned', gid: own }))).toEqual(['finish', 'outcome', 'outcome']);
  });

  test('a rollback that is decided before PREPARE returned is ordered when it has', () => {
    step({ kind: 'prepare-sent', gid: own, startTime: 1 });
    step({ kind: 'captured', gid: own, ddl: false, data, last: true });
    const lost = step({ kind: 'member-lost', node: 3, reason: 'gone' });
    expect(kinds(lost)).toEqual(['rollback-request', 'rollback-request']);
    expect(kinds(step({ kind: 'prepare-returned', gid: own }))).toEqual(['finish']);
  });

  test('a NO that repeats itself, and a YES after the decision, change nothing', () => {
    prepareOwn();
    hear(2, vote(own));
    hear(3, vote(own));
    expect(hear(3, vote(own))).toMatchObject([{ message: { kind: 'outcome', outcome: 'commit' } }]);
  });

  test('a member that rolls back by itself raises the alarm and stops nothing', () => {
    prepareOwn();
    expect(kinds(hear(2, { kind: 'rolled-back', gid: own }))).toEqual(['alarm']);
  });

  test('whatever is said about an unknown gid of this node is answered', () => {
    expect(hear(2, vote('mtm:1:1:0:9'))).toMatchObject([
      { to: 2, message: { kind: 'outcome', outcome: 'abort' } },
    ]);
    expect(hear(2, { kind: 'rolled-back', gid: 'mtm:1:1:0:9' })).toMatchObject([
      { message: { kind: 'outcome' } },
    ]);
    hear(2, { kind: 'finished', gid: 'mtm:1:1:0:9' });
    const told = [{ to: 2, message: { kind: 'finished-everywhere', gids: ['mtm:1:1:0:9'] } }];
    expect(step({ kind: 'tick' })).toMatchObject(told);
  });

  test('"still open" is not said to a member that an answer may pass over', () => {
    prepareOwn();
    hear(2, vote(own));
    hear(3, vote(own));
    prepareAnother();
    step({ kind: 'member-lost', node: 3, reason: 'gone' });
    step({ kind: 'member-silenced', node: 3 });
    expect(hear(3, { kind: 'fate-question', gids: ['mtm:1:1:1:2'] })).toEqual([]);
    expect(step({ kind: 'tick' })).toEqual([]);
    step({ kind: 'member-back', node: 3 });
    expect(kinds(step({ kind: 'tick' }))).toEqual(['fate-answer']);
  });

  /** Node 3 has voted, node 2 has not. */
  function prepareAnother(): void {
    step({ kind: 'prepare-sent', gid: 'mtm:1:1:1:2', startTime: 1 });
    step({ kind: 'captured', gid: 'mtm:1:1:1:2', ddl: false, data, last: true });
    step({ kind: 'prepare-returned', gid: 'mtm:1:1:1:2' });
    hear(3, vote('mtm:1:1:1:2'));
  }
});

describe('as member', () => {
  test('what it promised never to prepare it refuses when it comes late', () => {
    const answer = hear(2, { kind: 'fate-question', gids: [foreign] });
    expect(answer).toMatchObject([{ message: { kind: 'fate-answer', fates: [{ fate: 'never' }] } }]);
    expect(startForeign()).toMatchObject([{ message: { kind: 'vote', refusal: { sqlstate: '40001' } } }]);
    expect(step({ kind: 'apply-ended', gid: foreign, result: { kind: 'prepared' } })).toEqual([]);
  });

  test('what it was asked to roll back before it saw it, it never opens', () => {
    expect(kinds(hear(2, { kind: 'rollback-request', gid: foreign }))).toEqual(['rolled-back']);
    expect(startForeign()).toEqual([]);
    expect(kinds(step({ kind: 'link-up', node: 2, incarnation: 1 })), 'the answer may be lost').toEqual([
      'rolled-back',
    ]);
  });

  test('it never votes YES for what waits for its deps when it is rolled back', () => {
    const dep = 'mtm:3:1:1:1';
    hear(3, { kind: 'transaction-start', gid: dep, startTime: 1, ddl: false, members: [1, 2, 3], deps: [] });
    step({ kind: 'apply-ended', gid: dep, result: { kind: 'prepared' } });
    expect(startForeign([dep]), 'the dep is committed first').toEqual([
      { kind: 'finish', gid: dep, finish: 'commit' },
    ]);
    hear(2, { kind: 'rollback-request', gid: foreign });
    expect(kinds(step({ kind: 'link-up', node: 2, incarnation: 1 }))).toEqual(['rolled-back']);
  });

  test('contradictions raise the alarm, in both directions', () => {
    startForeign();
    step({ kind: 'apply-ended', gid: foreign, result: { kind: 'prepared' } });
    hear(2, { kind: 'outcome', gid: foreign, outcome: 'commit' });
    expect(kinds(hear(2, { kind: 'outcome', gid: foreign, outcome: 'abort' }))).toEqual(['alarm']);
    expect(kinds(hear(2, { kind: 'rollback-request', gid: foreign }))).toEqual(['alarm']);
  });

  test('a commit without its vote raises the alarm', () => {
    startForeign();
    expect(kinds(hear(2, { kind: 'outcome', gid: foreign, outcome: 'commit' }))).toEqual(['alarm']);
  });

  test('changes with a gap raise the alarm and are not applied', () => {
    startForeign();
    expect(kinds(hear(2, { kind: 'transaction-data', gid: foreign, offset: 5, data }))).toEqual(['alarm']);
  });

  test('the doubt ends with the execution, not with the word', () => {
    startForeign();
    step({ kind: 'apply-ended', gid: foreign, result: { kind: 'prepared' } });
    step({ kind: 'member-lost', node: 2, reason: 'gone' });
    expect(machine.doubtful).toBe(1);
    hear(2, { kind: 'fate-answer', fates: [{ gid: foreign, fate: 'prepared' }] });
    expect(machine.doubtful, 'said before it was lost, perhaps').toBe(1);
    expect(kinds(step({ kind: 'member-back', node: 2 }))).toEqual(['fate-question']);
    hear(2, { kind: 'outcome', gid: foreign, outcome: 'commit' });
    expect(machine.doubtful).toBe(1);
    step({ kind: 'finish-ended', gid: foreign, finish: 'commit', missing: false });
    expect(machine.doubtful).toBe(0);
  });

  test('what is prepared while its coordinator is lost is doubtful at once', () => {
    startForeign();
    step({ kind: 'member-lost', node: 2, reason: 'gone' });
    step({ kind: 'apply-ended', gid: foreign, result: { kind: 'prepared' } });
    expect(machine.doubtful).toBe(1);
  });
});

test('no session is answered while it still waits for its PREPARE', () => {
  step({ kind: 'prepare-sent', gid: own, startTime: 1 });
  step({ kind: 'captured', gid: own, ddl: false, data, last: true });
  const lost = (node: NodeId): readonly CommitEffect[] => step({ kind: 'member-lost', node, reason: 'gone' });
  expect(kinds([...lost(2), ...lost(3)])).not.toContain('answer');
  expect(kinds(step({ kind: 'prepare-returned', gid: own }))).toEqual(['finish', 'answer']);
});
