/** Both gateways' contacts with one referee, and what a test asks of any kind of it. */
import { expect } from 'vitest';
import { parseRefereeAddress } from '../../../src/config/referee-address.ts';
import type { RefereeAddress } from '../../../src/config/referee-address.ts';
import { afterReport, judgeGrant } from '../../../src/core/generation/referee-record.ts';
import type { RefereeRecord } from '../../../src/core/generation/referee-record.ts';
import type { RefereeAnswer } from '../../../src/core/generation/referee.ts';
import { RefereeContact } from '../../../src/io/referee/referee-contact.ts';
import type { Prng } from '../../../src/lib/prng.ts';

const clusterSecret = 'a secret of the cluster';
let clusters = 0;

export function addressOf(text: string): RefereeAddress {
  const address = parseRefereeAddress(text);
  if (typeof address === 'string') throw new Error(address);
  return address;
}

/** A name that no other test uses at the same referee. */
export function freshCluster(): string {
  return `test-${process.pid}-${++clusters}`;
}

/** One gateway's contact; `told` is what it heard of it. */
export class Party {
  readonly contact: RefereeContact;
  readonly told: string[] = [];
  #token = 0;
  readonly #waiting = new Map<number, (answer: RefereeAnswer) => void>();

  constructor(text: string, self: number, clusterName: string, timeoutMs = 2000) {
    this.contact = new RefereeContact({
      address: addressOf(text),
      cluster: { clusterName, clusterSecret },
      self,
      other: 3 - self,
      timeoutMs,
      onConnected: () => void this.told.push('connected'),
      onLost: (reason) => void this.told.push(reason),
      onAnswer: (token, answer) => this.#waiting.get(token)?.(answer),
    });
  }

  #answer(send: (token: number) => void): Promise<RefereeAnswer> {
    const token = ++this.#token;
    return new Promise((resolve) => {
      this.#waiting.set(token, resolve);
      send(token);
    });
  }

  ask(generation: number, since: number): Promise<RefereeAnswer> {
    return this.#answer((token) =>
      this.contact.carryOut({ kind: 'request-grant', token, generation, since }),
    );
  }

  report(generation: number, revision = 0): Promise<RefereeAnswer> {
    return this.#answer((token) =>
      this.contact.carryOut({ kind: 'report-online', token, generation, revision }),
    );
  }
}

/** Two parties in contact. */
export async function pairAt(text: string, clusterName = freshCluster()): Promise<[Party, Party]> {
  const parties: [Party, Party] = [new Party(text, 1, clusterName), new Party(text, 2, clusterName)];
  for (const party of parties) {
    await party.contact.start();
    expect(party.told).toEqual(['connected']);
  }
  return parties;
}

/** The referee answers as the rules say, call by call. */
export async function sameAsRules(parties: readonly Party[], random: Prng, calls: number): Promise<void> {
  const pair = { low: 1, high: 2 };
  let record: RefereeRecord | undefined;
  for (let call = 0; call < calls; call++) {
    const node = 1 + random.below(2);
    const party = parties[node - 1]!;
    const generation = 1 + random.below(4) + (record === undefined ? 0 : record.onlineLow);
    if (random.chance(0.5)) {
      const since = random.chance(0.5) ? 0 : random.below(generation + 1);
      const expected = judgeGrant(record, { node, generation, since });
      expect(await party.ask(generation, since)).toEqual(expected);
      if (expected.kind === 'granted') record = expected.record;
    } else {
      const revision = random.chance(0.5) ? (record?.revision ?? 0) : random.below(3);
      record = afterReport(record, pair, { node, generation, revision });
      expect(await party.report(generation, revision)).toEqual({ kind: 'reported', record });
    }
  }
}

/** Both ask at once, again and again: one of them wins each time. */
export async function oneWinner(parties: readonly [Party, Party], rounds: number): Promise<void> {
  for (let round = 1; round <= rounds; round++) {
    for (const party of parties) await party.report(2 * round);
    const answers = await Promise.all(parties.map((party) => party.ask(2 * round + 1, 2 * round)));
    // A race may be told as a failure; then it is lost all the same.
    expect(answers.filter((answer) => answer.kind === 'granted')).toHaveLength(1);
  }
}
