/**
 * The statements of the matrix, read from table/*.sql: `--#` begins a case (command, then what is special about it),
 * `--+` sets up as the user of the form, `--!` as a superuser, `--@` says more; `{f}` is the letter of the form.
 * Rule: set-ups of a file run before its first case, so no case may need the effect of another one's set-up undone.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export interface SetUp {
  readonly asSuperuser: boolean;
  readonly text: string;
  /** The first version for which it is needed; undefined: it is for all cases. */
  readonly since: number | undefined;
}

export interface StatementCase {
  /** As the manual names it: ALTER TABLE. */
  readonly command: string;
  /** Which form of the command; empty: there is only one. */
  readonly variant: string;
  readonly text: string;
  /** The first version that knows it. */
  readonly since: number;
  /** Run in the session just before, and after it whatever came of it. */
  readonly prepare: readonly string[];
  readonly afterwards: readonly string[];
}

export interface StatementGroup {
  readonly name: string;
  readonly setUp: readonly SetUp[];
  readonly cases: readonly StatementCase[];
}

const folder = fileURLToPath(new URL('table/', import.meta.url));

interface Draft {
  command: string;
  variant: string;
  lines: string[];
  since: number;
  prepare: string[];
  afterwards: string[];
}

function directive(draft: Draft, text: string): void {
  const [word = '', ...rest] = text.split(' ');
  const value = rest.join(' ');
  if (word === 'since')
    draft.since = Number(value); // before the set-ups of the case
  else if (word === 'prepare') draft.prepare.push(value);
  else if (word === 'afterwards') draft.afterwards.push(value);
  else throw new Error(`--@ ${text}: nobody knows what that means`);
}

function newDraft(title: string): Draft {
  const [command = '', variant = ''] = title.split(' | ');
  return { command: command.trim(), variant, lines: [], since: 15, prepare: [], afterwards: [] };
}

function readGroup(file: string): StatementGroup {
  const setUp: SetUp[] = [];
  const drafts: Draft[] = [];
  for (const line of readFileSync(`${folder}${file}`, 'utf8').split('\n')) {
    const draft = drafts.at(-1);
    const mark = line.slice(0, 3);
    const rest = line.slice(3).trim();
    if (mark === '--#') drafts.push(newDraft(rest));
    else if (mark === '--+' || mark === '--!')
      setUp.push({ asSuperuser: mark === '--!', text: rest, since: draft?.since });
    else if (draft === undefined && line !== '') throw new Error(`${file}: ${line}: before any case`);
    else if (mark === '--@') directive(draft!, rest);
    else if (line !== '') draft!.lines.push(line);
  }
  const cases = drafts.map(({ lines, ...draft }) => ({ ...draft, text: lines.join('\n') }));
  const empty = cases.find((one) => one.text === '');
  if (empty !== undefined) throw new Error(`${file}: ${empty.command} has no text`);
  return { name: file.replace(/^\d+-|\.sql$/g, ''), setUp, cases };
}

export function readGroups(): StatementGroup[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith('.sql'))
    .sort()
    .map(readGroup);
}

export function titleOf(one: StatementCase): string {
  return one.variant === '' ? one.command : `${one.command} | ${one.variant}`;
}
