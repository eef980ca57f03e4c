/**
 * `npm run sim -- [--seed N] [--runs K]`: runs seeds N, N+1, … and stops at the first that fails, with its
 * last events.
 */
import { parseArgs } from 'node:util';
import { optionsOfSeed } from './options.ts';
import { realMachine, runSeed } from './run.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    runs: { type: 'string', default: '1' },
    lines: { type: 'string', default: '80' },
    grep: { type: 'string' },
  },
});
const firstSeed = values.seed === undefined ? Math.floor(Math.random() * 1e9) : Number(values.seed);
const runs = Number(values.runs);

function story(seed: number): string[] {
  const lines: string[] = [];
  const trace = (at: number, who: string, text: string): void => {
    if (text.includes('kind:tick')) return;
    lines.push(`${at.toFixed(1).padStart(8)} ${who.padEnd(7)} ${text}`);
  };
  runSeed(optionsOfSeed(seed), { makeMachine: realMachine, trace });
  const shown = values.grep === undefined ? lines : lines.filter((line) => line.includes(values.grep!));
  return shown.slice(-Number(values.lines));
}

console.log(`seed ${firstSeed}, ${runs} runs`);
const began = performance.now();
const totals = { committed: 0, aborted: 0, unknown: 0, reads: 0, refusedReads: 0 };
for (let seed = firstSeed; seed < firstSeed + runs; seed += 1) {
  const { violation, cluster } = runSeed(optionsOfSeed(seed));
  for (const key of Object.keys(totals) as (keyof typeof totals)[])
    totals[key] += cluster.checker.counts[key];
  if (violation === undefined) continue;
  console.log(story(seed).join('\n'));
  console.log(JSON.stringify(optionsOfSeed(seed)));
  console.log(`seed ${seed} fails at ${cluster.scheduler.now.toFixed(1)} ms: ${violation.stack}`);
  process.exitCode = 1;
  break;
}
const seconds = (performance.now() - began) / 1000;
console.log(`${runs} runs in ${seconds.toFixed(1)} s (${(runs / seconds).toFixed(0)} seeds/s)`, totals);
