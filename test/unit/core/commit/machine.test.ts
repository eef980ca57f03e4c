/** Where the simulation is blunt: what a peer should not say, and what must not stop the process. */
import { beforeEach, describe, expect, test } from 'vitest';
import type { CommitEffect, CommitEvent } from '../../../../src/core/commit/event.ts';
import { CommitMachine } from '../../../../src/core/commit/machine.ts';
import { OutcomeMemory } from '../../../../src/core/commit/outcome-memory.ts';
import type { NodeId } from '../../../../src/core/identity.ts';
import type { PeerMessage } from '../../../../src/core/peer/message.ts';

const options = {
  self: 1,
  generation: 1,
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

  test('whatever is said about a gid that is finished everywhere is answered with that', () => {
    for (const message of [
      vote(own),
      { kind: 'rolled-back', gid: own },
      { kind: 'finished', gid: own },
    ] as const) {
      expect(hear(2, message)).toEqual([]);
      const told = [{ to: 2, message: { kind: 'finished-everywhere', gids: [own] } }];
      expect(step({ kind: 'tick' })).toMatchObject(told);
    }
  });

  test('the floor is the lowest counter that is not finished everywhere', () => {
    const floor = (): unknown => {
      hear(2, { kind: 'finished', gid: 'mtm:1:1:1:0' });
      const [effect] = step({ kind: 'tick' });
      return effect?.kind === 'send' && effect.message.kind === 'finished-everywhere' && effect.message.floor;
    };
    expect(floor()).toBe(1);
    prepareOwn();
    step({ kind: 'prepare-sent', gid: 'mtm:1:1:1:7', startTime: 1 });
    expect(floor()).toBe(1);
    hear(2, vote(own));
    hear(3, vote(own));
    step({ kind: 'finish-ended', gid: own, finish: 'commit', missing: false });
    hear(2, { kind: 'finished', gid: own });
    hear(3, { kind: 'finished', gid: own });
    expect(floor()).toBe(7);
    step({ kind: 'prepare-failed', gid: 'mtm:1:1:1:7' });
    expect(floor()).toBe(8);
  });

  describe('a floor that rises without a word', () => {
    const late = 'mtm:1:1:1:2';
    const told = (to: NodeId, floor: number, gids: readonly string[] = []): unknown => {
      return { to, message: { kind: 'finished-everywhere', gids, generation: 1, floor } };
    };

    /** Counter 1 is open while counter 2 commits everywhere. */
    const commitLate = (): readonly CommitEffect[] => {
      step({ kind: 'prepare-sent', gid: own, startTime: 1 });
      step({ kind: 'prepare-sent', gid: late, startTime: 2 });
      step({ kind: 'captured', gid: late, ddl: false, data, last: true });
      step({ kind: 'prepare-returned', gid: late });
      for (const node of [2, 3]) hear(node, vote(late));
      step({ kind: 'finish-ended', gid: late, finish: 'commit', missing: false });
      for (const node of [2, 3]) hear(node, { kind: 'finished', gid: late });
      return step({ kind: 'tick' });
    };

    test('is told once when the lowest transaction fails', () => {
      expect(commitLate()).toMatchObject([told(2, 1, [late]), told(3, 1, [late])]);
      expect(step({ kind: 'tick' })).toEqual([]);
      step({ kind: 'prepare-failed', gid: own });
      expect(step({ kind: 'tick' })).toMatchObject([told(2, 3), told(3, 3)]);
      expect(step({ kind: 'tick' })).toEqual([]);
    });

    test('is told when the lowest transaction changed nothing', () => {
      commitLate();
      step({ kind: 'captured', gid: own, ddl: false, data: new Uint8Array(), last: true });
      step({ kind: 'prepare-returned', gid: own });
      step({ kind: 'finish-ended', gid: own, finish: 'commit', missing: false });
      expect(step({ kind: 'tick' })).toMatchObject([told(2, 3), told(3, 3)]);
    });

    test('is told again over a new link, which may have lost it', () => {
      commitLate();
      step({ kind: 'prepare-failed', gid: own });
      step({ kind: 'tick' });
      step({ kind: 'link-up', node: 3, incarnation: 1 });
      expect(step({ kind: 'tick' })).toMatchObject([told(3, 3)]);
      expect(step({ kind: 'tick' })).toEqual([]);
    });

    test('is nothing to tell before the first transaction, or after the generation', () => {
      step({ kind: 'link-up', node: 3, incarnation: 1 });
      expect(step({ kind: 'tick' })).toEqual([]);
      commitLate();
      step({ kind: 'prepare-failed', gid: own });
      step({ kind: 'frozen' });
      expect(step({ kind: 'tick' })).toEqual([]);
    });
  });

  test('a refusal for a member that was lost can be repeated in the next generation', () => {
    prepareOwn();
    step({ kind: 'member-lost', node: 3, reason: 'gone' });
    step({ kind: 'finish-ended', gid: own, finish: 'rollback', missing: false });
    expect(hear(2, { kind: 'rolled-back', gid: own })[0]).toMatchObject({
      kind: 'answer',
      answer: { kind: 'aborted', refusal: { sqlstate: '40001', retryable: true } },
    });
  });
});

describe('as member', () => {
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

  test('the changes that wait for deps are counted until they are handed on or not needed any more', () => {
    const dep = 'mtm:3:1:1:1';
    const waits = (): void => {
      hear(3, {
        kind: 'transaction-start',
        gid: dep,
        startTime: 1,
        ddl: false,
        members: [1, 2, 3],
        deps: [],
      });
      step({ kind: 'apply-ended', gid: dep, result: { kind: 'prepared' } });
      startForeign([dep]);
      for (const offset of [0, 3, 2]) hear(2, { kind: 'transaction-data', gid: foreign, offset, data });
      expect(machine.openTransactions.keptBytes).toBe(6);
    };
    waits();
    step({ kind: 'finish-ended', gid: dep, finish: 'commit', missing: false });
    expect(machine.openTransactions.keptBytes).toBe(0);
    machine = new CommitMachine(options);
    waits();
    hear(2, { kind: 'rollback-request', gid: foreign });
    expect(machine.openTransactions.keptBytes).toBe(0);
    machine = new CommitMachine(options);
    waits();
    step({ kind: 'frozen' });
    expect(machine.openTransactions.keptBytes).toBe(0);
  });
});

describe('frozen', () => {
  const settled = (commits: readonly string[], complete = true): readonly CommitEffect[] => {
    return step({ kind: 'settled', commits: new Set(commits), complete });
  };

  test('no vote decides, no abort begins, whatever is heard', () => {
    prepareOwn();
    hear(2, vote(own));
    step({ kind: 'frozen' });
    expect(machine.quiet).toBe(true);
    const refusal = { sqlstate: '23505', message: 'no', node: 2, retryable: false };
    expect(hear(3, vote(own))).toEqual([]);
    expect(hear(3, { kind: 'vote', gid: own, refusal })).toEqual([]);
    expect(step({ kind: 'member-lost', node: 3, reason: 'gone' })).toEqual([]);
    expect(step({ kind: 'link-up', node: 3, incarnation: 2 })).toEqual([]);
    expect(hear(2, { kind: 'refuse-request', gid: own, winner: foreign })).toEqual([]);
    expect(step({ kind: 'capture-blocked', gid: own })).toEqual([]);
    expect(machine.holdings()).toEqual({ prepared: [own], committed: [] });
    expect(machine.holds(own)).toBe(true);
  });

  test('what it holds for others it neither rolls back nor votes on', () => {
    startForeign();
    step({ kind: 'apply-ended', gid: foreign, result: { kind: 'prepared' } });
    step({ kind: 'frozen' });
    expect(hear(2, { kind: 'rollback-request', gid: foreign })).toEqual([]);
    expect(hear(2, { kind: 'outcome', gid: foreign, outcome: 'abort' })).toEqual([]);
    expect(step({ kind: 'link-up', node: 2, incarnation: 1 })).toEqual([]);
    expect(machine.holdings()).toEqual({ prepared: [foreign], committed: [] });
    expect(kinds(hear(2, { kind: 'outcome', gid: foreign, outcome: 'commit' })), 'was decided').toEqual([
      'finish',
    ]);
    expect(machine.holdings()).toEqual({ prepared: [], committed: [foreign] });
    expect(
      kinds(step({ kind: 'finish-ended', gid: foreign, finish: 'commit', missing: false })),
      'its coordinator may answer with it',
    ).toEqual(['finished']);
  });

  test('a rollback that was on its way is waited for, and not confirmed', () => {
    startForeign();
    step({ kind: 'apply-ended', gid: foreign, result: { kind: 'prepared' } });
    hear(2, { kind: 'rollback-request', gid: foreign });
    step({ kind: 'frozen' });
    expect(machine.quiet).toBe(false);
    expect(() => machine.holdings()).toThrow();
    expect(step({ kind: 'finish-ended', gid: foreign, finish: 'rollback', missing: false })).toEqual([]);
    expect(machine.quiet).toBe(true);
    expect(machine.holds(foreign)).toBe(false);
  });

  test('a transaction without changes is in no vote and ends with the generation', () => {
    step({ kind: 'prepare-sent', gid: own, startTime: 1 });
    step({ kind: 'captured', gid: own, ddl: false, data: new Uint8Array(), last: true });
    step({ kind: 'prepare-returned', gid: own });
    step({ kind: 'frozen' });
    expect(machine.holdings()).toEqual({ prepared: [], committed: [] });
    expect(settled([]), 'nobody else has it').toEqual([]);
    expect(kinds(step({ kind: 'finish-ended', gid: own, finish: 'commit', missing: false }))).toEqual([
      'answer',
    ]);
  });

  test('what was decided stays so, and need not be in the record', () => {
    prepareOwn();
    hear(2, vote(own));
    hear(3, vote(own));
    step({ kind: 'frozen' });
    expect(settled([])).toEqual([]);
    step({ kind: 'finish-ended', gid: own, finish: 'commit', missing: false });
    expect(machine.answersOwed).toBe(1);
    expect(step({ kind: 'released', committed: new OutcomeMemory() })).toMatchObject([
      { kind: 'answer', answer: { kind: 'committed' } },
    ]);
  });

  test('without waiting for its peers it answers when it has executed the commit', () => {
    machine = new CommitMachine({ ...options, waitPeerCommits: false });
    for (const node of [2, 3]) step({ kind: 'member-back', node });
    prepareOwn();
    step({ kind: 'frozen' });
    expect(kinds(settled([own]))).toEqual(['finish']);
    expect(kinds(step({ kind: 'finish-ended', gid: own, finish: 'commit', missing: false }))).toEqual([
      'answer',
    ]);
    expect(machine.settled).toBe(true);
    expect(machine.answersOwed).toBe(0);
  });
});

test('no session is answered while it still waits for its PREPARE', () => {
  step({ kind: 'prepare-sent', gid: own, startTime: 1 });
  step({ kind: 'captured', gid: own, ddl: false, data, last: true });
  expect(step({ kind: 'given-up', reason: 'no quorum' })).toEqual([]);
  step({ kind: 'prepare-returned', gid: own });
  expect(kinds(step({ kind: 'given-up', reason: 'no quorum' }))).toEqual(['answer']);
});

describe('conflicts under each deadlock_prevention', () => {
  const other = 'mtm:3:1:1:1';
  type Mode = 'off' | 'simple' | 'smart';

  /** What follows when the foreign transaction (start time 1) waits for one that holds its lock. */
  function waits(mode: Mode, holderStart: number, waitedMs: number): string[] {
    machine = new CommitMachine({ ...options, deadlockPrevention: mode });
    for (const node of [2, 3]) step({ kind: 'member-back', node });
    startForeign();
    const deps: string[] = [];
    hear(3, {
      kind: 'transaction-start',
      gid: other,
      startTime: holderStart,
      ddl: false,
      members: [1, 2, 3],
      deps,
    });
    step({ kind: 'apply-ended', gid: other, result: { kind: 'prepared' } });
    const holder = { kind: 'transaction', gid: other } as const;
    const effects = step({ kind: 'apply-blocked', gid: foreign, ddl: false, holder, waitedMs });
    return effects.map((effect) =>
      effect.kind === 'send' ? `${effect.message.kind} to ${effect.to}` : effect.kind,
    );
  }

  test('smart: the younger gives way, whoever waits', () => {
    expect(waits('smart', 2, 12)).toEqual(['refuse-request to 3']);
    expect(waits('smart', 0, 12)).toEqual(['cancel-apply']);
  });

  test('simple: whoever waits gives way at once', () => {
    expect(waits('simple', 2, 12)).toEqual(['cancel-apply']);
    expect(waits('simple', 0, 12)).toEqual(['cancel-apply']);
  });

  test('off: nothing happens before blocker_timeout, then as smart', () => {
    expect(waits('off', 2, 999)).toEqual([]);
    expect(waits('off', 0, 999)).toEqual([]);
    expect(waits('off', 2, 1000)).toEqual(['refuse-request to 3']);
    expect(waits('off', 0, 1000)).toEqual(['cancel-apply']);
  });
});
