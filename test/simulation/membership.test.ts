/** Nodes that come and go under faults: the same checkers, and the chain of chosen records. */
import { afterEach, describe, expect, test, vi } from 'vitest';
import { Claim } from '../../src/core/generation/claim.ts';
import type * as Configurations from '../../src/core/generation/configuration.ts';
import type * as Cliques from '../../src/core/generation/candidates.ts';
import type * as Quorums from '../../src/core/generation/quorum.ts';
import type * as Values from '../../src/core/generation/value.ts';
import { Acceptor } from '../../src/core/generation/acceptor.ts';
import { Proposer } from '../../src/core/generation/proposer.ts';
import { Lease } from '../../src/core/generation/lease.ts';
import { Liveness } from '../../src/core/generation/liveness.ts';
import { freshState, type Ballot, type GenerationRecord } from '../../src/core/generation/record.ts';
import { NodeMachine } from '../../src/core/node/node-machine.ts';
import { optionsWithMembership } from './options.ts';
import { runSeed } from './run.ts';
import kept from './seeds-membership.json' with { type: 'json' };
import { patched } from './surgery.ts';
import type { Sabotage } from './world.ts';

type Rules = Pick<typeof Configurations, 'transitionFault'> & Pick<typeof Cliques, 'candidates'>;
type IsMajority = typeof Quorums.isMajority;
type Evaluate = typeof Values.recordFromVotes;

/** Rules that a mutant replaces. */
interface Broken {
  rules: (real: Rules) => Partial<Rules>;
  majority: ((...given: [...Parameters<IsMajority>, IsMajority]) => boolean) | undefined;
  votes: ((...given: Parameters<Evaluate>) => Parameters<Evaluate>[1]) | undefined;
}
const broken = vi.hoisted((): Broken => ({ rules: () => ({}), majority: undefined, votes: undefined }));

vi.mock('../../src/core/generation/configuration.ts', async (load) => {
  const real = await load<typeof Configurations>();
  const transitionFault: Rules['transitionFault'] = (...given) =>
    (broken.rules(real as Rules & typeof real).transitionFault ?? real.transitionFault)(...given);
  return { ...real, transitionFault };
});
vi.mock('../../src/core/generation/candidates.ts', async (load) => {
  const real = await load<typeof Cliques>();
  const candidates: Rules['candidates'] = (...given) =>
    (broken.rules(real as Rules & typeof real).candidates ?? real.candidates)(...given);
  return { ...real, candidates };
});

vi.mock('../../src/core/generation/quorum.ts', async (load) => {
  const real = await load<typeof Quorums>();
  const isMajority: IsMajority = (nodes, configured) =>
    broken.majority?.(nodes, configured, real.isMajority) ?? real.isMajority(nodes, configured);
  return { ...real, isMajority };
});
vi.mock('../../src/core/generation/value.ts', async (load) => {
  const real = await load<typeof Values>();
  const recordFromVotes: Evaluate = (...given) =>
    real.recordFromVotes(given[0], broken.votes?.(...given) ?? given[1]);
  return { ...real, recordFromVotes };
});

vi.setConfig({ testTimeout: 120_000 });

const firstSeed = Number(process.env['SIM_SEED'] ?? 100_001);
const runs = Number(process.env['SIM_RUNS'] ?? 60);

function fails(seed: number): string | undefined {
  const { violation } = runSeed(optionsWithMembership(seed));
  const again = `npm run sim -- --membership --seed ${seed}`;
  return violation === undefined ? undefined : `seed ${seed}: ${violation.message} (${again})`;
}

test(`nodes come and go: ${runs} seeds from ${firstSeed}`, () => {
  const changes = { added: 0, admitted: 0, dropped: 0 };
  for (let seed = firstSeed; seed < firstSeed + runs; seed += 1) {
    const { violation, cluster } = runSeed(optionsWithMembership(seed));
    const again = `npm run sim -- --membership --seed ${seed}`;
    expect(violation && `seed ${seed}: ${violation.message} (${again})`).toBeUndefined();
    const { counts } = cluster.checker.chain;
    for (const key of ['added', 'admitted', 'dropped'] as const) changes[key] += counts[key];
  }
  expect(changes.admitted).toBeGreaterThan(runs);
  expect(changes.dropped).toBeGreaterThan(runs / 3);
});

const { note: _note, ...keptSeeds } = kept;
test.each(Object.entries(keptSeeds))('once failed: %s', (_why, seeds) => {
  for (const seed of seeds) expect(fails(seed)).toBeUndefined();
});

interface Mutant {
  readonly name: string;
  /** Where to begin: a change of the simulation moves it. */
  readonly from: number;
  readonly sabotage?: Sabotage;
  readonly rules?: (real: Rules) => Partial<Rules>;
  readonly breakIn?: () => () => void;
}

const withoutNode = (configured: readonly number[], node: number | undefined): readonly number[] =>
  configured.length === 1 ? configured : configured.filter((each) => each !== node);

/** It says at once that it claims nothing any more, and keeps the lease that it has. */
function ceasesInWordsOnly(): () => void {
  let asked = false;
  let told = false;
  const mends = [
    patched(Liveness.prototype, 'hasLease', (original) => {
      return function (this: Liveness, ...given) {
        asked = true;
        try {
          return original.apply(this, given);
        } finally {
          asked = false;
        }
      };
    }),
    patched(Claim.prototype, 'of', (original) => {
      return function (this: Claim, ...given) {
        return original.apply(asked ? new Claim() : this, given);
      };
    }),
    patched(Claim.prototype, 'cease', (original) => {
      return function (this: Claim, until) {
        told = true;
        return original.call(this, until);
      };
    }),
    patched(Lease.prototype, 'drop', (original) => {
      return function (this: Lease) {
        if (told) told = false;
        else original.call(this);
      };
    }),
  ].map((breakIn) => breakIn());
  return () => {
    for (const mend of mends) mend();
  };
}

/** It proposes as if nothing were accepted above what it knows to be chosen; what it proposes is based on it. */
function ignoresWhatIsUnsettled(): () => void {
  const told = new Map<string, GenerationRecord | undefined>();
  const key = (ballot: Ballot, voter: number): string => `${ballot.generation} ${ballot.proposer} ${voter}`;
  const mend = patched(Proposer.prototype, 'vote', (original) => {
    return function (this: Proposer, from, message, now) {
      told.set(key(message.ballot, from), message.accepted);
      original.call(this, from, { ...message, accepted: undefined }, now);
    };
  })();
  const highest = Object.getOwnPropertyDescriptor(Acceptor.prototype, 'highest')!;
  Object.defineProperty(Acceptor.prototype, 'highest', {
    ...highest,
    get(this: Acceptor) {
      return this.chosen;
    },
  });
  broken.votes = (proposal, votes) =>
    new Map(
      [...votes].map(([node, vote]) => [node, { ...vote, accepted: told.get(key(proposal.ballot, node)) }]),
    );
  return () => {
    mend();
    Object.defineProperty(Acceptor.prototype, 'highest', highest);
    broken.votes = undefined;
  };
}

const mutants: readonly Mutant[] = [
  {
    name: 'changes the nodes on top of a record that may not be chosen',
    from: 435,
    rules: (real) => ({
      transitionFault: (before, after, facts) =>
        real.transitionFault(before, after, { ...facts, known: true }),
    }),
    breakIn: ignoresWhatIsUnsettled,
  },
  {
    name: 'carries a change on with a majority of the nodes after it only',
    from: 780,
    rules: (real) => ({
      transitionFault: (before, after, { former: _former, ...facts }) =>
        real.transitionFault(before, after, facts),
      candidates: (self, contacts, configuration, chosen, referee) =>
        real.candidates(self, contacts, configuration, chosen, referee),
    }),
  },
  {
    name: 'needs a majority of the nodes after the change only',
    from: 300,
    rules: (real) => ({
      transitionFault: (_before, after, facts) => real.transitionFault(after, after, facts),
    }),
    breakIn: patched(Proposer.prototype, 'tick', (original) => {
      return function (this: Proposer, ...given) {
        const dropped = this.wish?.kind === 'drop' ? this.wish.node : undefined;
        broken.majority = (nodes, configured, real) => real(nodes, withoutNode(configured, dropped));
        original.apply(this, given);
        broken.majority = undefined;
      };
    }),
  },
  {
    name: 'counts nodes that are joining',
    from: 780,
    breakIn: () => {
      broken.majority = (nodes, configured) => 2 * new Set(nodes).size > configured.length;
      return () => (broken.majority = undefined);
    },
  },
  { name: 'takes whoever has the id for its peer', from: 100, sabotage: { takesSinceForGranted: true } },
  { name: 'raises the floor when its generation is over', from: 5070, sabotage: { raisesLate: true } },
  { name: 'is made of a copy and knows no record', from: 288, sabotage: { copiedState: freshState() } },
  { name: 'does not note what its copy holds', from: 3, sabotage: { seedsOnly: 0 } },
  { name: 'has noted what its copy holds too early', from: 3, sabotage: { seedsOnly: 2 } },
  { name: 'gives history that it never had', from: 270, sabotage: { givesWhatItLacks: true } },
  {
    name: 'keeps nothing for who is joining',
    from: 15,
    breakIn: patched(NodeMachine.prototype, 'takeSyncpoint', (original) => {
      return function (this: NodeMachine) {
        return original.call(this, this.configuration.joining.length > 0 ? 'members' : 'configured');
      };
    }),
  },
  { name: 'ceases to claim in words only', from: 17, breakIn: ceasesInWordsOnly },
];

describe('broken nodes are caught', () => {
  const within = Number(process.env['SIM_WITHIN'] ?? 1500);
  let mend: (() => void) | undefined;
  afterEach(() => {
    mend?.();
    mend = undefined;
    broken.rules = () => ({});
    broken.majority = undefined;
  });

  test.each(mutants)('$name', ({ name, from, sabotage = {}, rules, breakIn }) => {
    mend = breakIn?.();
    if (rules !== undefined) broken.rules = rules;
    let caught: number | undefined;
    for (let seed = from; seed < from + within && caught === undefined; seed += 1) {
      const { violation } = runSeed(optionsWithMembership(seed), { sabotage });
      // That it comes to a standstill as well shows less.
      if (violation === undefined || violation.message.includes('(liveness)')) continue;
      caught = seed;
      if (process.env['SIM_TELL']) console.log(`${name}: seed ${seed}: ${violation.message.slice(0, 250)}`);
    }
    expect(caught).toBeDefined();
  });
});
