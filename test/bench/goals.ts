/** The goals for speeds: which of the measured ratios must be at least what. Rule: what was not measured is not judged. */
import type { CandidateKey, WorkloadKey } from './options.ts';
import { candidateTitles } from './candidate.ts';
import type { Sample } from './measurement.ts';
import { cellOf, ratio, samplesAt, type Place } from './summary.ts';
import { workloadTitles } from './workload.ts';

export interface Judgement {
  readonly text: string;
  readonly met: boolean;
  /** A limit that must hold on any machine; the others are aims for a quiet one. */
  readonly strict: boolean;
}

interface Goal {
  readonly workload: WorkloadKey;
  readonly candidate: CandidateKey;
  readonly right: CandidateKey;
  /** The least ratio for each number of clients. */
  readonly least: Readonly<Record<number, number>>;
}

const goals: readonly Goal[] = [
  { workload: 'select', candidate: 'gateway', right: 'pgbouncer', least: { 1: 0.95, 8: 1, 32: 1 } },
  { workload: 'select', candidate: 'gateway', right: 'pgpool-native', least: { 8: 2 } },
  { workload: 'update', candidate: 'gateway', right: 'limit', least: { 8: 0.75, 32: 0.75 } },
  { workload: 'update', candidate: 'gateway', right: 'pgpool-native', least: { 8: 1, 32: 1 } },
  { workload: 'update', candidate: 'gateway', right: 'pgpool-snapshot', least: { 8: 2, 32: 2 } },
  { workload: 'tpcb', candidate: 'gateways', right: 'pgpool-native', least: { 8: 2 } },
  { workload: 'tpcb', candidate: 'gateway', right: 'pgpool-native', least: { 8: 1.2 } },
  { workload: 'tpcb-extended', candidate: 'gateway', right: 'pgpool-native', least: { 8: 1.2 } },
  { workload: 'tpcb-prepared', candidate: 'gateway', right: 'pgpool-native', least: { 8: 1.2 } },
];

/** New texts beside prepared statements, both through the gateway. */
const newTextsLeast = 0.8;

const clientsText = (clients: number): string => (clients === 1 ? '1 client' : `${clients} clients`);

/** What belongs to the figure: the price of a read, the retries of a transaction over several gateways. */
function beside(samples: readonly Sample[], left: Place, right: Place): string {
  const [ours, theirs] = [left, right].map((place) => cellOf(samplesAt(samples, place)));
  const cpu = [ours?.cpuUs, theirs?.cpuUs];
  if (left.workload === 'select' && cpu.every((value) => value !== undefined))
    return `; CPU of the proxy ${cpu.map((value) => value?.toFixed(0)).join(' against ')} µs each`;
  if (left.candidate !== 'gateways') return '';
  return `; ${ours?.perSecond?.toFixed(0)} committed per second, ${ours?.retries} retries, ${ours?.failed} given up`;
}

function judgeGoal(samples: readonly Sample[], goal: Goal, clients: number, least: number): Judgement[] {
  const { workload, candidate, right } = goal;
  const places = [candidate, right].map((key) => ({ workload, clients, candidate: key }));
  const [ours, theirs] = places as [Place, Place];
  const value = ratio(samples, ours, theirs);
  const where = candidate === 'gateways' ? ' at each' : '';
  const what = `${workloadTitles[workload]}, ${clientsText(clients)}${where}: ${candidateTitles[candidate]}`;
  const aim = `${candidateTitles[right]} (aim: at least ${least})`;
  if (value !== undefined) {
    const text = `${what} ${value.toFixed(2)} × ${aim}${beside(samples, ours, theirs)}`;
    return [{ text, met: value >= least, strict: false }];
  }
  const speed = cellOf(samplesAt(samples, ours)).perSecond;
  if (speed === undefined || cellOf(samplesAt(samples, theirs)).hung === 0) return [];
  return [{ text: `${what} ${speed.toFixed(0)}/s, hung: ${aim}`, met: true, strict: false }];
}

function judgeNewTexts(samples: readonly Sample[], clients: number): Judgement[] {
  const of = (candidate: CandidateKey): number | undefined =>
    ratio(
      samples,
      { workload: 'select-new', clients, candidate },
      { workload: 'select', clients, candidate },
    );
  const value = of('gateway');
  if (value === undefined) return [];
  const direct = of('direct');
  const server = direct === undefined ? '' : `; at the server itself ${direct.toFixed(2)} ×`;
  const text =
    `${workloadTitles['select-new']}, ${clientsText(clients)}: gateway ${value.toFixed(2)} × prepared` +
    ` (aim: at least ${newTextsLeast})${server}`;
  return [{ text, met: value >= newTextsLeast, strict: false }];
}

/** The goals as far as these samples have measured them. */
export function judgeSpeeds(samples: readonly Sample[], clients: readonly number[]): Judgement[] {
  const speeds = goals.flatMap((goal) =>
    clients.flatMap((count) => {
      const least = goal.least[count];
      return least === undefined ? [] : judgeGoal(samples, goal, count, least);
    }),
  );
  return [...speeds, ...clients.flatMap((count) => judgeNewTexts(samples, count))];
}
