/** The report of `--table` as it stands in README.md: reads, writes, and every goal with its figure. */
import { candidateTitles } from './candidate.ts';
import type { Judgement } from './goals.ts';
import type { Outcome } from './judgement.ts';
import type { CandidateKey, WorkloadKey } from './options.ts';
import { tablePlan } from './plan.ts';
import { cellOf, ratio, samplesAt, type Cell } from './summary.ts';
import { formatTable } from './table.ts';
import { workloadTitles } from './workload.ts';

const titles: Partial<Record<CandidateKey, string>> = {
  'pgpool-native': 'Pgpool-II native (not atomic)',
  'pgpool-snapshot': 'Pgpool-II snapshot isolation',
  gateway: 'one gateway',
  gateways: 'three gateways, 8 clients each',
};

const titleOf = (key: CandidateKey): string => titles[key] ?? candidateTitles[key];
const grouped = (value: number): string => value.toLocaleString('en-US', { maximumFractionDigits: 0 });

function speed(cell: Cell): string {
  if (cell.perSecond === undefined) return cell.hung > 0 ? 'hung' : cell.broken > 0 ? 'broken' : '–';
  const retries = cell.retries === 0 ? '' : ` (${grouped(cell.retries)} retries)`;
  const failed = cell.failed === 0 ? '' : `, ${grouped(cell.failed)} given up`;
  return `${grouped(cell.perSecond)}${retries}${failed}`;
}

/** The gateway's speed beside those of others, as the median of the ratios within each round. */
interface Column {
  readonly title: string;
  readonly text: (workload: WorkloadKey, clients: number) => string;
}

function tableOf(
  { samples }: Outcome,
  title: string,
  workloads: readonly WorkloadKey[],
  more: readonly Column[],
): string[][] {
  const rows = workloads.flatMap((workload) =>
    (tablePlan[workload]?.clients ?? []).map((clients) => ({ workload, clients })),
  );
  const candidates = [...new Set(workloads.flatMap((workload) => tablePlan[workload]?.candidates ?? []))];
  const body = rows.map(({ workload, clients }) => [
    workloadTitles[workload],
    String(clients),
    ...candidates.map((candidate) => speed(cellOf(samplesAt(samples, { workload, clients, candidate })))),
    ...more.map(({ text }) => text(workload, clients)),
  ]);
  return [[title, 'clients', ...candidates.map(titleOf), ...more.map((column) => column.title)], ...body];
}

function against(outcome: Outcome, right: CandidateKey): Column {
  return {
    title: `gateway / ${candidateTitles[right]}`,
    text: (workload, clients) => {
      const place = (candidate: CandidateKey) => ({ workload, clients, candidate });
      const value = ratio(outcome.samples, place('gateway'), place(right));
      return value === undefined ? '–' : `${value.toFixed(2)} ×`;
    },
  };
}

function figure(outcome: Outcome, title: string, pick: (cell: Cell) => string): Column {
  return {
    title,
    text: (workload, clients) =>
      pick(cellOf(samplesAt(outcome.samples, { workload, clients, candidate: 'gateway' }))),
  };
}

const rounded = (value: number | undefined): string => value?.toFixed(0) ?? '–';

export function formatReadmeTable(
  outcome: Outcome,
  heading: readonly string[],
  judgements: readonly Judgement[],
): string {
  const cpu = figure(outcome, "gateways' CPU, µs each", ({ cpuUs }) => rounded(cpuUs));
  const p99 = figure(outcome, 'p99, ms', ({ p99Ms }) => rounded(p99Ms));
  const bouncer = against(outcome, 'pgbouncer');
  const limit = against(outcome, 'limit');
  const native = against(outcome, 'pgpool-native');
  const reads = tableOf(outcome, 'reads per second', ['select', 'select-new'], [bouncer, cpu]);
  const writes = tableOf(outcome, 'writes per second', ['update', 'tpcb'], [limit, native, p99, cpu]);
  const goals = judgements.map(({ met, text }) => `| ${met ? 'met' : 'not met'} | ${text} |`);
  const left = outcome.skipped.map(({ title, reason }) => `${title}: left out, ${reason}`);
  return [
    heading.join('  \n'),
    formatTable(reads, true),
    formatTable(writes, true),
    ['| | goals of the project |', '|---|---|', ...goals].join('\n'),
    ...left,
  ].join('\n\n');
}
