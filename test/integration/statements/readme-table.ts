/**
 * The outcomes as a table in test/README.md, between two marks. UPDATE_GOLDEN=1 writes it, otherwise it is compared.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { forms, type FormName } from './statement-forms.ts';
import type { Cell, Outcome } from './statement-matrix.ts';

const file = fileURLToPath(new URL('../../README.md', import.meta.url));
const begin = '<!-- statements: begin -->';
const end = '<!-- statements: end -->';

function word(outcome: Outcome | undefined): string {
  if (outcome === undefined) return '';
  switch (outcome.kind) {
    case 'same':
    case 'local':
      return outcome.kind;
    case 'refused':
      return `**${outcome.code}**`;
    case 'error':
      return outcome.code;
    case 'tolerated':
      return `${outcome.code}?`;
  }
}

/** One row for each statement, one column for each form; titles in the order of `titles`. */
export function renderTable(titles: readonly string[], cells: readonly Cell[]): string {
  const found = new Map<string, Map<FormName, Outcome>>();
  for (const { title, form, outcome } of cells) {
    if (!found.has(title)) found.set(title, new Map());
    found.get(title)!.set(form, outcome);
  }
  const names = forms.map(({ name }) => name);
  const rows = titles.map((title) => [
    title.replace(' | ', ': ').replaceAll('|', '\\|'),
    ...names.map((name) => word(found.get(title)?.get(name))),
  ]);
  const line = (columns: readonly string[]): string => `| ${columns.join(' | ')} |`;
  return [
    '<!-- prettier-ignore -->',
    line(['statement', ...names]),
    line(['---', ...names.map(() => '---')]),
    ...rows.map(line),
  ].join('\n');
}

/** How many cells came out in each way. */
export function renderCounts(cells: readonly Cell[]): string {
  const count = (kind: Outcome['kind']): number =>
    cells.filter(({ outcome }) => outcome.kind === kind).length;
  return (
    `${cells.length} cells: ${count('same')} the same on all nodes, ${count('local')} local, ` +
    `${count('error')} PostgreSQL's own error, ${count('refused')} refused.`
  );
}

function parts(): { before: string; table: string; after: string } {
  const text = readFileSync(file, 'utf8');
  const from = text.indexOf(begin);
  const to = text.indexOf(end);
  if (from < 0 || to < from) throw new Error(`test/README.md lacks ${begin} … ${end}`);
  return {
    before: text.slice(0, from + begin.length),
    table: text.slice(from + begin.length, to).trim(),
    after: text.slice(to),
  };
}

export function tableInReadme(): string {
  return parts().table;
}

export function writeTable(table: string): void {
  const { before, after } = parts();
  writeFileSync(file, `${before}\n\n${table}\n\n${after}`);
}
