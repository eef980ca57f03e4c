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
import { broken, commitMachines, overlaid, patched, saying, type Surgery } from './surgery.ts';

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

/** Prepared everywhere else is taken for decided. */
const withoutNotes = stepping((machine) => {
  const told = (effects: readonly CommitEffect[]): CommitEffect[] =>
    effects.flatMap((effect) => {
      if (effect.kind !== 'send' || effect.message.kind !== 'note-request') return [effect];
      const { gid } = effect.message;
      return told(
        machine.step({ kind: 'message-received', from: effect.to, message: { kind: 'noted', gid } }),
      );
    });
  return (_event, effects) => told(effects);
});

const committedAtOnce: Surgery = {
  effects: (effects, event): readonly NodeEffect[] => {
    if (event.kind !== 'held-open') return effects;
    return [...effects, { kind: 'finish-open', gid: event.gid, finish: 'commit' }];
  },
};

/** What is open at its origin is told in votes as if it were prepared there. */
const originHolds = commitMachines((options) => {
  const machine = new CommitMachine(options);
  const isOpenHere = (gid: Gid): boolean => parseGid(gid)?.node === options.self && machine.holds(gid);
  return overlaid(machine, {
    holdings: () => {
      const held = machine.holdings();
      const open = machine.openGids().filter((gid) => isOpenHere(gid) && !held.committed.includes(gid));
      return { ...held, prepared: [...new Set([...held.prepared, ...open])] };
    },
  });
});

/** It goes on noting after its vote. */
const notesLate = stepping((machine, { self }) => {
  let frozen = false;
  return (event, effects) => {
    if (event.kind === 'frozen') frozen = true;
    if (!frozen || event.kind !== 'message-received' || event.message.kind !== 'note-request') return effects;
    const { gid } = event.message;
    if (parseGid(gid)?.node === self || !machine.holds(gid)) return effects;
    return [...effects, { kind: 'send', to: event.from, message: { kind: 'noted', gid } }];
  };
});

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
  surgery('decides without notes', 300, withoutNotes),
  surgery('commits at its origin before the decision', 20, committedAtOnce),
  surgery('counts the origin as a holder', 50, originHolds),
  {
    name: 'is complete although it lacks what is decided',
    within: 100,
    hooks: {},
    breakIn: patched(Machines.prototype, 'holds', () => () => true),
  },
  { name: 'says that it has noted before it is durable', within: 600, hooks: { sabotage: { noteNotAwaited: true } } },
  surgery(
    'says nothing of its notes when it votes',
    300,
    saying((message) => (message.kind === 'election-vote' ? { ...message, noted: [] } : message)),
  ),
  surgery('notes after its vote', 600, notesLate),
  surgery('tells the others before its own commit has returned', 600, toldEarly),
  {
    name: 'takes a commit that failed for one',
    within: 50,
    hooks: { sabotage: { lostCommitCounts: true } },
  },
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
