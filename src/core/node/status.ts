/**
 * What a node calls itself, in the manual's words, and a sentence that says why and what to do.
 * Rule: the texts hold no times and no amounts, so that they stay put while nothing changes.
 *
 *   disabled   its PostgreSQL does not work, or it is shutting down, or it must be seeded anew
 *   isolated   too few nodes are in contact, or too few have answered lately: no lease
 *   catchup    it replays from a donor what it missed
 *   recovery   anything else on the way to online: an election, the ends of older transactions, no donor yet
 *   online     it serves; the reason names who is missing, and whether that stops writes
 */
import { nodesOf } from '../generation/configuration.ts';
import type { Election } from '../generation/election.ts';
import type { Liveness } from '../generation/liveness.ts';
import type { LocalHealth, MemberTrouble, NodeStatus } from '../generation/liveness-event.ts';
import { majoritySize } from '../generation/quorum.ts';
import type { Configuration, GenerationRecord } from '../generation/record.ts';
import type { NodeId } from '../identity.ts';
import type { Arbiter } from './arbiter.ts';
import type { CatchUp } from './catch-up.ts';
import type { Execution } from './execution.ts';

export interface StatusFacts {
  readonly health: LocalHealth;
  readonly self: NodeId;
  readonly configuration: Configuration;
  readonly serving: boolean;
  readonly inMajority: boolean;
  /** The generation that the node is online in, 0 for none. */
  readonly onlineIn: number;
  readonly chosen: GenerationRecord | undefined;
  /** Configured nodes that are not in contact. */
  readonly missing: readonly MemberTrouble[];
  /** Members without which nothing can be written. */
  readonly troubles: readonly MemberTrouble[];
  /** Why an election is needed and not over; empty when none is. */
  readonly waiting: string;
  /** It voted for a generation that is not chosen yet. */
  readonly voted: boolean;
  /** It ends older transactions as the record says. */
  readonly settling: boolean;
  readonly donor: NodeId | undefined;
  /** Why the last donor did not do. */
  readonly donorFailure: string | undefined;
  /** Why no donor can help this node. */
  readonly reseed: string | undefined;
  /** The only node that can, for this node's server is a copy of its. */
  readonly source: NodeId | undefined;
}

export interface StatusWords {
  readonly status: NodeStatus;
  readonly reason: string;
}

/** The status and its sentence; the sentence is empty when all is well. */
export function statusOf(facts: StatusFacts): StatusWords {
  const { health } = facts;
  if (!health.healthy) return { status: health.status, reason: health.reason };
  if (!nodesOf(facts.configuration).includes(facts.self))
    return { status: 'disabled', reason: removed(facts.self) };
  if (facts.serving) return { status: 'online', reason: whileOnline(facts) };
  if (!facts.inMajority) return { status: 'isolated', reason: tooFew(facts) };
  if (facts.onlineIn !== 0) {
    const size = facts.configuration.configured.length;
    const reason = `fewer than ${majoritySize(size)} of ${size} nodes have answered lately`;
    return { status: 'isolated', reason: `${reason}${whoIsMissing(facts)}` };
  }
  if (facts.reseed !== undefined) return { status: 'disabled', reason: seedAnew(facts.reseed) };
  if (facts.donor !== undefined)
    return {
      status: 'catchup',
      reason: `replays what it missed from node ${facts.donor}${whoIsMissing(facts)}`,
    };
  return { status: 'recovery', reason: onTheWay(facts) };
}

function removed(self: NodeId): string {
  return `node ${self} was removed from the cluster; add it anew with mtm.add_node and a new copy`;
}

function seedAnew(reason: string): string {
  const remedy = 'remove it with mtm.drop_node and add it anew with a new copy (mtm.add_node)';
  return `needs re-seed: ${reason}; ${remedy}`;
}

/** The parts of a node that its status depends on. */
export interface StatusParts {
  readonly self: NodeId;
  readonly liveness: Liveness;
  readonly election: Pick<Election, 'chosen' | 'promised' | 'waiting' | 'configuration'>;
  readonly execution: Pick<Execution, 'settling'>;
  readonly catchUp: Pick<CatchUp, 'replay' | 'failure' | 'reseed' | 'source'>;
  readonly arbiter: Pick<Arbiter, 'reason'> | undefined;
}

/** The status of the node now; what the referee has to say comes last. */
export function statusOfNode(parts: StatusParts, now: number): StatusWords {
  const { self, liveness, election, execution, catchUp, arbiter } = parts;
  const { chosen, promised, waiting, configuration } = election;
  const { status, reason } = statusOf({
    health: liveness.health,
    self,
    configuration,
    serving: liveness.hasLease(now),
    inMajority: liveness.inMajority(now),
    onlineIn: liveness.onlineIn,
    chosen,
    missing: liveness.missing(now),
    troubles: liveness.unreachableMembers(now),
    waiting,
    voted: promised.generation > (chosen?.number ?? 0),
    settling: execution.settling,
    donor: catchUp.replay?.donor,
    donorFailure: catchUp.failure,
    reseed: catchUp.reseed,
    source: catchUp.source,
  });
  return { status, reason: [reason, arbiter?.reason].filter((text) => text).join('; ') };
}

function named(troubles: readonly MemberTrouble[]): string {
  return troubles.map(({ node, text }) => `node ${node} (${text})`).join(', ');
}

function whileOnline({ troubles, missing, chosen, configuration }: StatusFacts): string {
  if (troubles.length > 0) return `no writes without ${named(troubles)}`;
  const { joining } = configuration;
  const outside = missing.filter(
    ({ node }) => chosen?.members.includes(node) !== true && !joining.includes(node),
  );
  const words = joining.map((node) => whoJoins(node, missing));
  if (outside.length > 0)
    words.unshift(`generation ${chosen?.number ?? 0} goes on without ${named(outside)}`);
  return words.join('; ');
}

function whoJoins(node: NodeId, missing: readonly MemberTrouble[]): string {
  const absent = missing.find((trouble) => trouble.node === node);
  return absent === undefined
    ? `node ${node} is joining`
    : `node ${node} was added and is not there yet (${absent.text}); history is kept for it`;
}

function tooFew({ configuration: { configured }, missing }: StatusFacts): string {
  const size = configured.length;
  const counted = missing.filter(({ node }) => configured.includes(node));
  return (
    `${majoritySize(size)} of ${size} nodes must be in contact; missing: ${named(counted)}; ` +
    'start them or restore their links'
  );
}

function onTheWay(facts: StatusFacts): string {
  const { chosen, donorFailure } = facts;
  const missing = whoIsMissing(facts);
  if (facts.waiting !== '') return `a generation has to be elected: ${facts.waiting}${missing}`;
  if (facts.voted || chosen === undefined) return `a generation is being elected${missing}`;
  if (facts.settling) return 'transactions of former generations are being finished';
  if (facts.source !== undefined) {
    const why = donorFailure === undefined ? '' : `: ${donorFailure}`;
    return `it waits for node ${facts.source}, of whose server its own is a copy${why}${missing}`;
  }
  if (donorFailure !== undefined) return `it needs another donor: ${donorFailure}${missing}`;
  return `it waits for a node that is online in generation ${chosen.number}${missing}`;
}

function whoIsMissing({ missing }: StatusFacts): string {
  return missing.length === 0 ? '' : `; missing: ${named(missing)}`;
}
