/**
 * The summary of a run, for people; and whether it is as recorded.
 */
import { knownDifferences, recorded, type Entry } from './records.ts';
import type { SuiteName } from './suite.ts';

export interface FileReport {
  readonly name: string;
  /** It took too long through the gateway and was ended. */
  readonly ended: boolean;
  readonly difference: string;
  readonly describes: boolean;
}

export interface Outcome {
  readonly suite: SuiteName;
  readonly spread: boolean;
  readonly files: readonly FileReport[];
  readonly complete: boolean;
  /** Where the nodes differ afterwards. */
  readonly unequal: readonly string[];
}

const titles: Readonly<Record<Entry['by'], string>> = {
  design: 'by a documented rule',
  gap: 'because it is not built',
  server: "by PostgreSQL's own doing",
};

interface Judged {
  readonly name: string;
  readonly entry: Entry | undefined;
  /** What is wrong with it; undefined: it is as recorded. */
  readonly problem: string | undefined;
}

function judge(outcome: Outcome, { name, difference }: FileReport): Judged {
  const known = knownDifferences();
  const entry = known[outcome.suite][name];
  if (entry === undefined) {
    const explained = outcome.spread && known.spread.includes(name);
    return { name, entry, problem: explained ? undefined : 'is not in differences.yaml' };
  }
  // With spread sequences the lines are others; the reason must still be there.
  if (entry.varies === true || outcome.spread || difference === recorded(outcome.suite, name)) {
    return { name, entry, problem: undefined };
  }
  return { name, entry, problem: `differs otherwise than ${outcome.suite}/${name}.diff says` };
}

function differing(outcome: Outcome): Judged[] {
  return outcome.files.filter(({ difference }) => difference !== '').map((file) => judge(outcome, file));
}

export function isAsRecorded(outcome: Outcome): boolean {
  return (
    outcome.complete &&
    outcome.unequal.length === 0 &&
    differing(outcome).every(({ problem }) => problem === undefined)
  );
}

export function formatReport(outcome: Outcome): string {
  const judged = differing(outcome);
  const described = outcome.files.filter(
    ({ describes, difference }) => describes && difference === '',
  ).length;
  const lines = [
    `${outcome.files.length} files: ${outcome.files.length - judged.length} print the same as on one server`,
    `(${described} of them but for what \\d says of the publication and the replica identity), ${judged.length} differ`,
  ];
  for (const by of ['design', 'gap', 'server'] as const) {
    const group = judged.filter(({ entry }) => entry?.by === by);
    if (group.length > 0) lines.push('', `${group.length} ${titles[by]}:`);
    for (const { name, entry } of group) lines.push(`  ${name}: ${entry?.reason ?? ''}`);
  }
  const spread = judged.filter(({ entry, problem }) => entry === undefined && problem === undefined);
  if (spread.length > 0) lines.push('', `${spread.length} by the values of sequences: ${names(spread)}`);
  const ended = outcome.files.filter((file) => file.ended);
  if (ended.length > 0) lines.push('', `${ended.length} ended at the limit: ${names(ended)}`);
  const problems = judged.filter(({ problem }) => problem !== undefined);
  if (problems.length > 0) lines.push('', `${problems.length} not as recorded:`);
  for (const { name, problem } of problems) lines.push(`  ${name} ${problem ?? ''}`);
  if (!outcome.complete) lines.push('', 'The run did not end by itself.');
  lines.push('', outcome.unequal.length === 0 ? 'The nodes are equal.' : 'The nodes differ:');
  lines.push(...outcome.unequal.slice(0, 100).map((line) => `  ${line}`));
  return `${lines.join('\n')}\n`;
}

function names(files: readonly { readonly name: string }[]): string {
  return files.map(({ name }) => name).join(' ');
}
