/** The report of a run: the machine, one table of ratios, what the proxies cost, and the yardsticks of the project. */
import { candidateTitles } from './candidate.ts';
import { enduranceTable } from './endurance-judgement.ts';
import type { Idle } from './gateway.ts';
import { judge, type Outcome } from './judgement.ts';
import type { CandidateKey } from './options.ts';
import { formatReadmeTable } from './readme-table.ts';
import { ratio, summarise, type Cell, type Row } from './summary.ts';
import { formatTable } from './table.ts';
import { workloadTitles } from './workload.ts';

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
    ...candidates.map((key) => candidateTitles[key]),
    ...usedPairs.map((pair) => pair[2]),
  ];
  const body = rows.map(({ workload, clients, cells }) => [
    workloadTitles[workload],
    String(clients),
    ...candidates.map((key) => speedText(cells.get(key))),
    ...usedPairs.map(([left, right]) =>
      ratioText(
        ratio(samples, { workload, clients, candidate: left }, { workload, clients, candidate: right }),
      ),
    ),
  ]);
  return [head, ...body];
}

/** CPU time of the proxy itself; for writes the gateways' includes the two that apply them. */
function costTable(outcome: Outcome, rows: readonly Row[]): string[][] | undefined {
  const priced = outcome.options.candidates.filter((key) =>
    rows.some((row) => row.cells.get(key)?.cpuUs !== undefined),
  );
  if (priced.length === 0) return undefined;
  const head = ['proxy CPU, µs/tx', 'clients', ...priced.map((key) => candidateTitles[key])];
  const body = rows.map(({ workload, clients, cells }) => [
    workloadTitles[workload],
    String(clients),
    ...priced.map((key) => cells.get(key)?.cpuUs?.toFixed(0) ?? '–'),
  ]);
  return [head, ...body];
}

function slowTable(outcome: Outcome, rows: readonly Row[]): string[][] {
  const { candidates } = outcome.options;
  const present = candidates.filter((key) => rows.some((row) => row.cells.has(key)));
  const head = ['p99 / p99.9, ms', 'clients', ...present.map((key) => candidateTitles[key])];
  const text = (cell: Cell | undefined): string =>
    cell?.p99Ms === undefined ? '–' : `${cell.p99Ms.toFixed(1)} / ${cell.p999Ms?.toFixed(1) ?? '–'}`;
  const body = rows.map(({ workload, clients, cells }) => [
    workloadTitles[workload],
    String(clients),
    ...present.map((key) => text(cells.get(key))),
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
      const what = `${workloadTitles[workload]}, ${clients} clients, ${candidateTitles[key]}`;
      return parts.length === 0 ? [] : [`${what}: ${parts.join(', ')}`];
    }),
  );
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
  if (outcome.options.table) return formatReadmeTable(outcome, heading(outcome), judge(outcome));
  const markdown = outcome.options.output === 'markdown';
  const rows = summarise(outcome.options, outcome.samples).filter((row) => row.cells.size > 0);
  const bullets = (lines: readonly string[]) => lines.map((line) => `- ${line}`).join('\n');
  const cost = costTable(outcome, rows);
  const judgements = judge(outcome).map(({ text, met }) => `${met ? 'met' : 'NOT MET'}: ${text}`);
  const parts = [
    heading(outcome).join(markdown ? '  \n' : '\n'),
    rows.length === 0 ? '' : formatTable(speedTable(outcome, rows), markdown),
    cost === undefined ? '' : formatTable(cost, markdown),
    rows.length === 0 ? '' : formatTable(slowTable(outcome, rows), markdown),
    outcome.endurance === undefined || 'failure' in outcome.endurance
      ? ''
      : formatTable(enduranceTable(outcome.endurance), markdown),
    bullets(remarks(outcome, rows)),
    bullets(judgements),
  ];
  return parts.filter((part) => part !== '').join('\n\n');
}
