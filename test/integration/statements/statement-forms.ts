/**
 * The ways in which one statement reaches the server: simple and extended protocol, from a function and from DO, in a
 * savepoint that is kept and in one that is rolled back, as a user who is no superuser.
 * Rule: a form ends with its session outside of a transaction, whatever came of the statement.
 */
import type { Client } from 'pg';
import type { SqlFailure } from '../../support/cluster.ts';
import { within } from '../../support/polling.ts';

export type FormName = 'simple' | 'extended' | 'function' | 'DO' | 'savepoint' | 'rolled back' | 'user';

export interface Form {
  readonly name: FormName;
  /** For names that the whole cluster shares: {f}. */
  readonly letter: string;
  readonly user: string;
  /** An extension for this form alone; every user may create it. {ext} */
  readonly extension: string;
}

export const forms: readonly Form[] = [
  { name: 'simple', letter: 's', user: 'postgres', extension: 'pg_trgm' },
  { name: 'extended', letter: 'e', user: 'postgres', extension: 'citext' },
  { name: 'function', letter: 'f', user: 'postgres', extension: 'cube' },
  { name: 'DO', letter: 'd', user: 'postgres', extension: 'hstore' },
  { name: 'savepoint', letter: 'k', user: 'postgres', extension: 'ltree' },
  { name: 'rolled back', letter: 'r', user: 'postgres', extension: 'isn' },
  { name: 'user', letter: 'u', user: 'clerk', extension: 'seg' },
];

/** What is there once, before all groups. */
export const commonSetUp: readonly string[] = [
  'CREATE ROLE clerk LOGIN',
  'GRANT CREATE ON DATABASE app TO clerk',
  'CREATE FUNCTION public.run(command text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE command; END $$',
  'CREATE TABLE public.witness (name text PRIMARY KEY)',
];

/** undefined: it was done. */
export type Failure = Pick<SqlFailure, 'code' | 'message'> | undefined;

const longestMs = 30_000;
const isQuery = /^(?:select|table|values|with|show|explain|fetch|execute|prepare|begin)\b/iu;

export function fill(text: string, form: Form): string {
  return text.replaceAll('{f}', form.letter).replaceAll('{ext}', form.extension).replaceAll('{db}', 'app');
}

async function inSavepoint(client: Client, text: string): Promise<void> {
  await client.query('BEGIN');
  await client.query('SAVEPOINT before');
  await client.query(text);
  await client.query('RELEASE SAVEPOINT before');
  const { command } = await client.query('COMMIT');
  if (command === 'ROLLBACK') throw new Error('the transaction had failed, and no statement said so');
}

/** What comes behind the savepoint must not suffer; the statement's own error is told, as that of the form. */
async function rolledBack(client: Client, text: string, name: string): Promise<void> {
  await client.query('BEGIN');
  await client.query('SAVEPOINT before');
  const failure = await client.query(text).then(
    () => undefined,
    (error: unknown) => error,
  );
  await client.query('ROLLBACK TO SAVEPOINT before');
  await client.query('INSERT INTO public.witness VALUES ($1)', [name]);
  await client.query(`COMMENT ON TABLE public.witness IS ${client.escapeLiteral(name)}`);
  await client.query('COMMIT');
  if (failure !== undefined) throw failure;
}

async function inForm(client: Client, form: FormName, text: string, name: string): Promise<void> {
  switch (form) {
    case 'simple':
    case 'user':
      await client.query(text);
      return;
    case 'extended':
      await client.query({ text, queryMode: 'extended' } as { text: string });
      return;
    case 'function':
      await client.query('SELECT public.run($1)', [text]);
      return;
    case 'DO': {
      const body = isQuery.test(text) ? `EXECUTE $mtm_text$${text}$mtm_text$` : text;
      await client.query(`DO $mtm_do$ BEGIN ${body}; END $mtm_do$`);
      return;
    }
    case 'savepoint':
      return inSavepoint(client, text);
    case 'rolled back':
      return rolledBack(client, text, name);
  }
}

/** Runs a statement in a form; its error, if any. `name` is told to the witness. */
export async function runInForm(
  client: Client,
  form: FormName,
  text: string,
  name: string,
): Promise<Failure> {
  try {
    await within(`${form}: ${text}`, longestMs, inForm(client, form, text, name));
    return undefined;
  } catch (error) {
    const { code, message } = error as SqlFailure;
    if (code === undefined) throw error;
    await client.query('ROLLBACK');
    return { code, message };
  }
}
