/**
 * `npm run sim -- [--seed N] [--runs K]`: runs seeds N, N+1, … and stops at the first that fails, with its
 * last events (--lines, --grep). --keep-going names all that fail. --referee: two nodes and a referee.
 * --membership: nodes come and go. --open: much is held open at its origin,
 * also together with one of these. --pairs: two gateways die at about the same time.
 */
import { parseArgs } from 'node:util';
import { optionsOfSeed, optionsWithMembership, optionsWithOpen, optionsWithReferee } from './options.ts';
import type { RunOptions } from './options.ts';
import { optionsInPairs, runPairs } from './pairs.ts';
import { realMachine, runSeed, type Cluster } from './run.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    runs: { type: 'string', default: '1' },
    lines: { type: 'string', default: '80' },
    grep: { type: 'string' },
    'keep-going': { type: 'boolean', default: false },
    referee: { type: 'boolean', default: false },
    membership: { type: 'boolean', default: false },
    open: { type: 'boolean', default: false },
    pairs: { type: 'boolean', default: false },
  },
});
const firstSeed = values.seed === undefined ? Math.floor(Math.random() * 1e9) : Number(values.seed);
const runs = Number(values.runs);
const run = values.pairs ? runPairs : runSeed;
const baseOf = values.pairs
  ? optionsInPairs
  : values.referee
    ? optionsWithReferee
    : values.membership
      ? optionsWithMembership
      : optionsOfSeed;
const alone = !values.referee && !values.membership && !values.pairs;
const optionsOf = (seed: number): RunOptions => {
  if (!values.open) return baseOf(seed);
  return alone ? optionsWithOpen(seed) : { ...baseOf(seed), openShare: 0.5 };
};

function story(seed: number): string[] {
  const lines: string[] = [];
  const trace = (at: number, who: string, text: string): void => {
    if (['kind:tick', 'kind:heartbeat', 'kind:floor-raised'].some((kind) => text.includes(kind))) return;
    lines.push(`${at.toFixed(1).padStart(8)} ${who.padEnd(7)} ${text}`);
  };
  run(optionsOf(seed), { makeMachine: realMachine, trace });
  const shown = values.grep === undefined ? lines : lines.filter((line) => line.includes(values.grep!));
  const wanted = Number(values.lines);
  return wanted === 0 ? [] : shown.slice(-wanted);
}

console.log(`seed ${firstSeed}, ${runs} runs`);
const began = performance.now();
const totals: Cluster['checker']['counts'] = {
  committed: 0,
  aborted: 0,
  unknown: 0,
  reads: 0,
  refusedReads: 0,
  generations: 0,
  recovered: 0,
};
const changes = { added: 0, admitted: 0, dropped: 0 };
for (let seed = firstSeed; seed < firstSeed + runs; seed += 1) {
  const { violation, cluster } = run(optionsOf(seed));
  for (const key of Object.keys(totals) as (keyof typeof totals)[])
    totals[key] += cluster.checker.counts[key];
  for (const key of Object.keys(changes) as (keyof typeof changes)[])
    changes[key] += cluster.checker.chain.counts[key];
  if (violation === undefined) continue;
  process.exitCode = 1;
  if (values['keep-going']) {
    console.log(`seed ${seed}: ${violation.message.slice(0, 300)}`);
    continue;
  }
  console.log(story(seed).join('\n'));
  console.log(JSON.stringify(optionsOf(seed)));
  console.log(`seed ${seed} fails at ${cluster.scheduler.now.toFixed(1)} ms: ${violation.stack}`);
  break;
}
const seconds = (performance.now() - began) / 1000;
console.log(`${runs} runs in ${seconds.toFixed(1)} s (${(runs / seconds).toFixed(1)} seeds/s)`, {
  ...totals,
  ...changes,
});
