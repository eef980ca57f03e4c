import { describe, expect, test } from 'vitest';
import type { Contact } from '../../../../src/core/generation/liveness-event.ts';
import type { GenerationRecord } from '../../../../src/core/generation/record.ts';
import { CatchUp } from '../../../../src/core/node/catch-up.ts';
import type { NodeEffect } from '../../../../src/core/node/node-event.ts';

const record: GenerationRecord = {
  number: 4,
  proposer: 1,
  members: [1, 2],
  configured: [1, 2, 3],
  joining: [],
  added: [],
  donors: [1, 2],
  commits: [],
};

function contact(node: number, onlineIn: number): Contact {
  const usual = { healthy: true, connected: [], generation: 4, maxVoted: 4, lastOnline: 4, level: false };
  return { node, onlineIn, ...usual };
}

function catchUp(): { catchUp: CatchUp; effects: NodeEffect[] } {
  const effects: NodeEffect[] = [];
  return { catchUp: new CatchUp(3, 500, (effect) => void effects.push(effect)), effects };
}

describe('the donor', () => {
  test('is a node that is online in the generation of the record, not merely a member', () => {
    const { catchUp: machine } = catchUp();
    expect(machine.nextDonor(record, [contact(3, 4), contact(1, 0), contact(2, 3)], 0)).toBeUndefined();
    expect(machine.nextDonor(record, [contact(1, 0), contact(2, 4)], 0)).toBe(2);
  });
  test('after a failure the next in order, after a pause', () => {
    const { catchUp: machine } = catchUp();
    const contacts = [contact(1, 4), contact(2, 4)];
    machine.begin(1, undefined);
    expect(machine.nextDonor(record, contacts, 0)).toBeUndefined();
    machine.failed('gone', 1000);
    expect(machine.failure).toBe('gone');
    expect(machine.nextDonor(record, contacts, 1499)).toBeUndefined();
    expect(machine.nextDonor(record, contacts, 1500)).toBe(2);
    machine.begin(2, undefined);
    machine.failed('gone', 2000);
    expect(machine.nextDonor(record, contacts, 2500)).toBe(1);
  });
  test('is the one that the copy is of, until that is noted; not another node with its id', () => {
    const source = { id: 2, since: 0 };
    const machine = new CatchUp(3, 500, () => undefined, source);
    const contacts = [contact(1, 4), contact(2, 4)];
    expect(machine.nextDonor(record, contacts, 0)).toBe(2);
    const again = { id: 2, host: 'b', port: 1, conninfo: '', since: 3 };
    expect(machine.nextDonor({ ...record, added: [again] }, contacts, 0)).toBeUndefined();
    expect(machine.reseed).toMatch(/^node 2, of whose server its own is a copy, has left the cluster$/);
    machine.seeded();
    expect(machine.nextDonor({ ...record, added: [again] }, contacts, 0)).toBe(1);
  });
  test('that lacks the history is asked again only when no other is there, and seldom', () => {
    const { catchUp: machine } = catchUp();
    const contacts = [contact(1, 4), contact(2, 4)];
    machine.begin(1, undefined);
    machine.failed('not kept', 0, true);
    expect(machine.reseed).toBe('not kept');
    expect(machine.nextDonor(record, contacts, 500)).toBe(2);
    machine.begin(2, undefined);
    machine.failed('it is silent', 1000);
    expect(machine.reseed).toBe('not kept');
    expect(machine.nextDonor(record, contacts, 1500)).toBe(2);
    machine.begin(2, undefined);
    machine.progressed(5_000_000);
    expect(machine.reseed, 'this one may help').toBeUndefined();
    machine.failed('not kept either', 2000, true);
    expect(machine.nextDonor(record, contacts, 11_999)).toBeUndefined();
    expect(machine.nextDonor(record, contacts, 12_000)).toBe(1);
    machine.begin(1, 4);
    expect(machine.reseed).toBe('not kept either');
    expect(machine.reached(4)).toBe(true);
    expect(machine.reseed).toBeUndefined();
  });
});

describe('the replay', () => {
  test('is told where it ends when its node is voted in', () => {
    const { catchUp: machine, effects } = catchUp();
    machine.begin(1, undefined);
    machine.adjust(record, false);
    machine.adjust({ ...record, number: 5, members: [1, 2, 3] }, true);
    machine.adjust({ ...record, number: 5, members: [1, 2, 3] }, true);
    expect(effects).toEqual([
      { kind: 'recover', donor: 1, generation: undefined },
      { kind: 'recovery-follow', generation: 5 },
    ]);
    expect(machine.reached(5)).toBe(true);
    expect(machine.replay).toBeUndefined();
    expect(machine.reached(5)).toBe(false);
  });
  test('that ends while it is told of a higher mark does not count, and another one begins', () => {
    const { catchUp: machine } = catchUp();
    machine.begin(1, 4);
    machine.adjust({ ...record, number: 5, members: [1, 2, 3] }, true);
    expect(machine.reached(4)).toBe(false);
    expect(machine.nextDonor({ ...record, number: 5 }, [contact(1, 5)], 0)).toBe(1);
  });
  test('is given up when its donor is left out itself', () => {
    const { catchUp: machine, effects } = catchUp();
    machine.begin(1, undefined);
    machine.adjust({ ...record, members: [2, 3] }, false);
    expect(effects.at(-1)).toEqual({ kind: 'stop-recovery' });
    expect(machine.replay).toBeUndefined();
  });
  test('a failure that comes after its end is nobody’s', () => {
    const { catchUp: machine } = catchUp();
    machine.begin(1, 4);
    machine.stop();
    machine.failed('late', 10);
    expect(machine.failure).toBeUndefined();
  });
});

describe('level', () => {
  test('when little is left to replay', () => {
    const { catchUp: machine } = catchUp();
    expect(machine.level(false)).toBe(false);
    machine.begin(1, undefined);
    machine.progressed(1_048_577);
    expect(machine.level(false)).toBe(false);
    machine.progressed(1_048_576);
    expect(machine.level(false)).toBe(true);
  });
  test('a member counts as level until its replay fails, and again when the next one is near', () => {
    const { catchUp: machine } = catchUp();
    expect(machine.level(true)).toBe(true);
    machine.begin(1, 4);
    machine.failed('gone', 0);
    expect(machine.level(true)).toBe(false);
    machine.begin(2, 4);
    machine.progressed(5_000_000);
    expect(machine.level(true)).toBe(false);
    machine.progressed(100);
    expect(machine.level(true)).toBe(true);
  });
});
