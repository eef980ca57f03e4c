/**
 * Transactions whose origin commits last, in the load of all nodes, with the same faults and sessions that die
 * at any moment: the same checkers, and what is broken is caught.
 */
import { expect, test, vi } from 'vitest';
import type { CommitEffect, CommitEvent } from '../../src/core/commit/event.ts';
import { CommitMachine } from '../../src/core/commit/machine.ts';
import type { CommitOptions } from '../../src/core/commit/machine.ts';
import { parseGid } from '../../src/core/identity.ts';
import type { Gid } from '../../src/core/identity.ts';
import { Machines } from '../../src/core/node/machines.ts';
import type { NodeEffect } from '../../src/core/node/node-event.ts';
import { optionsWithOpen } from './options.ts';
import { runSeed, type RunHooks } from './run.ts';
import { broken, commitMachines, overlaid, patched, type Surgery } from './surgery.ts';

vi.setConfig({ testTimeout: 600_000 });

const firstSeed = Number(process.env['SIM_SEED'] ?? 100_001);
const runs = Number(process.env['SIM_RUNS'] ?? 60);

test(`origins that commit last: ${runs} seeds from ${firstSeed}`, () => {
  let committed = 0;
  for (let seed = firstSeed; seed < firstSeed + runs; seed += 1) {
    const { violation, cluster } = runSeed(optionsWithOpen(seed));
    const again = `npm run sim -- --open --seed ${seed}`;
    expect(violation && `seed ${seed}: ${violation.message} (${again})`).toBeUndefined();
    committed += cluster.checker.counts.committed;
  }
  expect(committed).toBeGreaterThan(runs);
});

/** Every machine of a generation with something done to each of its steps. */
function stepping(
  make: (
    machine: CommitMachine,
    options: CommitOptions,
  ) => (event: CommitEvent, effects: readonly CommitEffect[]) => readonly CommitEffect[],
): Surgery {
  return commitMachines((options) => {
    const machine = new CommitMachine(options);
    const change = make(machine, options);
    return overlaid(machine, { step: (event: CommitEvent) => change(event, machine.step(event)) });
  });
}

const committedAtOnce: Surgery = {
  effects: (effects, event): readonly NodeEffect[] => {
    if (event.kind !== 'held-open') return effects;
    return [...effects, { kind: 'finish-open', gid: event.gid, finish: 'commit' }];
  },
};

/** What was open at its origin is told in votes as if it were prepared there. */
const originHolds = commitMachines((options) => {
  const machine = new CommitMachine(options);
  return overlaid(machine, {
    holdings: () => {
      const held = machine.holdings();
      const own = machine.openGids().filter((gid) => parseGid(gid)?.node === options.self);
      const open = own.filter((gid) => !held.committed.includes(gid));
      return { ...held, prepared: [...new Set([...held.prepared, ...open])] };
    },
  });
});

/** It votes while its COMMIT is on its way, and says that it has not got the transaction. */
const hasty = commitMachines((options) => {
  const machine = new CommitMachine(options);
  let committing: Gid | undefined;
  let settling: CommitEvent | undefined;
  const step = (event: CommitEvent): readonly CommitEffect[] => {
    if (event.kind === 'settled' && !machine.quiet) {
      settling = event;
      return [];
    }
    let effects = machine.step(event);
    for (const effect of effects)
      if (effect.kind === 'finish-open' && effect.finish === 'commit') committing = effect.gid;
    if (settling !== undefined && machine.quiet) {
      effects = [...effects, ...machine.step(settling)];
      settling = undefined;
    }
    return effects;
  };
  const only = (): boolean => machine.frozen && committing !== undefined && machine.holds(committing);
  return overlaid(machine, {
    step,
    get quiet() {
      return machine.quiet || only();
    },
    holdings: () => (machine.quiet ? machine.holdings() : { prepared: [], committed: [] }),
  });
});

/** What was held open is no dep of what comes after it. */
const withoutDeps = (): Surgery => {
  const open = new Set<Gid>();
  return {
    event: (event) => {
      if (event.kind === 'held-open') open.add(event.gid);
      return event;
    },
    effects: (effects) =>
      effects.map((effect): NodeEffect => {
        if (effect.kind !== 'send' || effect.message.kind !== 'transaction-start') return effect;
        const deps = effect.message.deps.filter((dep) => !open.has(dep));
        return { ...effect, message: { ...effect.message, deps } };
      }),
  };
};

/** The others commit as soon as it is decided, whether its origin can or not. */
const toldEarly = stepping((_machine, { members, self }) => (_event, effects) => {
  return effects.flatMap((effect): CommitEffect[] => {
    if (effect.kind !== 'finish-open' || effect.finish !== 'commit') return [effect];
    const message = { kind: 'outcome', gid: effect.gid, outcome: 'commit' } as const;
    const others = members.filter((member) => member !== self);
    return [effect, ...others.map((to): CommitEffect => ({ kind: 'send', to, message }))];
  });
});

/** Where to begin: the rare ones need not be searched for each time. */
interface Mutant {
  readonly name: string;
  readonly from?: number;
  readonly within: number;
  readonly hooks: RunHooks;
  readonly breakIn?: () => () => void;
}

const surgery = (name: string, within: number, how: Surgery, from = 1): Mutant => ({
  name,
  within,
  from,
  hooks: { makeMachine: broken(how) },
});

const mutants: readonly Mutant[] = [
  surgery('commits at its origin before the others are prepared', 20, committedAtOnce),
  surgery('counts the origin as a holder', 50, originHolds),
  surgery('votes while its COMMIT is on its way', 600, hasty),
  {
    name: 'is complete although it lacks what is decided',
    within: 800,
    hooks: {},
    breakIn: patched(Machines.prototype, 'holds', () => () => true),
  },
  surgery('tells the others before its own commit has returned', 600, toldEarly),
  { name: 'takes a commit that failed for one', within: 50, hooks: { sabotage: { lostCommitCounts: true } } },
  surgery('does not depend on what was committed last', 100, withoutDeps()),
  surgery(
    'blocking set one too small',
    200,
    commitMachines(
      (options) => new CommitMachine({ ...options, blockingSize: Math.max(1, options.blockingSize - 1) }),
    ),
  ),
];

test.each(mutants)('caught: $name', ({ from = 1, within, hooks, breakIn }) => {
  const mend = breakIn?.();
  try {
    for (let seed = from; seed < from + within; seed += 1) {
      const { violation } = runSeed(optionsWithOpen(seed), hooks);
      if (violation === undefined) continue;
      if (process.env['SIM_SHOW'] !== undefined) console.log(seed, violation.message);
      return;
    }
  } finally {
    mend?.();
  }
  expect.unreachable(`it survives ${within} seeds`);
});
