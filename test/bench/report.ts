/** The report of a run: the machine, one table of ratios, what the proxies cost, and the yardsticks of the project. */
import { copiedRows, updatedRows, type BulkOutcome } from './bulk.ts';
import type { Skipped } from './candidate.ts';
import type { Idle } from './gateway.ts';
import type { Machine } from './machine.ts';
import type { Sample } from './measurement.ts';
import type { BenchOptions, CandidateKey, WorkloadKey } from './options.ts';
import type { SlowReaderOutcome } from './slow-reader.ts';
import { ratio, summarise, type Cell, type Row } from './summary.ts';
import { formatTable } from './table.ts';
import { workloadTitles } from './workload.ts';

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
  /** Candidates over several servers: whether these hold the same balances at the end. */
  readonly agreement: readonly { readonly title: string; readonly agree: boolean }[];
}

export interface Judgement {
  readonly text: string;
  readonly met: boolean;
  /** A limit that must hold on any machine; the others are aims for a quiet one. */
  readonly strict: boolean;
}

const titles: Record<CandidateKey, string> = {
  direct: 'direct',
  pgbouncer: 'PgBouncer',
  gateway: 'gateway',
  gateways: '3 gateways',
  'pgpool-native': 'Pgpool native',
  'pgpool-snapshot': 'Pgpool snapshot',
  streaming: 'sync streaming',
  limit: 'limit',
};

const pairs: readonly (readonly [CandidateKey, CandidateKey, string])[] = [
  ['gateway', 'direct', 'gw/direct'],
  ['gateway', 'pgbouncer', 'gw/PgBouncer'],
  ['gateway', 'pgpool-native', 'gw/Pgpool nat.'],
  ['gateway', 'pgpool-snapshot', 'gw/Pgpool snap.'],
  ['gateways', 'pgpool-native', '3 gw/Pgpool nat.'],
  ['gateway', 'streaming', 'gw/streaming'],
  ['gateway', 'limit', 'gw/limit'],
];

function speedText(cell: Cell | undefined): string {
  if (cell === undefined) return '–';
  if (cell.perSecond !== undefined)
    return cell.perSecond.toFixed(0) + (cell.hung + cell.broken > 0 ? ' *' : '');
  return cell.hung > 0 ? 'hung' : 'broken';
}

const ratioText = (value: number | undefined) => (value === undefined ? '–' : `${value.toFixed(2)} ×`);

function speedTable(outcome: Outcome, rows: readonly Row[]): string[][] {
  const { samples } = outcome;
  const present = (key: CandidateKey) => samples.some((sample) => sample.candidate === key);
  const candidates = outcome.options.candidates.filter(present);
  const usedPairs = pairs.filter(([left, right]) => present(left) && present(right));
  const head = [
    'tx/s, median',
    'clients',
    ...candidates.map((key) => titles[key]),
    ...usedPairs.map((pair) => pair[2]),
  ];
  const body = rows.map(({ workload, clients, cells }) => [
    workloadTitles[workload],
    String(clients),
    ...candidates.map((key) => speedText(cells.get(key))),
    ...usedPairs.map(([left, right]) => ratioText(ratio(samples, workload, clients, left, right))),
  ]);
  return [head, ...body];
}

/** CPU time of the proxy itself; for writes the gateways' includes the two that apply them. */
function costTable(outcome: Outcome, rows: readonly Row[]): string[][] | undefined {
  const priced = outcome.options.candidates.filter((key) =>
    rows.some((row) => row.cells.get(key)?.cpuUs !== undefined),
  );
  if (priced.length === 0) return undefined;
  const head = ['proxy CPU, µs/tx', 'clients', ...priced.map((key) => titles[key])];
  const body = rows.map(({ workload, clients, cells }) => [
    workloadTitles[workload],
    String(clients),
    ...priced.map((key) => cells.get(key)?.cpuUs?.toFixed(0) ?? '–'),
  ]);
  return [head, ...body];
}

function troubles(rows: readonly Row[]): string[] {
  return rows.flatMap(({ workload, clients, cells }) =>
    [...cells].flatMap(([key, cell]) => {
      const parts = [
        cell.retries > 0 ? `${cell.retries} retries` : '',
        cell.failed > 0 ? `${cell.failed} transactions given up` : '',
        cell.hung > 0 ? 'hung' : '',
        cell.broken > 0 ? `broke ${cell.broken} times` : '',
      ].filter((part) => part !== '');
      const what = `${workloadTitles[workload]}, ${clients} clients, ${titles[key]}`;
      return parts.length === 0 ? [] : [`${what}: ${parts.join(', ')}`];
    }),
  );
}

/** The project's yardsticks, as far as this run has measured them. */
export function judge(outcome: Outcome): Judgement[] {
  const judgements: Judgement[] = [];
  const aim = (workload: WorkloadKey, left: CandidateKey, right: CandidateKey, least: number) => {
    const value = ratio(outcome.samples, workload, 8, left, right);
    if (value === undefined) return;
    const text =
      `${workloadTitles[workload]}, 8 clients: ${titles[left]} ${value.toFixed(2)} × ${titles[right]}` +
      ` (aim: at least ${least})`;
    judgements.push({ text, met: value >= least, strict: false });
  };
  aim('select', 'gateway', 'pgbouncer', 0.75);
  aim('select', 'gateway', 'pgpool-native', 2);
  for (const key of ['tpcb', 'tpcb-extended', 'tpcb-prepared'] as const)
    aim(key, 'gateway', 'pgpool-native', 1.2);
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
  if (outcome.bulk !== undefined) judgements.push(...judgeBulk(outcome.bulk));
  for (const { title, agree } of outcome.agreement.filter((one) => one.title.startsWith('gateway'))) {
    judgements.push({ text: `${title}: the same data on all servers afterwards`, met: agree, strict: true });
  }
  return judgements;
}

function judgeBulk(bulk: BulkOutcome): Judgement[] {
  if ('failure' in bulk) return [{ text: `bulk: ${bulk.failure}`, met: false, strict: true }];
  const { copyRatio, updateRatio, copyCpuUs, updateCpuUs, peakMegabytes } = bulk;
  const cpu = (us: number | undefined): string =>
    us === undefined ? '' : `, CPU of the gateways ${us.toFixed(1)} µs a row`;
  const peak = peakMegabytes === undefined ? [] : [`a gateway had at most ${peakMegabytes.toFixed(0)} MB`];
  return [
    {
      text: `COPY of ${copiedRows} rows: ${copyRatio.toFixed(2)} × direct (aim: at least 0.35)${cpu(copyCpuUs)}`,
      met: copyRatio >= 0.35,
      strict: false,
    },
    {
      text: `update of ${updatedRows} rows: ${updateRatio.toFixed(1)} × its time on one server (aim: below 3)${cpu(updateCpuUs)}`,
      met: updateRatio < 3,
      strict: false,
    },
    ...peak.map((text) => ({
      text: `bulk: ${text} (limit: 300)`,
      met: (peakMegabytes ?? 0) < 300,
      strict: true,
    })),
    { text: 'bulk: the same rows on all servers afterwards', met: bulk.agree, strict: true },
  ];
}

function idleText({ megabytes, cpuMsPerSecond }: Idle): string {
  const memory = megabytes.map((value) => value.toFixed(0)).join(', ');
  return `VmRSS ${memory} MB, CPU ${cpuMsPerSecond?.toFixed(1) ?? '?'} ms per second each when idle`;
}

function remarks(outcome: Outcome, rows: readonly Row[]): string[] {
  const lines = [
    ...outcome.skipped.map(({ title, reason }) => `${title}: left out, ${reason}`),
    ...troubles(rows),
    ...outcome.agreement
      .filter((one) => !one.title.startsWith('gateway'))
      .map(
        ({ title, agree }) => `${title}: ${agree ? 'the same' : 'DIFFERENT'} data on its servers afterwards`,
      ),
  ];
  if (outcome.idle !== undefined) lines.push(`gateways before any load: ${idleText(outcome.idle)}`);
  if (outcome.idleAfter !== undefined) lines.push(`gateways after all of it: ${idleText(outcome.idleAfter)}`);
  return lines;
}

function heading(outcome: Outcome): string[] {
  const { machine, options } = outcome;
  return [
    `${machine.date}: ${machine.cores} cores ${machine.processor}, ${machine.memoryGigabytes} GB, ${machine.system}`,
    `${machine.versions.join(', ')}; load average before the run ${machine.loadBefore}`,
    `${options.rounds} alternating rounds of ${options.seconds} s each, scale ${options.scale}; reads prepared, updates in` +
      ` the simple protocol, ${options.warmUpSeconds} s of warming up; fsync on everywhere; the ratios are medians of the ratios within each round`,
  ];
}

export function formatReport(outcome: Outcome): string {
  if (outcome.options.output === 'json')
    return JSON.stringify({ ...outcome, judgements: judge(outcome) }, null, 2);
  const markdown = outcome.options.output === 'markdown';
  const rows = summarise(outcome.options, outcome.samples).filter((row) => row.cells.size > 0);
  const bullets = (lines: readonly string[]) => lines.map((line) => `- ${line}`).join('\n');
  const cost = costTable(outcome, rows);
  const judgements = judge(outcome).map(({ text, met }) => `${met ? 'met' : 'NOT MET'}: ${text}`);
  const parts = [
    heading(outcome).join(markdown ? '  \n' : '\n'),
    rows.length === 0 ? '' : formatTable(speedTable(outcome, rows), markdown),
    cost === undefined ? '' : formatTable(cost, markdown),
    bullets(remarks(outcome, rows)),
    bullets(judgements),
  ];
  return parts.filter((part) => part !== '').join('\n\n');
}
