/**
 * Machines that are broken on purpose, one rule each. The simulation must catch every one of them within the
 * stated number of seeds; a mutant that survives shows a checker that sleeps.
 */
import type { CommitEffect, CommitEvent } from '../../src/core/commit/event.ts';
import type { CommitOptions } from '../../src/core/commit/machine.ts';
import { parseGid } from '../../src/core/identity.ts';
import type { Gid, NodeId } from '../../src/core/identity.ts';
import type { PeerMessage } from '../../src/core/peer/message.ts';
import { realMachine } from './run.ts';
import type { Machine, MachineMaker } from './world.ts';

export interface Mutant {
  readonly name: string;
  /** Seeds, from 1, within which it must be caught. */
  /** The first seed; 1 when absent. */
  readonly from?: number;
  readonly within: number;
  readonly make: MachineMaker;
}

type Send = Extract<CommitEffect, { kind: 'send' }>;

interface Surgery {
  readonly options?: (options: CommitOptions) => CommitOptions;
  /** What the machine is told instead; undefined hides the event. */
  readonly event?: (event: CommitEvent, self: NodeId) => CommitEvent | undefined;
  /** What is executed instead. */
  readonly effects?: (
    effects: readonly CommitEffect[],
    event: CommitEvent,
    self: NodeId,
  ) => readonly CommitEffect[];
}

function broken({ options: change, event: hear, effects: order }: Surgery): MachineMaker {
  return (options) => {
    const machine: Machine = realMachine(change?.(options) ?? options);
    return {
      get doubtful() {
        return machine.doubtful;
      },
      get openTransactions() {
        return machine.openTransactions;
      },
      step(event) {
        const heard = hear === undefined ? event : hear(event, options.self);
        const effects = heard === undefined ? [] : machine.step(heard);
        return order?.(effects, event, options.self) ?? effects;
      },
    };
  };
}

/** Every message that it sends passes through `change`; undefined drops it. */
function saying(change: (message: PeerMessage) => PeerMessage | undefined): Surgery {
  const effects = (all: readonly CommitEffect[]): CommitEffect[] => {
    const kept: CommitEffect[] = [];
    for (const effect of all) {
      if (effect.kind !== 'send') kept.push(effect);
      else {
        const message = change(effect.message);
        if (message !== undefined) kept.push({ ...effect, message });
      }
    }
    return kept;
  };
  return { effects };
}

/** It is told nothing of these kinds. */
function deafTo(...kinds: CommitEvent['kind'][]): Surgery {
  return { event: (event) => (kinds.includes(event.kind) ? undefined : event) };
}

const sentVote = (gid: Gid): Send => {
  return { kind: 'send', to: parseGid(gid)!.node, message: { kind: 'vote', gid, refusal: undefined } };
};

const answeredCommit = (gid: Gid): CommitEffect => ({ kind: 'answer', gid, answer: { kind: 'committed' } });

const earlyAnswer: Surgery = {
  effects: (effects, event) => {
    if (event.kind !== 'message-received' || event.message.kind !== 'vote') return effects;
    if (event.message.refusal !== undefined || effects.length > 0) return effects;
    return [answeredCommit(event.message.gid)];
  },
};

const answerAtDecision: Surgery = {
  effects: (effects, _event, self) => {
    const result: CommitEffect[] = [];
    for (const effect of effects) {
      result.push(effect);
      if (effect.kind !== 'finish' || effect.finish !== 'commit') continue;
      if (parseGid(effect.gid)?.node === self) result.push(answeredCommit(effect.gid));
    }
    return result;
  },
};

const voteBeforePrepare: Surgery = {
  effects: (effects) => {
    const result: CommitEffect[] = [];
    for (const effect of effects) {
      result.push(effect);
      if (effect.kind === 'end-apply') result.push(sentVote(effect.gid));
    }
    return result;
  },
};

/** It takes the first confirmed rollback, its own, for the outcome. */
const rolledBackIsAborted: Surgery = {
  effects: (effects, event, self) => {
    if (event.kind !== 'finish-ended' || event.finish !== 'rollback' || parseGid(event.gid)?.node !== self)
      return effects;
    if (effects.some((effect) => effect.kind === 'answer')) return effects;
    const refusal = { sqlstate: '40001', message: 'mutant', node: 0, retryable: true };
    return [...effects, { kind: 'answer', gid: event.gid, answer: { kind: 'aborted', refusal } }];
  },
};

/** A restarted member looks like one whose link broke: it gets again what it may have refused. */
const resendToRestarted: Surgery = {
  event: (event) => (event.kind === 'link-up' ? { ...event, incarnation: 1 } : event),
};

/** It confirms rollbacks of what it has not seen without remembering that it did. */
function forgettingPromises(options: CommitOptions): Machine {
  const seen = new Set<Gid>();
  const hear = (event: CommitEvent): CommitEvent | undefined => {
    if (event.kind === 'recovered') for (const gid of [...event.prepared, ...event.committed]) seen.add(gid);
    if (event.kind !== 'message-received') return event;
    const { message } = event;
    if (message.kind === 'transaction-start') seen.add(message.gid);
    return message.kind === 'rollback-request' && !seen.has(message.gid) ? undefined : event;
  };
  const order = (effects: readonly CommitEffect[], event: CommitEvent): readonly CommitEffect[] => {
    if (event.kind !== 'message-received' || event.message.kind !== 'rollback-request') return effects;
    const { gid } = event.message;
    if (seen.has(gid)) return effects;
    return [{ kind: 'send', to: event.from, message: { kind: 'rolled-back', gid } }];
  };
  return broken({ event: hear, effects: order })(options);
}

/** Decides by itself what it finds prepared after a restart. */
const guessAfterRestart: Surgery = {
  effects: (effects, event, self) => {
    if (event.kind !== 'recovered') return effects;
    const own = event.prepared.filter((gid) => parseGid(gid)?.node === self);
    return [...effects, ...own.map((gid): CommitEffect => ({ kind: 'finish', gid, finish: 'rollback' }))];
  },
};

function neverDoubting(options: CommitOptions): Machine {
  const machine = realMachine(options);
  return {
    doubtful: 0,
    get openTransactions() {
      return machine.openTransactions;
    },
    step: (event) => machine.step(event),
  };
}

/** Lost is taken for silenced: it answers while the other may still serve. */
function silencingAtOnce(options: CommitOptions): Machine {
  const machine = realMachine(options);
  return {
    get doubtful() {
      return machine.doubtful;
    },
    get openTransactions() {
      return machine.openTransactions;
    },
    step: (event) => {
      if (event.kind !== 'member-lost') return machine.step(event);
      return [...machine.step(event), ...machine.step({ kind: 'member-silenced', node: event.node })];
    },
  };
}

const mutant = (name: string, within: number, surgery: Surgery): Mutant => ({
  name,
  within,
  make: broken(surgery),
});

export const mutants: readonly Mutant[] = [
  mutant(
    'drops the deps',
    200,
    saying((message) => (message.kind === 'transaction-start' ? { ...message, deps: [] } : message)),
  ),
  mutant('blocking set one too small', 50, {
    options: (options) => ({ ...options, blockingSize: Math.max(1, options.blockingSize - 1) }),
  }),
  mutant('votes before PREPARE has returned', 10, voteBeforePrepare),
  mutant('answers commit before all votes', 10, earlyAnswer),
  mutant('answers commit at the decision', 10, answerAtDecision),
  mutant('takes "rolled back here" for "aborted"', 50, rolledBackIsAborted),
  mutant('sends again to a restarted member', 300, resendToRestarted),
  { name: 'forgets whose rollback it confirmed', within: 300, make: forgettingPromises },
  mutant('rolls back leftovers without asking', 100, guessAfterRestart),
  // Rare since only a lapsed lease begins a doubt: the seeds begin where one shows it.
  { name: 'serves reads while in doubt', from: 501, within: 40, make: neverDoubting },
  { name: 'passes over a lost member at once', within: 300, make: silencingAtOnce },
  mutant('does not wait for its peers', 100, {
    options: (options) => ({ ...options, waitPeerCommits: false }),
  }),
  mutant('forgets former commits at a restart', 300, {
    event: (event) => (event.kind === 'recovered' ? { ...event, committed: [] } : event),
  }),
  mutant('says nothing again after a reconnect', 50, deafTo('link-up')),
  mutant('asks nothing again after a reconnect', 300, deafTo('link-accepted')),
  mutant('takes repeated WAL for new changes', 300, deafTo('capture-restarted')),
  mutant(
    'never tells what is finished everywhere',
    5,
    saying((message) => {
      return message.kind === 'finished-everywhere' ? undefined : message;
    }),
  ),
  mutant('repeats data without offsets', 100, {
    effects: (effects) => {
      return effects.map((effect) => {
        if (effect.kind !== 'send' || effect.message.kind !== 'transaction-data') return effect;
        return { ...effect, message: { ...effect.message, offset: Math.max(0, effect.message.offset - 1) } };
      });
    },
  }),
];
