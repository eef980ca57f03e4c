/**
 * Processes are killed, paused and restarted under bank and list-append load on all nodes (loopback).
 * MTM_TEST_FAULT_ROUNDS=15: so many random rounds instead of the short version; MTM_TEST_SEED: which.
 */
import { afterAll, afterEach, beforeAll, describe, test } from 'vitest';
import { Prng } from '../../../src/lib/prng.ts';
import { createWorkload, faultRound, testSeed, wishedRounds, type Workload } from './fault-rounds.ts';
import {
  faultText,
  mend,
  processFaults,
  randomFaults,
  shortFault,
  type Fault,
  type FaultKind,
} from './faults.ts';
import { loopbackSite, type Site } from './site.ts';

const numbers = [1, 2, 3];
const random = new Prng(testSeed());
const kinds: readonly FaultKind[] = [...processFaults, 'kill all'];

/** One of the two that matter most, then one more of any kind. All at once: outage.test.ts. */
function shortVersion(): Fault[] {
  const deaths: readonly FaultKind[] = ['kill gateway', 'kill server'];
  const others = processFaults.filter((kind) => !deaths.includes(kind));
  return [random.pick(deaths), random.pick(others)].map((kind) => shortFault(random, kind, numbers));
}

const faults =
  wishedRounds === undefined ? shortVersion() : randomFaults(random, kinds, numbers, wishedRounds);

let site: Site;
let workload: Workload;

beforeAll(async () => {
  site = await loopbackSite();
  workload = await createWorkload(site, random);
});

/** A round that failed in the middle must not take the others along. */
afterEach(async () => {
  await mend(site, numbers);
});

afterAll(async () => {
  await site?.stop();
});

describe('under load', () => {
  test.each(faults.map((fault, index) => ({ name: `round ${index + 1}: ${faultText(fault)}`, fault })))(
    '$name',
    async ({ fault }) => {
      await faultRound(site, workload, fault);
    },
  );
});
