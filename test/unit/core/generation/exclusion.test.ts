import { describe, expect, test } from 'vitest';
import { Exclusion } from '../../../../src/core/generation/exclusion.ts';

const options = { peers: [2, 3], sendTimeoutMs: 200, recvTimeoutMs: 2000, now: 1000 };
/** 5 % for clocks that drift, and a send timeout. */
const termMs = 2300;

describe('a node must not be left out', () => {
  test('for a term after the start: a former process may have answered it', () => {
    const exclusion = new Exclusion(options);
    expect(exclusion.termMs).toBe(termMs);
    expect(exclusion.blockedBy([2], 1000)).toEqual({ node: 2, forMs: termMs });
    expect(exclusion.blockedBy([2], 1000 + termMs - 1)).toEqual({ node: 2, forMs: 1 });
    expect(exclusion.blockedBy([2, 3], 1000 + termMs)).toBeUndefined();
  });
  test('nor who becomes known later: a former process may have known and answered it', () => {
    const exclusion = new Exclusion(options);
    exclusion.replacePeers([2, 3, 4]);
    expect(exclusion.blockedBy([4], 1000 + termMs - 1)).toEqual({ node: 4, forMs: 1 });
    expect(exclusion.blockedBy([4], 1000 + termMs)).toBeUndefined();
    exclusion.replacePeers([2, 3]);
    expect(exclusion.blockedBy([4], 1001)).toBeUndefined();
  });
  test('for a term after a claim of it was answered', () => {
    const exclusion = new Exclusion(options);
    exclusion.claimAnswered(3, 77, 9000);
    expect(exclusion.blockedBy([2], 9001)).toBeUndefined();
    expect(exclusion.blockedBy([2, 3], 9000 + termMs - 1)).toEqual({ node: 3, forMs: 1 });
    expect(exclusion.blockedBy([3], 9000 + termMs)).toBeUndefined();
  });
  test('the one that takes longest is named', () => {
    const exclusion = new Exclusion(options);
    exclusion.claimAnswered(2, 1, 9000);
    exclusion.claimAnswered(3, 1, 8000);
    expect(exclusion.blockedBy([3, 2], 9000)?.node).toBe(2);
  });
});

describe('it may be left out at once', () => {
  test('when it has ceased to claim', () => {
    const exclusion = new Exclusion(options);
    exclusion.claimAnswered(3, 77, 9000);
    exclusion.claimEnded(3, 78);
    expect(exclusion.blockedBy([3], 9000)).toBeUndefined();
  });
  test('but not when that was said before the claim that was answered', () => {
    const exclusion = new Exclusion(options);
    exclusion.claimAnswered(3, 77, 9000);
    exclusion.claimEnded(3, 77);
    exclusion.claimEnded(3, 50);
    expect(exclusion.blockedBy([3], 9000)?.node).toBe(3);
  });
  test('nor when an older claim is answered again', () => {
    const exclusion = new Exclusion(options);
    exclusion.claimAnswered(3, 77, 9000);
    exclusion.claimAnswered(3, 60, 9001);
    exclusion.claimEnded(3, 70);
    expect(exclusion.blockedBy([3], 9001)?.node).toBe(3);
  });
  test('when its process has ended; the times of the next one are its own', () => {
    const exclusion = new Exclusion(options);
    exclusion.claimAnswered(3, 77, 9000);
    exclusion.processEnded(3);
    expect(exclusion.blockedBy([3], 9000)).toBeUndefined();
    exclusion.claimAnswered(3, 5, 9100);
    exclusion.claimEnded(3, 6);
    expect(exclusion.blockedBy([3], 9100)).toBeUndefined();
  });
});

describe('answers are withheld', () => {
  test('for a term and a half, and not again and again', () => {
    const exclusion = new Exclusion(options);
    exclusion.withhold(3, 9000);
    exclusion.withhold(3, 10_000);
    expect(exclusion.withholds(3, 9000 + 1.5 * termMs - 1)).toBe(true);
    expect(exclusion.withholds(3, 9000 + 1.5 * termMs)).toBe(false);
    expect(exclusion.withholds(2, 9000)).toBe(false);
  });
  test('until it is a member again or its process has ended', () => {
    const exclusion = new Exclusion(options);
    exclusion.withhold(2, 9000);
    exclusion.withhold(3, 9000);
    exclusion.admit([1, 2]);
    exclusion.processEnded(3);
    expect([2, 3].map((node) => exclusion.withholds(node, 9001))).toEqual([false, false]);
  });
});
