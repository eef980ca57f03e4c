/** What a run has measured, and which of the project's goals it meets. */
import { copiedRows, updatedRows, type BulkOutcome } from './bulk.ts';
import type { Skipped } from './candidate.ts';
import type { Idle } from './gateway.ts';
import type { CommitLatencyOutcome } from './commit-latency.ts';
import { judgeSpeeds, type Judgement } from './goals.ts';
import type { EnduranceOutcome } from './endurance.ts';
import { judgeEndurance } from './endurance-judgement.ts';
import type { Machine } from './machine.ts';
import type { Sample } from './measurement.ts';
import type { NodeCountOutcome, WriteCost } from './node-count.ts';
import type { BenchOptions } from './options.ts';
import { coreShare } from './own-cores.ts';
import type { IdleSessionsOutcome } from './sessions.ts';
import type { SlowReaderOutcome } from './slow-reader.ts';

export interface Outcome {
  readonly options: BenchOptions;
  readonly machine: Machine;
  readonly samples: readonly Sample[];
  readonly skipped: readonly Skipped[];
  /** The gateways before any client has come; undefined when none was started. */
  readonly idle: Idle | undefined;
  readonly idleAfter: Idle | undefined;
  readonly slowReader: SlowReaderOutcome | undefined;
  readonly bulk: BulkOutcome | undefined;
  /** As if each process had a core of its own. */
  readonly bulkApart: BulkOutcome | undefined;
  readonly commits: CommitLatencyOutcome | undefined;
  readonly nodeCount: NodeCountOutcome | undefined;
  readonly idleSessions: IdleSessionsOutcome | undefined;
  readonly endurance: EnduranceOutcome | undefined;
  /** Candidates over several servers: whether these hold the same balances at the end. */
  readonly agreement: readonly { readonly title: string; readonly agree: boolean }[];
}

/** The project's yardsticks, as far as this run has measured them. */
export function judge(outcome: Outcome): Judgement[] {
  const judgements = judgeSpeeds(outcome.samples, outcome.options.clients);
  const before = outcome.idle?.megabytes ?? [];
  if (before.length > 0) {
    const idle = Math.max(...before);
    judgements.push({
      text: `idle gateway: ${idle.toFixed(0)} MB (limit: 120)`,
      met: idle < 120,
      strict: true,
    });
  }
  const slow = outcome.slowReader;
  if (slow !== undefined && 'failure' in slow) {
    judgements.push({ text: `400 MB to a slow reader: ${slow.failure}`, met: false, strict: true });
  } else if (slow !== undefined) {
    const text =
      `${slow.receivedMegabytes.toFixed(0)} MB to a slow reader in ${slow.seconds.toFixed(0)} s: the gateway had` +
      ` at most ${slow.peakMegabytes.toFixed(0)} MB (limit: 200)`;
    judgements.push({ text, met: slow.peakMegabytes < 200, strict: true });
  }
  if (outcome.commits !== undefined) judgements.push(judgeCommits(outcome.commits));
  if (outcome.nodeCount !== undefined) judgements.push(judgeNodeCount(outcome.nodeCount));
  if (outcome.idleSessions !== undefined) judgements.push(...judgeSessions(outcome.idleSessions));
  if (outcome.endurance !== undefined) judgements.push(...judgeEndurance(outcome.endurance));
  if (outcome.bulk !== undefined) judgements.push(...judgeBulk(outcome.bulk, 'bulk'));
  if (outcome.bulkApart !== undefined) {
    const share = `each process on a core of its own (simulated: ${(100 * coreShare).toFixed(0)} % of one)`;
    judgements.push(...judgeBulk(outcome.bulkApart, `bulk, ${share}`));
  }
  for (const { title, agree } of outcome.agreement.filter((one) => one.title.startsWith('gateway'))) {
    judgements.push({ text: `${title}: the same data on all servers afterwards`, met: agree, strict: true });
  }
  return judgements;
}

function judgeCommits(commits: CommitLatencyOutcome): Judgement {
  if ('failure' in commits) return { text: `commit latency: ${commits.failure}`, met: false, strict: true };
  const ms = (value: number): string => value.toFixed(2);
  const { commit, localPrepare, peerPrepare, commitPrepared, above } = commits;
  const text =
    `COMMIT of one client: ${ms(commit)} ms; PREPARE at home ${ms(localPrepare)}, at the slowest peer` +
    ` ${ms(peerPrepare)}, COMMIT PREPARED ${ms(commitPrepared)}: ${ms(above)} ms above their sum (aim: at most 0.4)`;
  return { text, met: above <= 0.4, strict: false };
}

function judgeNodeCount(outcome: NodeCountOutcome): Judgement {
  if ('failure' in outcome) return { text: `five nodes: ${outcome.failure}`, met: false, strict: true };
  const { three, five, measured, expected } = outcome;
  const cost = ({ latencyMs, homeCpuUs, homeWrites }: WriteCost): string =>
    `${latencyMs.toFixed(2)} ms, ${homeCpuUs.toFixed(0)} µs CPU of the home node, ${homeWrites.toFixed(1)} write calls of its gateway`;
  const text =
    `write of one client, five nodes instead of three: ${expected.toFixed(2)} × with cores for every node (aim: below 1.25);` +
    ` on this machine ${measured.toFixed(2)} ×: ${cost(three)} against ${cost(five)}`;
  return { text, met: expected < 1.25, strict: false };
}

/** Noise: by how much the same clients differ before and after, and at least a quarter. */
function judgeSessions(outcome: IdleSessionsOutcome): Judgement[] {
  if ('failure' in outcome) return [{ text: `idle sessions: ${outcome.failure}`, met: false, strict: true }];
  const { sessions, megabytes, answers } = outcome;
  const mb = (value: number): string => value.toFixed(0);
  const kilobytes = ((megabytes.during - megabytes.before) * 1000) / sessions;
  const memory =
    `${sessions} idle sessions: the gateway has ${mb(megabytes.during)} MB (limit: 250 for 4,000), without them` +
    ` ${mb(megabytes.before)}, when they are gone ${mb(megabytes.after)}; ${kilobytes.toFixed(1)} kB for each`;
  const compare = (name: 'p50' | 'p99'): Judgement => {
    const [before, during, after] = [answers.before, answers.during, answers.after].map((one) => one[name]);
    const quiet = [before ?? 0, after ?? 0];
    const most = Math.max(1.25 * Math.min(...quiet), Math.max(...quiet));
    const values = [before, during, after].map((value) => value?.toFixed(2)).join(', ');
    const text = `${sessions} idle sessions, ${name} of those who read before, beside and after them: ${values} ms`;
    return { text: `${text} (aim: no more than noise)`, met: (during ?? 0) <= most, strict: false };
  };
  return [{ text: memory, met: megabytes.during < 250, strict: true }, compare('p50'), compare('p99')];
}

function judgeBulk(bulk: BulkOutcome, title: string): Judgement[] {
  if ('failure' in bulk) return [{ text: `${title}: ${bulk.failure}`, met: false, strict: true }];
  const { copyRatio, updateRatio, copyCpuUs, updateCpuUs, peakMegabytes } = bulk;
  const cpu = (us: number | undefined): string =>
    us === undefined ? '' : `, CPU of the gateways ${us.toFixed(1)} µs a row`;
  const peak = peakMegabytes === undefined ? [] : [`a gateway had at most ${peakMegabytes.toFixed(0)} MB`];
  return [
    {
      text: `${title}, COPY of ${copiedRows} rows: ${copyRatio.toFixed(2)} × direct (aim: at least 0.35)${cpu(copyCpuUs)}`,
      met: copyRatio >= 0.35,
      strict: false,
    },
    {
      text: `${title}, update of ${updatedRows} rows: ${updateRatio.toFixed(1)} × its time on one server (aim: below 3)${cpu(updateCpuUs)}`,
      met: updateRatio < 3,
      strict: false,
    },
    ...peak.map((text) => ({
      text: `${title}: ${text} (limit: 300)`,
      met: (peakMegabytes ?? 0) < 300,
      strict: true,
    })),
    { text: `${title}: the same rows on all servers afterwards`, met: bulk.agree, strict: true },
  ];
}
