/**
 * Every situation in which an election may find a transaction that is held open at its origin, alone and beside
 * another one that conflicts with it: 2 to 5 nodes, all members, all voters, all that they may hold.
 */
import { describe, expect, test } from 'vitest';
import { blockingSize, majoritySize } from '../../../../src/core/generation/quorum.ts';
import type { GenerationRecord } from '../../../../src/core/generation/record.ts';
import { recordFromVotes, type ElectionVote } from '../../../../src/core/generation/value.ts';
import type { NodeId } from '../../../../src/core/identity.ts';

const generation = 5;
const t = `mtm:1:${generation}:1:1`;

type Holding = 'nothing' | 'prepared' | 'committed';
type Holdings = ReadonlyMap<NodeId, Holding>;

interface Cluster {
  readonly configured: readonly NodeId[];
  readonly members: readonly NodeId[];
}

function subsets(of: readonly NodeId[]): NodeId[][] {
  return of.reduce<NodeId[][]>((all, node) => [...all, ...all.map((set) => [...set, node])], [[]]);
}

/** Node 1 is the origin of t in each. */
function clusters(): Cluster[] {
  return [2, 3, 4, 5].flatMap((size) => {
    const configured = Array.from({ length: size }, (_, index) => index + 1);
    return subsets(configured)
      .filter((members) => members.includes(1) && members.length >= majoritySize(size))
      .map((members) => ({ configured, members }));
  });
}

const quorums = ({ configured }: Cluster): NodeId[][] =>
  subsets(configured).filter((voters) => voters.length >= majoritySize(configured.length));

/** All ways in which the members may hold a transaction that is open at `home`, or prepared there (undefined). */
function situations(members: readonly NodeId[], home: NodeId | undefined): Holdings[] {
  let all: Map<NodeId, Holding>[] = [new Map()];
  for (const node of members) {
    const kinds: readonly Holding[] =
      node === home ? ['nothing', 'committed'] : ['nothing', 'prepared', 'committed'];
    all = all.flatMap((found) => kinds.map((kind) => new Map([...found, [node, kind]])));
  }
  return all.filter((holdings) => {
    const anywhere = [...holdings.values()].includes('committed');
    // The others hear of a commit only when it has returned at home, and that begins when all are prepared.
    if (home !== undefined && anywhere && holdings.get(home) !== 'committed') return false;
    return !anywhere || members.every((node) => holdings.get(node) !== 'nothing');
  });
}

function elect(
  cluster: Cluster,
  voters: readonly NodeId[],
  held: ReadonlyMap<string, Holdings>,
): readonly string[] {
  const { configured, members } = cluster;
  const base: GenerationRecord = {
    number: generation,
    proposer: members[0]!,
    members,
    configured,
    joining: [],
    added: [],
    donors: members,
    commits: [],
  };
  const vote = (node: NodeId): ElectionVote => {
    const list = (kind: Holding): string[] =>
      [...held].filter(([, holdings]) => holdings.get(node) === kind).map(([gid]) => gid);
    const lastOnline = members.includes(node) ? generation : generation - 1;
    return { lastOnline, accepted: base, prepared: list('prepared'), committed: list('committed') };
  };
  const ballot = { generation: generation + 1, proposer: voters[0]! };
  const votes = new Map(voters.map((node) => [node, vote(node)]));
  const value = recordFromVotes({ ballot, members: voters, configured, chosen: generation }, votes);
  if (value.kind !== 'record') throw new Error(`no record: ${value.reason}`);
  return value.record.commits;
}

describe('a transaction that is held open at its origin', () => {
  test('commits where its origin has committed, and not where that may have told of an abort', () => {
    let looked = 0;
    for (const cluster of clusters()) {
      const { members, configured } = cluster;
      for (const holdings of situations(members, 1)) {
        const lacking = members.filter((node) => holdings.get(node) === 'nothing').length;
        for (const voters of quorums(cluster)) {
          const commits = elect(cluster, voters, new Map([[t, holdings]])).includes(t);
          const story = JSON.stringify({ members, voters, holdings: [...holdings] });
          if (holdings.get(1) === 'committed') expect(commits, story).toBe(true);
          if (lacking >= blockingSize(configured.length)) expect(commits, story).toBe(false);
          looked++;
        }
      }
    }
    expect(looked).toBeGreaterThan(1000);
  });

  /** Calls `look` for each situation of two that conflict: no node holds both. */
  function conflicts(look: (cluster: Cluster, held: ReadonlyMap<string, Holdings>) => void): void {
    for (const cluster of clusters()) {
      const { members } = cluster;
      const homes = [...members.filter((node) => node !== 1), undefined];
      for (const home of homes) {
        const u = `mtm:${home ?? members.at(-1)!}:${generation}:1:2`;
        const others = situations(members, home);
        for (const first of situations(members, 1)) {
          for (const second of others) {
            const both = members.some(
              (node) => first.get(node) !== 'nothing' && second.get(node) !== 'nothing',
            );
            if (!both)
              look(
                cluster,
                new Map([
                  [t, first],
                  [u, second],
                ]),
              );
          }
        }
      }
    }
  }

  test('never commits together with one that conflicts with it, open or prepared at its own home', () => {
    let looked = 0;
    conflicts((cluster, held) => {
      for (const voters of quorums(cluster)) {
        looked++;
        const commits = elect(cluster, voters, held);
        if (commits.length > 1) expect(commits, JSON.stringify({ cluster, voters })).toHaveLength(1);
      }
    });
    expect(looked).toBeGreaterThan(10_000);
  });

  test('would, if elections did not count its origin as a member that has not prepared it', () => {
    let together = 0;
    conflicts((cluster, held) => {
      for (const voters of quorums(cluster)) {
        const alike = [...held].filter(([gid, holdings]) => {
          const home = Number(gid.split(':')[1]);
          const judges = voters.filter((node) => cluster.members.includes(node) && node !== home);
          return judges.length > 0 && judges.every((node) => holdings.get(node) !== 'nothing');
        });
        if (alike.length > 1) together++;
      }
    });
    expect(together).toBeGreaterThan(0);
  });
});
