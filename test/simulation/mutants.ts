/**
 * Nodes that are broken on purpose, one rule each. The simulation must catch every one of them within the
 * stated number of seeds; a mutant that survives shows a checker that sleeps. A mutant is the real machine with
 * something between it and the world, a part of it that answers wrongly, or an adapter that does not keep its
 * promise.
 */
import type { CommitEffect, CommitEvent } from '../../src/core/commit/event.ts';
import { Leftovers } from '../../src/core/commit/leftovers.ts';
import { CommitMachine } from '../../src/core/commit/machine.ts';
import type { CommitOptions } from '../../src/core/commit/machine.ts';
import { Exclusion } from '../../src/core/generation/exclusion.ts';
import { Liveness } from '../../src/core/generation/liveness.ts';
import { Proposer } from '../../src/core/generation/proposer.ts';
import { parseGid } from '../../src/core/identity.ts';
import type { Gid, NodeId, Refusal } from '../../src/core/identity.ts';
import { CatchUp } from '../../src/core/node/catch-up.ts';
import { Machines } from '../../src/core/node/machines.ts';
import type { NodeMachine } from '../../src/core/node/node-machine.ts';
import type { NodeEffect, NodeEvent } from '../../src/core/node/node-event.ts';
import { optionsOfSeed } from './options.ts';
import { realMachine, runSeed } from './run.ts';
import type { RunHooks } from './run.ts';
import { broken, commitMachines, deafTo, overlaid, patched, saying } from './surgery.ts';
import type { Surgery } from './surgery.ts';
import type { MachineMaker, Sabotage } from './world.ts';

export interface Mutant {
  readonly name: string;
  /** Seeds, from the first that `shownAt` knows, within which it must be caught. */
  readonly within: number;
  readonly hooks: RunHooks;
  /** Breaks a part before each run; returns what mends it. */
  readonly breakIn?: () => () => void;
}

const answeredCommit = (gid: Gid): NodeEffect => ({ kind: 'answer', gid, answer: { kind: 'committed' } });
const isOwn = (gid: Gid, self: NodeId): boolean => parseGid(gid)?.node === self;

const earlyAnswer: Surgery = {
  effects: (effects, event) => {
    if (event.kind !== 'message-received' || event.message.kind !== 'vote') return effects;
    if (event.message.refusal !== undefined || effects.length > 0) return effects;
    return [answeredCommit(event.message.gid)];
  },
};

const answerAtDecision: Surgery = {
  effects: (effects, _event, self) => {
    const result: NodeEffect[] = [];
    for (const effect of effects) {
      result.push(effect);
      if (effect.kind !== 'finish' || effect.finish !== 'commit') continue;
      if (isOwn(effect.gid, self)) result.push(answeredCommit(effect.gid));
    }
    return result;
  },
};

const voteBeforePrepare: Surgery = {
  effects: (effects) => {
    const result: NodeEffect[] = [];
    for (const effect of effects) {
      result.push(effect);
      if (effect.kind !== 'end-apply') continue;
      const { gid } = effect;
      const message = { kind: 'vote', gid, refusal: undefined } as const;
      result.push({ kind: 'send', to: parseGid(gid)!.node, message });
    }
    return result;
  },
};

const someRefusal: Refusal = { sqlstate: '40001', message: 'mutant', node: 0, retryable: true };

/** It takes the first confirmed rollback, its own, for the outcome. */
const rolledBackIsAborted: Surgery = {
  effects: (effects, event, self) => {
    if (event.kind !== 'finish-ended' || event.finish !== 'rollback' || !isOwn(event.gid, self))
      return effects;
    if (effects.some((effect) => effect.kind === 'answer')) return effects;
    return [
      ...effects,
      { kind: 'answer', gid: event.gid, answer: { kind: 'aborted', refusal: someRefusal } },
    ];
  },
};

/** It answers "aborted" where it does not know. */
const unknownIsAborted: Surgery = {
  effects: (effects) => {
    return effects.map((effect) => {
      if (effect.kind !== 'answer' || effect.answer.kind !== 'unknown') return effect;
      return { ...effect, answer: { kind: 'aborted', refusal: { ...someRefusal, retryable: false } } };
    });
  },
};

/** After a restart it goes on voting in its former generation, its NOs forgotten, and nobody notices. */
const votesAfterRestart: MachineMaker = (options) => {
  const machine = realMachine(options);
  const { lastOnline, chosen } = options.state;
  if (chosen === undefined || chosen.number !== lastOnline) return machine;
  const members = chosen.members;
  const former = new CommitMachine({ ...options.commit, generation: lastOnline, members, blockingSize: 2 });
  for (const node of members) former.step({ kind: 'member-back', node });
  const concerns = (event: NodeEvent): boolean => {
    const gid = event.kind === 'message-received' && 'gid' in event.message ? event.message.gid : undefined;
    const about = gid ?? ('gid' in event ? event.gid : undefined);
    if (about === undefined || options.prepared.includes(about)) return false;
    return parseGid(about)?.generation === lastOnline;
  };
  const step = (event: NodeEvent): readonly NodeEffect[] => {
    return concerns(event) ? former.step(event as CommitEvent) : machine.step(event);
  };
  return overlaid<NodeMachine>(machine, { step });
};

/** The others take the restarted process for the former one. */
const blindToRestarts: Surgery = {
  event: (event) => (event.kind === 'peer-introduced' ? { ...event, incarnation: 1 } : event),
};

function both(first: MachineMaker, second: Surgery): MachineMaker {
  return (options) => {
    const machine = first(options);
    const step = (event: NodeEvent): readonly NodeEffect[] => {
      const heard = second.event === undefined ? event : second.event(event, options.self);
      return heard === undefined ? [] : machine.step(heard);
    };
    return overlaid<NodeMachine>(machine, { step });
  };
}

/**
 * A commit machine that says "quiet" as soon as it is frozen, so that its vote does not wait for what is on its
 * way, and is frozen only by the record. Until then it goes on: in everything, or only (`deaf`) with what is on
 * its way, so that a YES follows the vote that knew nothing of it.
 */
function hasty(deaf: boolean): (options: CommitOptions) => CommitMachine {
  return (options) => {
    const machine = new CommitMachine(options);
    const held = (): Gid[] => machine.openGids().filter((gid) => machine.holds(gid));
    let frozen = false;
    let record: CommitEvent | undefined;
    const applying = new Set<Gid>();
    const watched = (event: CommitEvent): readonly CommitEffect[] => {
      if (event.kind === 'apply-ended') applying.delete(event.gid);
      const effects = machine.step(event);
      for (const effect of effects) if (effect.kind === 'open-apply') applying.add(effect.gid);
      return effects;
    };
    /** Settled as soon as that is possible. */
    const settling = (): readonly CommitEffect[] => {
      if (record === undefined || applying.size > 0) return [];
      const effects = machine.step({ kind: 'frozen' });
      if (!machine.quiet) return effects;
      const event = record;
      record = undefined;
      return [...effects, ...machine.step(event)];
    };
    const step = (event: CommitEvent): readonly CommitEffect[] => {
      if (event.kind === 'frozen') {
        frozen = true;
        return [];
      }
      if (frozen && deaf && (event.kind === 'message-received' || event.kind === 'member-lost')) return [];
      if (event.kind !== 'settled') return [...watched(event), ...settling()];
      record = event;
      return settling();
    };
    return overlaid(machine, {
      get quiet() {
        return frozen;
      },
      holdings: () => (machine.quiet ? machine.holdings() : { prepared: held(), committed: [] }),
      step,
    });
  };
}

/** A node that fell behind finishes what it holds at once, not at its place in the donor's history. */
function impatientMachine(options: CommitOptions): CommitMachine {
  const machine = new CommitMachine(options);
  const step = (event: CommitEvent): readonly CommitEffect[] => {
    return machine.step(event.kind === 'settled' ? { ...event, complete: true } : event);
  };
  return overlaid(machine, { step });
}

/** Prepared leftovers are committed, wherever their place is. */
const leftoversOutOfPlace = patched(Leftovers.prototype, 'settle', (settle) => {
  return function (this: Leftovers, commits, complete) {
    return settle.call(this, complete ? commits : new Set(this.holdings().prepared), true);
  };
});

/** It hears neither that others have voted higher nor that they are in a higher generation. */
const beliefInLease = patched(Liveness.prototype, 'step', (step) => {
  return function (this: Liveness, event) {
    const { onlineIn } = this;
    if (onlineIn === 0) return step.call(this, event);
    if (event.kind === 'heartbeat-answer-received')
      return step.call(this, { ...event, message: { ...event.message, maxVoted: onlineIn } });
    if (event.kind !== 'heartbeat-received') return step.call(this, event);
    const generation = Math.min(event.message.generation, onlineIn);
    return step.call(this, { ...event, message: { ...event.message, generation } });
  };
});

type VoteArguments = Parameters<Proposer['vote']>;

function votesHeardAs(change: (vote: VoteArguments[1]) => VoteArguments[1]): () => () => void {
  return patched(Proposer.prototype, 'vote', (vote) => {
    return function (this: Proposer, from, message, now) {
      return vote.call(this, from, change(message), now);
    };
  });
}

/** Each gid is judged by itself: that an accepted record is silent about it does not matter. */
const gidByGid = votesHeardAs((vote) => {
  const { accepted, prepared } = vote;
  if (accepted === undefined) return vote;
  const older = prepared.filter((gid) => parseGid(gid)!.generation < accepted.number);
  return {
    ...vote,
    accepted: { ...accepted, commits: [...new Set([...accepted.commits, ...older])].sort() },
  };
});

/** A record that nobody among the voters has executed is not carried on. */
const forgottenRecord = votesHeardAs((vote) => {
  return vote.accepted === undefined ? vote : { ...vote, accepted: { ...vote.accepted, commits: [] } };
});

/**
 * Where to begin, so that the rare ones need not be searched for each time. A change of the simulation moves
 * them; they are still found within the stated number, only later.
 */
const shownAt: Readonly<Record<string, number>> = {
  'waits for a replay that has ended with a lower mark': 208_980,
  'does not wait until its promise is durable': 90,
  'judges each gid by itself': 145,
  'forgets a record that was chosen and not executed': 475,
  'promises while a PREPARE is on its way, and lets it go on': 20,
  'is not frozen by its promise': 35,
  'believes its lease whatever the others have voted for': 140,
  'looks at the lease when a block begins, not when its answers leave': 10,
  'votes to leave out whom it has answered': 170,
  'forgets at its start whom it may have answered': 365,
  'lets a NO count for nothing after a restart': 760,
  'is online before the record is executed': 55,
  'finishes what it holds out of its place': 262,
  'drops the deps': 220,
  'says nothing again after a reconnect': 290,
  'confirms nothing again after a reconnect': 45,
  'takes repeated WAL for new changes': 1018,
};

const mutant = (name: string, within: number, surgery: Surgery): Mutant => ({
  name,
  within,
  hooks: { makeMachine: broken(surgery) },
});
const part = (name: string, within: number, breakIn: () => () => void): Mutant => {
  return { name, within, hooks: {}, breakIn };
};
const adapter = (name: string, within: number, sabotage: Sabotage): Mutant => {
  return { name, within, hooks: { sabotage } };
};

export const mutants: readonly Mutant[] = [
  // Elections and leases.
  adapter('does not wait until its promise is durable', 1500, { persistNotAwaited: true }),
  part('judges each gid by itself', 1500, gidByGid),
  part('forgets a record that was chosen and not executed', 1500, forgottenRecord),
  mutant('promises while a PREPARE is on its way, and lets it go on', 1500, commitMachines(hasty(true))),
  mutant('is not frozen by its promise', 1500, commitMachines(hasty(false))),
  part('believes its lease whatever the others have voted for', 1500, beliefInLease),
  adapter('looks at the lease when a block begins, not when its answers leave', 1500, {
    leaseCheckedBefore: true,
  }),
  part(
    'votes to leave out whom it has answered',
    1000,
    patched(Exclusion.prototype, 'blockedBy', () => () => undefined),
  ),
  mutant('forgets at its start whom it may have answered', 2000, {
    options: (options) => ({ ...options, now: options.now - 10_000 }),
  }),
  {
    name: 'lets a NO count for nothing after a restart',
    within: 1500,
    hooks: { makeMachine: both(votesAfterRestart, blindToRestarts) },
  },
  part(
    'is online before the record is executed',
    300,
    patched(Machines.prototype, 'holds', () => () => true),
  ),
  mutant('answers "aborted" where it does not know', 300, unknownIsAborted),
  // Recovery.
  adapter('says that it has reached a mark when it has seen it', 1000, { reachesBeforeApplied: true }),
  part(
    'waits for a replay that has ended with a lower mark',
    1500,
    patched(CatchUp.prototype, 'reached', (original) => {
      return function (this: CatchUp, generation: number) {
        return this.replay?.target === generation && original.call(this, generation);
      };
    }),
  ),
  mutant('finishes what it holds out of its place', 1500, commitMachines(impatientMachine)),
  part('finishes leftovers out of their place', 1000, leftoversOutOfPlace),
  // Inside one generation.
  mutant(
    'drops the deps',
    300,
    saying((message) => (message.kind === 'transaction-start' ? { ...message, deps: [] } : message)),
  ),
  mutant(
    'blocking set one too small',
    100,
    commitMachines((options) => {
      return new CommitMachine({ ...options, blockingSize: Math.max(1, options.blockingSize - 1) });
    }),
  ),
  mutant('votes before PREPARE has returned', 10, voteBeforePrepare),
  mutant('answers commit before all votes', 10, earlyAnswer),
  mutant('answers commit at the decision', 10, answerAtDecision),
  mutant('takes "rolled back here" for "aborted"', 50, rolledBackIsAborted),
  mutant('does not wait for its peers', 100, {
    options: (options) => ({ ...options, commit: { ...options.commit, waitPeerCommits: false } }),
  }),
  mutant('says nothing again after a reconnect', 100, deafTo('link-up')),
  mutant('confirms nothing again after a reconnect', 1500, deafTo('link-accepted')),
  mutant('takes repeated WAL for new changes', 1500, deafTo('capture-restarted')),
  mutant(
    'never tells what is finished everywhere',
    10,
    saying((message) => (message.kind === 'finished-everywhere' ? undefined : message)),
  ),
  mutant(
    'repeats data without offsets',
    100,
    saying((message) => {
      if (message.kind !== 'transaction-data') return message;
      return { ...message, offset: Math.max(0, message.offset - 1) };
    }),
  ),
];

/** The first seed that shows that it is broken; undefined when it survives. */
export function caughtAt({ name, hooks, breakIn, within }: Mutant): number | undefined {
  const mend = breakIn?.();
  const from = shownAt[name] ?? 1;
  try {
    for (let seed = from; seed < from + within; seed += 1) {
      if (runSeed(optionsOfSeed(seed), hooks).violation !== undefined) return seed;
    }
    return undefined;
  } finally {
    mend?.();
  }
}
