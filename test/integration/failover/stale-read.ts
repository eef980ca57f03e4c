/**
 * A node that stands still while the others go on must not show what was. Questions are put to it before and after the
 * others have acknowledged a newer value; whatever it answers when it runs again, it is not the old value.
 */
import type { Client } from 'pg';
import { eventually, within } from '../../support/polling.ts';
import { ask, connect, hangUp, type Site } from './site.ts';

const sessionsOfAKind = 4;
const question = 'SELECT value FROM register WHERE id = 1';

export async function createRegister(site: Site): Promise<void> {
  await ask(site, 1, 'gateway', 'CREATE TABLE register (id int PRIMARY KEY, value int NOT NULL)');
  await ask(site, 1, 'gateway', 'INSERT INTO register VALUES (1, 0)');
}

interface Answer {
  /** Undefined: it was refused. */
  readonly value: number | undefined;
  readonly code: string;
}

async function answerOf(client: Client): Promise<Answer> {
  try {
    const { rows } = await client.query<{ value: number }>(question);
    return { value: rows[0]?.value, code: '' };
  } catch (error) {
    return { value: undefined, code: (error as { code?: string }).code ?? 'lost' };
  }
}

/** Idle ones, ones in a READ COMMITTED transaction that has read already, and prepared-statement ones. */
async function sessions(site: Site, number: number): Promise<Client[]> {
  const open: Client[] = [];
  for (let count = 0; count < sessionsOfAKind; count++) {
    open.push(await connect(site, number, 'gateway'));
    const inTransaction = await connect(site, number, 'gateway');
    await inTransaction.query('BEGIN');
    await inTransaction.query(question);
    open.push(inTransaction);
  }
  return open;
}

export interface StaleReads {
  readonly old: number;
  readonly answers: readonly Answer[];
  /** Answers with the value that the others had replaced before. */
  readonly stale: readonly Answer[];
}

/**
 * `still` stops node `number`, `run` lets it go on. The others must acknowledge a write meanwhile.
 */
export async function staleReads(
  site: Site,
  number: number,
  still: () => void,
  run: () => void,
): Promise<StaleReads> {
  const writer = site.numbers.find((other) => other !== number) ?? 1;
  const [known] = await ask<{ value: number }>(site, number, 'gateway', question);
  const old = known?.value ?? Number.NaN;
  const early = await sessions(site, number);
  const late = await sessions(site, number);
  try {
    still();
    const answers = early.map(answerOf);
    await eventually(
      'the others acknowledge a write',
      async () => {
        try {
          await ask(site, writer, 'gateway', 'UPDATE register SET value = $1 WHERE id = 1', [old + 1]);
          return true;
        } catch {
          return false;
        }
      },
      20_000,
    );
    answers.push(...late.map(answerOf));
    run();
    const told = await within('the answers', 60_000, Promise.all(answers));
    return { old, answers: told, stale: told.filter(({ value }) => value === old) };
  } finally {
    run();
    for (const client of [...early, ...late]) hangUp(client);
  }
}
