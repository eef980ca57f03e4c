/**
 * How long one client waits for COMMIT at a gateway, beside the steps that nobody can do without: PREPARE at home, then at the
 * peers, then COMMIT PREPARED. Those are measured in the same run at servers of the same kind without anything between.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Candidate } from './candidate.ts';
import type { BenchOptions } from './options.ts';
import type { Pgbench, PgbenchTarget } from './pgbench.ts';
import { median } from './summary.ts';

/** Means in ms of one round. */
export interface CommitRound {
  readonly commit: number;
  readonly localPrepare: number;
  readonly peerPrepare: number;
  readonly commitPrepared: number;
}

/** Medians of the rounds; `above` is the median of the differences within each round. */
export interface CommitLatency extends CommitRound {
  readonly above: number;
}

export type CommitLatencyOutcome = CommitLatency | { readonly failure: string };

const body = [
  '\\set aid random(1, 100000 * :scale)',
  '\\set delta random(-5000, 5000)',
  'BEGIN;',
  'UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;',
];
const steps = [`PREPARE TRANSACTION 'limit_:client_id';`, `COMMIT PREPARED 'limit_:client_id';`];

export function summariseCommits(rounds: readonly CommitRound[]): CommitLatency {
  const middle = (pick: (round: CommitRound) => number): number => median(rounds.map(pick)) ?? Number.NaN;
  return {
    commit: middle((round) => round.commit),
    localPrepare: middle((round) => round.localPrepare),
    peerPrepare: middle((round) => round.peerPrepare),
    commitPrepared: middle((round) => round.commitPrepared),
    above: middle((round) => round.commit - round.localPrepare - round.peerPrepare - round.commitPrepared),
  };
}

/** Throws when pgbench has no figures. */
export async function measureCommits(
  gateway: Candidate,
  limit: Candidate,
  options: BenchOptions,
  pgbench: Pgbench,
  folder: string,
  report: (line: string) => void,
): Promise<CommitLatency> {
  const scripts = [
    [...body, 'COMMIT;'],
    [...body, ...steps],
  ].map((lines, index) => {
    const file = join(folder, `commit-${index}.sql`);
    writeFileSync(file, `${lines.join('\n')}\n`);
    return ['-M', 'simple', '-r', '-D', `scale=${options.scale}`, '-f', file];
  });
  const [whole, parts] = scripts as [string[], string[]];
  const times = async (target: PgbenchTarget, args: readonly string[]) => {
    const result = await pgbench.measure(target, args, 1, options.seconds);
    if (result.kind !== 'measured') throw new Error(`port ${target.port}: ${JSON.stringify(result)}`);
    return (word: string): number => {
      const step = result.steps.find(({ text }) => text.startsWith(word));
      if (step === undefined) throw new Error(`pgbench does not say what ${word} took`);
      return step.ms;
    };
  };
  const [home, ...peers] = limit.targets;
  const [entry] = gateway.targets;
  if (home === undefined || entry === undefined) throw new Error('a candidate has no target');
  const rounds: CommitRound[] = [];
  // The first one warms up and does not count.
  for (let number = 0; number <= options.rounds; number++) {
    const local = await times(home, parts);
    const others = await Promise.all(peers.map((peer) => times(peer, parts)));
    const commit = (await times(entry, whole))('COMMIT');
    const round = {
      commit,
      localPrepare: local('PREPARE'),
      peerPrepare: Math.max(...others.map((other) => other('PREPARE'))),
      commitPrepared: local('COMMIT PREPARED'),
    };
    report(`commit latency, round ${number}: ${JSON.stringify(round)}`);
    if (number > 0) rounds.push(round);
  }
  return summariseCommits(rounds);
}
