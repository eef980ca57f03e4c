/**
 * Are the definitions and the sequences of all nodes the same? Part of a comparison (comparison-job.ts).
 * Rule: catalogs are read as they are now, on each node at another moment: what is different counts when it
 * is still different a moment later, in the same words.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { notEverywhere } from '../core/comparison/definition-lines.ts';
import type { NodeId } from '../core/identity.ts';
import type { DefinitionPage } from './comparison-hands.ts';
import type { ComparisonJob } from './comparison-job.ts';
import { RequestError } from './request-desk.ts';

const looks = 3;
const lookAgainMs = 700;
/** Texts that are asked for of each node. */
const mostTexts = 100;

/** `common`: the servers have different versions. */
export async function compareDefinitions(job: ComparisonJob, common: boolean): Promise<void> {
  await guarded(job, 'definitions', async () => {
    const stays = await lasting(() => digests(job, common));
    const shown = new Map<string, NodeId[]>();
    for (const [node, odd] of stays) {
      if (odd.length > mostTexts)
        job.tell({ kind: 'remark', text: `${odd.length} definitions of node ${node} are not everywhere` });
      const wanted = odd.slice(0, mostTexts);
      if (wanted.length === 0) continue;
      const texts = await job.ask<readonly string[]>(node, {
        what: 'definition-texts',
        common,
        digests: wanted,
      });
      for (const line of texts ?? []) shown.set(line, [...(shown.get(line) ?? []), node]);
    }
    for (const [line, nodes] of [...shown].toSorted(([a], [b]) => (a < b ? -1 : 1)))
      job.tell({ kind: 'definition', nodes, line });
  });
}

/** Each node has its own values of each sequence, and all know the same of it. */
export async function compareSequences(job: ComparisonJob): Promise<void> {
  await guarded(job, 'sequences', async () => {
    const stays = await lasting(() => sequences(job));
    const texts = new Map<string, NodeId[]>();
    for (const [node, lines] of stays)
      for (const line of lines) texts.set(line, [...(texts.get(line) ?? []), node]);
    for (const [line, nodes] of [...texts].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
      const where = `node${nodes.length > 1 ? 's' : ''} ${nodes.join(', ')}`;
      const wrong = /^wrong (.*)$/s.exec(line)?.[1];
      const text =
        wrong === undefined
          ? `only on ${where}: ${line}`
          : `sequence ${wrong} draws values that are not its own on ${where}; ` +
            'SELECT mtm.alter_sequences() mends it';
      job.tell({ kind: 'sequence', text });
    }
  });
}

async function guarded(job: ComparisonJob, what: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    job.notCompared(what, job.stopped ?? error.message.replace('[multimaster] ', ''));
  }
}

type Odd = Map<NodeId, string[]>;

/** What is odd in each of several looks. */
async function lasting(look: () => Promise<Odd>): Promise<Odd> {
  let stays = await look();
  for (let count = 1; count < looks && [...stays.values()].some((lines) => lines.length > 0); count++) {
    await pause(lookAgainMs);
    const now = await look();
    stays = new Map(
      [...stays].map(([node, lines]) => [
        node,
        lines.filter((line) => now.get(node)?.includes(line) === true),
      ]),
    );
  }
  return stays;
}

async function digests(job: ComparisonJob, common: boolean): Promise<Odd> {
  const lists = new Map<NodeId, readonly string[]>();
  const read = async (node: NodeId): Promise<void> => {
    const all: string[] = [];
    for (;;) {
      const page = await job.ask<DefinitionPage>(node, { what: 'definitions', common, from: all.length });
      if (page === undefined) return;
      all.push(...page.digests);
      if (page.digests.length === 0 || all.length >= page.total) break;
    }
    lists.set(node, all);
  };
  await Promise.all(job.alive.map(read));
  return notEverywhere(lists);
}

/** Lines that not all have, and sequences that are wrong, on however many nodes. */
async function sequences(job: ComparisonJob): Promise<Odd> {
  const all = await job.askAll<readonly string[]>({ what: 'sequences' });
  const states = (lines: readonly string[], wrong: boolean): string[] =>
    lines.filter((line) => line.startsWith('wrong ') === wrong && !line.startsWith('right '));
  const odd = notEverywhere(new Map([...all].map(([node, lines]) => [node, states(lines, false)])));
  return new Map([...all].map(([node, lines]) => [node, [...(odd.get(node) ?? []), ...states(lines, true)]]));
}
