/**
 * Runs the statements of a group in one form, on the cluster and on a server of its own without a gateway, and tells what
 * came of each: the same on all nodes, on this node alone, an error that PostgreSQL itself has, or a refusal of ours.
 * Rule: nothing is taken for the same because it succeeded: the other node must have executed a transaction, and the caller
 * compares the nodes after each group.
 */
import type { Client } from 'pg';
import type { Cluster } from '../../support/cluster.ts';
import { titleOf, type StatementCase, type StatementGroup } from './statement-cases.ts';
import { fill, runInForm, type Failure, type Form } from './statement-forms.ts';

export type Outcome =
  | { readonly kind: 'same' | 'local' }
  /** PostgreSQL's own error. */
  | { readonly kind: 'error'; readonly code: string; readonly message: string }
  /** Stock PostgreSQL does it, or says something else. */
  | { readonly kind: 'refused'; readonly code: string; readonly message: string }
  /** Done here, an error with stock PostgreSQL. */
  | { readonly kind: 'tolerated'; readonly code: string; readonly message: string };

export interface Cell {
  readonly title: string;
  readonly form: Form['name'];
  readonly outcome: Outcome;
}

interface Place {
  readonly superuser: Client;
  readonly client: Client;
}

async function openPlace(open: (user: string) => Promise<Client>, form: Form): Promise<Place> {
  const superuser = await open('postgres');
  await superuser.query(`CREATE SCHEMA IF NOT EXISTS m_${form.letter}`);
  await superuser.query(`ALTER SCHEMA m_${form.letter} OWNER TO ${form.user}`);
  const client = form.user === 'postgres' ? superuser : await open(form.user);
  for (const one of new Set([superuser, client])) {
    await one.query(`SET search_path = m_${form.letter}, public`);
    await one.query('SET client_min_messages = error');
  }
  return { superuser, client };
}

/** Neighbours of one user are one transaction. */
async function setUp(place: Place, group: StatementGroup, form: Form): Promise<void> {
  let open: Client | undefined;
  for (const one of group.setUp) {
    const client = one.asSuperuser ? place.superuser : place.client;
    const text = fill(one.text, form);
    try {
      if (open !== client) {
        await open?.query('COMMIT');
        await client.query('BEGIN');
        open = client;
      }
      await client.query(text);
    } catch (error) {
      throw new Error(`set-up of ${group.name} as ${form.name}: ${text}`, { cause: error });
    }
  }
  await open?.query('COMMIT');
}

async function runCase(place: Place, one: StatementCase, form: Form): Promise<Failure> {
  const { client } = place;
  for (const text of one.prepare) await client.query(fill(text, form));
  const failure = await runInForm(client, form.name, fill(one.text, form), titleOf(one));
  for (const text of one.afterwards) await client.query(fill(text, form));
  return failure;
}

/** How far the apply connections of that server have come: it moves with each transaction that they prepare. */
async function applied(watcher: Client): Promise<string> {
  const { rows } = await watcher.query<{ n: string }>(
    `SELECT coalesce(sum(local_lsn - '0/0'), 0)::text AS n FROM pg_replication_origin_status`,
  );
  return rows[0]!.n;
}

function outcomeOf(here: Failure, stock: Failure, travelled: boolean): Outcome {
  if (here === undefined && stock !== undefined) return { kind: 'tolerated', ...stock };
  if (here === undefined) return { kind: travelled ? 'same' : 'local' };
  const isOwn = stock !== undefined && stock.code === here.code && !here.message.startsWith('[multimaster]');
  return { kind: isOwn ? 'error' : 'refused', ...here };
}

export interface Matrix {
  readonly cluster: Cluster;
  /** Sessions with a stock server of the highest version of the cluster. */
  readonly stock: (user: string) => Promise<Client>;
}

/** `majors`: statements that are known from one of these versions on. */
export interface Selection {
  readonly form: Form;
  /** The node whose client runs them. */
  readonly node: number;
  readonly majors: readonly number[];
}

function chosen(group: StatementGroup, majors: readonly number[]): StatementGroup {
  return {
    name: group.name,
    setUp: group.setUp.filter(({ since }) => since === undefined || majors.includes(since)),
    cases: group.cases.filter(({ since }) => majors.includes(since)),
  };
}

/** Runs the statements of a group one after the other; every session ends with it. */
export async function runGroup(matrix: Matrix, whole: StatementGroup, selection: Selection): Promise<Cell[]> {
  const { cluster } = matrix;
  const { form, node } = selection;
  const group = chosen(whole, selection.majors);
  const here = await openPlace((user) => cluster.client(node, { user }), form);
  const there = await openPlace(matrix.stock, form);
  const watcher = await cluster.direct(node === 1 ? 2 : 1);
  const opened = new Set([here.superuser, here.client, there.superuser, there.client, watcher]);
  const cells: Cell[] = [];
  try {
    await setUp(here, group, form);
    await setUp(there, group, form);
    for (const one of group.cases) {
      const before = await applied(watcher);
      const failure = await runCase(here, one, form);
      const travelled = (await applied(watcher)) !== before;
      const refused = failure?.message.startsWith('[multimaster]') === true;
      const stock = refused ? failure : await runCase(there, one, form);
      cells.push({ title: titleOf(one), form: form.name, outcome: outcomeOf(failure, stock, travelled) });
    }
  } finally {
    await Promise.all([...opened].map((client) => client.end()));
  }
  return cells;
}
