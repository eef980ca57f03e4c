/**
 * Which rows of a table are not the same on all nodes, and in which columns: part of a comparison
 * (comparison-job.ts), inside the same snapshots. The search itself is core/comparison/row-search.ts.
 */
import type { NodeId } from '../core/identity.ts';
import { versionsOf } from '../core/comparison/news.ts';
import { shownName, type ComparedTable } from '../core/comparison/relation.ts';
import { searchRows, type Found, type FoundKey } from '../core/comparison/row-search.ts';
import type { Texts } from './comparison-hands.ts';
import type { ComparisonJob } from './comparison-job.ts';

/** An answer of another gateway is no longer than 1 MB. */
const answerBytes = 700_000;
const digestBytes = 36;

export interface FoundRows extends Found {
  /** In the order of their sums. */
  readonly nodes: readonly NodeId[];
}

/** Up to `most` keys whose rows differ; undefined: a node was lost meanwhile. */
export async function findRows(
  job: ComparisonJob,
  table: ComparedTable,
  most: number,
): Promise<FoundRows | undefined> {
  const nodes = job.alive;
  const search = searchRows(most);
  for (let step = search.next(); ;) {
    if (step.done === true) return { ...step.value, nodes };
    const answers = await job.askAll<Texts>({ what: 'search', table, question: step.value });
    if (!nodes.every((node) => answers.has(node))) return undefined;
    step = search.next(nodes.map((node) => answers.get(node)!));
  }
}

export async function tellRows(job: ComparisonJob, table: ComparedTable): Promise<void> {
  const name = shownName(table);
  const keyed = table.key.length > 0;
  const found = await findRows(job, table, job.details);
  if (found === undefined)
    return job.notCompared(`the rows of ${name} one by one`, 'a node was lost meanwhile');
  const columns = keyed ? await differentColumns(job, table, found.keys) : new Map<string, string[]>();
  for (const key of found.keys)
    job.tell({
      kind: 'row',
      table: name,
      key: JSON.parse(key.key) as (string | null)[],
      keyed,
      versions: versionsOf(key, found.nodes),
      columns: columns.get(key.hash) ?? [],
    });
  if (found.more) job.tell({ kind: 'more-rows', table: name });
}

/** Of keys with one row on at least two nodes: in which columns these differ. */
async function differentColumns(
  job: ComparisonJob,
  table: ComparedTable,
  keys: readonly FoundKey[],
): Promise<Map<string, string[]>> {
  const hashes = keys
    .filter(({ sums }) => sums.filter(({ rows }) => rows > 0n).length > 1)
    .map(({ hash }) => hash);
  const columns = new Map<string, string[]>();
  if (hashes.length === 0) return columns;
  const rows = new Map<string, (readonly string[])[]>();
  const atOnce = Math.max(1, Math.floor(answerBytes / (digestBytes * (table.columns.length + 1))));
  for (let from = 0; from < hashes.length; from += atOnce) {
    const wanted = hashes.slice(from, from + atOnce);
    const answers = await job.askAll<Texts>({ what: 'digests', table, hashes: wanted });
    for (const [hash, digests] of [...answers.values()].flat())
      rows.set(hash!, [...(rows.get(hash!) ?? []), digests!.slice(1, -1).split(',')]);
  }
  // An array of digests as the server prints it has no quotes.
  for (const [hash, lists] of rows) {
    const different = table.columns.filter((_, at) => lists.some((list) => list[at] !== lists[0]![at]));
    columns.set(
      hash,
      different.map(({ name }) => name),
    );
  }
  return columns;
}
