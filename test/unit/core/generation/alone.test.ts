/** One of two nodes with the referee's grant: the seams of candidates, elections, values and leases. */
import { describe, expect, test } from 'vitest';
import { candidates } from '../../../../src/core/generation/candidates.ts';
import { initialConfiguration } from '../../../../src/core/generation/configuration.ts';
import { Election } from '../../../../src/core/generation/election.ts';
import type { ElectionEffect } from '../../../../src/core/generation/election-event.ts';
import { Exclusion } from '../../../../src/core/generation/exclusion.ts';
import { HybridClock } from '../../../../src/core/generation/hybrid-clock.ts';
import { Liveness } from '../../../../src/core/generation/liveness.ts';
import type { Contact } from '../../../../src/core/generation/liveness-event.ts';
import type { DurableState, GenerationRecord } from '../../../../src/core/generation/record.ts';
import { RefereeMachine } from '../../../../src/core/generation/referee.ts';
import { recordFromVotes } from '../../../../src/core/generation/value.ts';

const configured = [1, 2];
const two = initialConfiguration(configured);
const times = { sendTimeoutMs: 200, recvTimeoutMs: 2000 };

function record(number: number, members: number[]): GenerationRecord {
  return { number, proposer: 1, members, ...two, donors: members, commits: [] };
}

const both = record(4, [1, 2]);
const one = record(5, [1]);

function contact(node: number, connected: number[], more: Partial<Contact> = {}): Contact {
  const usual = { healthy: true, generation: 4, maxVoted: 4, lastOnline: 4, onlineIn: 4, level: false };
  return { node, connected, ...usual, ...more };
}

describe('who should be the next generation', () => {
  const self = contact(1, [1]);

  test('without a referee nobody, with one this node', () => {
    expect(candidates(1, [self], two, both)).toBeUndefined();
    expect(candidates(1, [self], two, both, true)).toEqual([1]);
    expect(candidates(2, [contact(2, [2])], two, both, true)).toEqual([2]);
  });
  test('never one whose PostgreSQL does not work', () => {
    expect(candidates(1, [contact(1, [1], { healthy: false })], two, both, true)).toBeUndefined();
  });
  test('the other is heard, and its PostgreSQL has died: this node', () => {
    const other = contact(2, [1, 2], { healthy: false });
    expect(candidates(1, [contact(1, [1, 2]), other], two, both, true)).toEqual([1]);
  });
  test('heard in one direction only: each for itself', () => {
    const here = [contact(1, [1, 2]), contact(2, [2])];
    expect(candidates(1, here, two, both, true)).toEqual([1]);
    expect(candidates(2, [contact(2, [2])], two, both, true)).toEqual([2]);
  });
  test('both are there: both, also when one is behind, for there is no majority without it', () => {
    const behind = contact(2, [1, 2], { lastOnline: 3, generation: 0, onlineIn: 0 });
    expect(candidates(1, [contact(1, [1, 2]), behind], two, both, true)).toEqual([1, 2]);
  });

  describe('while node 1 works alone', () => {
    const alone = contact(1, [1, 2], { generation: 5, maxVoted: 5, lastOnline: 5, onlineIn: 5 });
    const behind = contact(2, [1, 2], { generation: 0, onlineIn: 0 });

    test('node 2 comes in when it is level', () => {
      expect(candidates(1, [alone, behind], two, one, true)).toEqual([1]);
      expect(candidates(1, [alone, { ...behind, level: true }], two, one, true)).toEqual([1, 2]);
      expect(candidates(2, [{ ...behind, level: true }, alone], two, one, true)).toEqual([1, 2]);
    });
    test('node 2 proposes nothing before, also when it does not know the record yet', () => {
      expect(candidates(2, [behind, alone], two, one, true)).toBeUndefined();
      expect(candidates(2, [behind, alone], two, both, true)).toBeUndefined();
    });
    test('a restart of node 1: both together', () => {
      const restarted = contact(1, [1, 2], { generation: 0, maxVoted: 5, lastOnline: 5, onlineIn: 0 });
      expect(candidates(1, [restarted, behind], two, one, true)).toEqual([1, 2]);
    });
  });
});

describe('an election of one', () => {
  interface Setting {
    grant?: number | undefined;
    contacts?: Contact[];
    answeredAt?: number;
    state?: Partial<DurableState>;
  }

  function election(setting: Setting): Election {
    const { contacts = [contact(1, [1])], answeredAt = -1e9, state } = setting;
    const exclusion = new Exclusion({ peers: [2], ...times, now: answeredAt });
    const promised = { generation: 4, proposer: 1 };
    return new Election(
      { self: 1, configured, incarnation: 7, ...times },
      {
        exclusion,
        contacts: () => contacts,
        quiet: () => true,
        holdings: () => ({ prepared: [], committed: [] }),
        grant: () => setting.grant,
      },
      { promised, accepted: both, chosen: both, lastOnline: 4, ...state },
      0,
    );
  }

  function persisted(effects: readonly ElectionEffect[]): unknown[] {
    return effects.flatMap((effect) => (effect.kind === 'persist' ? [effect.change] : []));
  }

  test('nothing is promised before the grant is there, which is wanted', () => {
    const setting: Setting = {};
    const machine = election(setting);
    expect(machine.tick(10, 0, true)).toEqual([]);
    expect(machine.wanted).toBe(5);
    setting.grant = 4; // of a number that is used up
    expect(machine.tick(60, 0, true)).toEqual([]);
    expect(machine.wanted).toBe(5);
  });

  test('the ballot takes the number of the grant, and goes all the way', () => {
    const setting: Setting = { grant: 8 };
    const machine = election(setting);
    expect(persisted(machine.tick(10, 0, true))).toEqual([{ promised: { generation: 8, proposer: 1 } }]);
    machine.tick(15, 0, false);
    expect(machine.wanted).toBeUndefined();
    const accepted = persisted(machine.persisted(1));
    expect(accepted).toMatchObject([{ accepted: { number: 8, members: [1], donors: [1] } }]);
    const chosen = persisted(machine.persisted(2));
    expect(chosen).toMatchObject([{ chosen: { number: 8, members: [1] } }]);
    machine.persisted(3);
    machine.tick(20, 0, true);
    expect([machine.chosen?.number, machine.wanted]).toEqual([8, undefined]);
  });

  test('not while the other may still hold a lease that this node answered', () => {
    const machine = election({ grant: 5, answeredAt: 0 });
    expect(machine.tick(2000, 0, true)).toEqual([]);
    expect(machine.wanted).toBeUndefined();
    expect(persisted(machine.tick(2400, 0, true))).toHaveLength(1);
  });

  test('nothing is wanted while the other can be reached', () => {
    const contacts = [contact(1, [1, 2]), contact(2, [1, 2])];
    const machine = election({ contacts });
    machine.tick(1000, 0, true);
    expect(machine.wanted).toBeUndefined();
  });

  test('alone, and a grant of another number: no vote, no acceptance', () => {
    const setting: Setting = { grant: 6 };
    const machine = election(setting);
    const ballot = { generation: 5, proposer: 1 };
    const request = { kind: 'vote-request', ballot, members: [1], configured } as const;
    expect(machine.received(1, request, 10)).toEqual([]);
    setting.grant = undefined;
    expect(machine.received(1, request, 20)).toEqual([]);
    // From the other node such a ballot is nothing that this one could help with.
    const foreign = machine.received(2, { ...request, ballot: { generation: 9, proposer: 2 } }, 30);
    expect(foreign).toMatchObject([{ kind: 'send', to: 2, message: { kind: 'vote-refused' } }]);
  });

  test('the grant is gone before the vote is counted: the round fails', () => {
    const setting: Setting = { grant: 5 };
    const machine = election(setting);
    machine.tick(10, 0, true);
    setting.grant = undefined;
    expect(persisted(machine.persisted(1))).toEqual([]);
  });

  test('working alone, it asks for a higher grant when the other is stuck with a promise', () => {
    const alone = contact(1, [1, 2], { generation: 5, maxVoted: 5, lastOnline: 5, onlineIn: 5 });
    const stuck = contact(2, [1, 2], { generation: 0, maxVoted: 7, onlineIn: 0 });
    const promised = { generation: 5, proposer: 1 };
    const state = { promised, accepted: one, chosen: one, lastOnline: 5 };
    const machine = election({ contacts: [alone, stuck], state });
    machine.tick(1000, 0, true);
    expect(machine.wanted).toBeUndefined();
    machine.tick(3100, 0, true);
    machine.tick(3400, 0, true);
    expect(machine.wanted).toBe(8);
    // Nothing is granted: then both together.
    const asked = machine.tick(8000, 0, true).concat(machine.tick(9000, 0, true));
    expect(asked).toContainEqual(
      expect.objectContaining({ to: 2, message: expect.objectContaining({ members: [1, 2] }) }),
    );
  });
});

test('the value of one vote needs the grant of exactly that number', () => {
  const vote = { lastOnline: 4, accepted: both, prepared: ['mtm:2:4:1:1'], committed: [] };
  const proposal = { ballot: { generation: 5, proposer: 1 }, members: [1], configured, chosen: both.number };
  const votes = new Map([[1, vote]]);
  for (const grant of [undefined, 4, 6])
    expect(recordFromVotes({ ...proposal, grant }, votes)).toMatchObject({
      kind: 'refused',
      reason: 'its votes are no majority',
    });
  // Prepared here, and the other may have committed it.
  expect(recordFromVotes({ ...proposal, grant: 5 }, votes)).toMatchObject({
    kind: 'record',
    record: { members: [1], donors: [1], commits: ['mtm:2:4:1:1'] },
  });
});

test('who voted for more than it was online in vouches for nothing: it may have voted for itself alone', () => {
  const machine = new RefereeMachine({
    self: 1,
    other: 2,
    callTimeoutMs: 500,
    retryMs: 100,
    reportEveryMs: 1000,
  });
  const full = { lastOnline: 4, lastOnlineFull: true, wanted: undefined };
  machine.step({ kind: 'ticked', now: 0, situation: { ...full, promised: 5 } });
  expect(machine.step({ kind: 'referee-connected', now: 10 })).not.toContainEqual(
    expect.objectContaining({ kind: 'report-online' }),
  );
  expect(machine.step({ kind: 'ticked', now: 20, situation: { ...full, promised: 4 } })).toContainEqual(
    expect.objectContaining({ kind: 'report-online', generation: 4 }),
  );
});

describe('the lease of a node alone', () => {
  function liveness(members: number[], nodes = configured): Liveness {
    const machine = new Liveness({ self: 1, configured: nodes, ...times, clock: new HybridClock(), now: 0 });
    const generation = { number: 5, members, configured: nodes };
    const standing = { generation, maxVoted: 5, lastOnline: 5, online: true, level: false };
    machine.step({ kind: 'standing-changed', now: 0, standing });
    machine.step({ kind: 'local-health-changed', now: 0, health: { healthy: true } });
    machine.step({ kind: 'ticked', now: 0, wallMs: 0 });
    return machine;
  }

  test('holds without answers, and it is in the majority', () => {
    const machine = liveness([1]);
    for (let now = 100; now < 10_000; now += 100) machine.step({ kind: 'ticked', now, wallMs: now });
    expect([machine.hasLease(9950), machine.inMajority(9950)]).toEqual([true, true]);
    expect(machine.membersReachable(9950)).toBe(true);
  });
  test('ends with the vote for a higher generation, with its PostgreSQL, and with a stall', () => {
    const machine = liveness([1]);
    expect(machine.hasLease(1999)).toBe(true);
    expect(machine.hasLease(2001)).toBe(false);
    machine.step({ kind: 'ticked', now: 2002, wallMs: 2002 });
    expect(machine.hasLease(2003)).toBe(true);
    const health = { healthy: false, status: 'disabled', reason: 'it is full' } as const;
    machine.step({ kind: 'local-health-changed', now: 2004, health });
    expect(machine.hasLease(2005)).toBe(false);
    machine.step({ kind: 'local-health-changed', now: 2006, health: { healthy: true } });
    const voted = { ...machine.standing, maxVoted: 6 };
    machine.step({ kind: 'standing-changed', now: 2007, standing: voted });
    expect(machine.hasLease(2008)).toBe(false);
  });
  test('not in a generation of both, and not where a majority is needed', () => {
    for (const machine of [liveness([1, 2]), liveness([1], [1, 2, 3])])
      expect([machine.hasLease(10), machine.inMajority(10)]).toEqual([false, false]);
  });
});
