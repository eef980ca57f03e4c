/**
 * From the votes of an election to its record: what becomes of every older transaction (architecture §3,
 * "Decision rule", step 2).
 *
 * Rule: a commit that anybody may have executed or acknowledged is committed; everything older that the
 * record does not list is aborted. A pure function of the votes; whatever it cannot explain it refuses.
 */
import { assert } from '../../lib/assert.ts';
import { parseGid, type Gid, type NodeId } from '../identity.ts';
import { initialConfiguration, proposedConfiguration, transitionFault } from './configuration.ts';
import type { ConfigurationWish } from './configuration.ts';
import { isAlone } from './quorum.ts';
import { higherRecord } from './record.ts';
import type { Ballot, Configuration, GenerationRecord, Holdings } from './record.ts';

/** What one voter said. */
export interface ElectionVote extends Holdings {
  readonly lastOnline: number;
  readonly accepted: GenerationRecord | undefined;
}

export interface Proposal {
  readonly ballot: Ballot;
  readonly members: readonly NodeId[];
  /** Of the configuration file: counts only while there is no record at all. */
  readonly configured: readonly NodeId[];
  /** The change of the configuration that the proposer is asked for. */
  readonly wish?: ConfigurationWish | undefined;
  /** The highest generation that the proposer knows to be chosen, 0 for none. */
  readonly chosen: number;
  /**
   * The referee's, if there is one: with it the node's own vote is enough for the generation of that number.
   */
  readonly grant?: number | undefined;
}

export type ElectionValue =
  | { readonly kind: 'record'; readonly record: GenerationRecord }
  /** These votes do not allow it; others may. */
  | { readonly kind: 'refused'; readonly reason: string }
  /** The votes contradict what every node keeps durably: a person must look. */
  | { readonly kind: 'contradiction'; readonly reason: string };

type Votes = ReadonlyMap<NodeId, ElectionVote>;

/** The record to propose, given the votes of all proposed members. */
export function recordFromVotes(proposal: Proposal, votes: Votes): ElectionValue {
  const { ballot, members } = proposal;
  assert(
    members.every((node) => votes.has(node)),
    'the value needs the votes of all members',
  );
  const base = [...votes.values()].map(({ accepted }) => accepted).reduce(higherRecord, undefined);
  const configuration = nextConfiguration(proposal, base, votes);
  if (typeof configuration === 'string') return { kind: 'refused', reason: configuration };
  const maxOnline = Math.max(...[...votes.values()].map(({ lastOnline }) => lastOnline));
  if (maxOnline > (base?.number ?? 0)) {
    const reason = `a node was online in generation ${maxOnline}, which no voter has accepted`;
    return { kind: 'contradiction', reason };
  }
  // Those with less are behind: they may have rolled back, or never seen, what the complete ones hold.
  const complete = [...votes].filter(([, vote]) => vote.lastOnline === maxOnline);
  // When none of the voters has executed the base's commits, all of them are carried on: the voters need not
  // list them any more (who was left out by the base rolled them back), yet one who is not here may have
  // executed and acknowledged them.
  const commits = new Set(base !== undefined && maxOnline < base.number ? base.commits : []);
  const fateOf = fates(base, complete, votes);
  for (const gid of new Set(complete.flatMap(([, vote]) => [...vote.prepared, ...vote.committed]))) {
    const fate = fateOf(gid);
    if (fate === 'impossible') {
      const reason = `${gid} is of a generation that no voter has accepted`;
      return { kind: 'contradiction', reason };
    }
    if (fate === 'commit') commits.add(gid);
  }
  const record: GenerationRecord = {
    number: ballot.generation,
    proposer: ballot.proposer,
    members,
    ...configuration,
    donors: complete.map(([node]) => node).sort((a, b) => a - b),
    commits: [...commits].sort(),
  };
  return { kind: 'record', record };
}

/** The configuration of the record to propose, or why these votes allow none. */
function nextConfiguration(
  { ballot, members, configured, wish, chosen, grant }: Proposal,
  base: GenerationRecord | undefined,
  votes: Votes,
): (Configuration & Pick<GenerationRecord, 'former'>) | string {
  const before: Configuration = base ?? initialConfiguration(configured);
  const { configured: counted, joining, added } = before;
  const unchanged = { configured: counted, joining, added };
  if (grant === ballot.generation && isAlone(members, counted)) return unchanged;
  const after = proposedConfiguration(unchanged, { wish, members, generation: ballot.generation });
  const known = (base?.number ?? 0) === chosen;
  const carried = known ? undefined : base?.former;
  const fault = transitionFault(unchanged, after, { members, voters: votes.keys(), known, former: carried });
  if (fault !== undefined) return fault;
  const former = after.configured.join() === counted.join() ? carried : counted;
  return former === undefined ? after : { ...after, former };
}

function fates(
  base: GenerationRecord | undefined,
  complete: readonly (readonly [NodeId, ElectionVote])[],
  votes: Votes,
): (gid: Gid) => 'commit' | 'abort' | 'unlisted' | 'impossible' {
  const committed = new Set([...votes.values()].flatMap((vote) => vote.committed));
  const prepared = new Set(complete.flatMap(([, vote]) => vote.prepared));
  const bound = new Set(base?.commits);
  const inBase = ([node]: readonly [NodeId, ElectionVote]): boolean => base?.members.includes(node) === true;
  const preparedAt = [...votes].filter(inBase).map(([, vote]) => new Set(vote.prepared));
  const committedAt = complete.filter(inBase).map(([, vote]) => new Set(vote.committed));
  return (gid) => {
    const stamp = parseGid(gid)?.generation;
    // A gid is stamped with a generation that was chosen, so any majority has a voter that accepted it.
    if (stamp === undefined || base === undefined || stamp > base.number) return 'impossible';
    if (stamp < base.number && bound.has(gid)) return 'commit';
    if (!prepared.has(gid)) {
      // Executed wherever it is held among the voters; listed for those who are not here. A complete member
      // that does not know it any more proves that all members have executed it (or that it changed nothing,
      // and then only its home has it). What is older than the base was listed there, if anybody had to hear
      // of it.
      return stamp === base.number && committedAt.every((held) => held.has(gid)) ? 'commit' : 'unlisted';
    }
    if (committed.has(gid)) return 'commit';
    // The base may have been chosen and acted upon: what it is silent about may have been rolled back.
    if (stamp < base.number) return 'abort';
    // Ballot 0: if all members of the gid's generation prepared it, its coordinator may have committed it,
    // and then every voter among them says so. One that does not proves that it was not committed.
    return preparedAt.every((held) => held.has(gid)) ? 'commit' : 'abort';
  };
}
