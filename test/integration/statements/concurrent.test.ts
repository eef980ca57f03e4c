/**
 * DDL from several nodes at once, against each other and against rows: each ends in success or in an error that says to try
 * again, within a bound; afterwards all nodes hold the same. What holds it up, and a node that is gone: cluster/ddl-together.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { startCluster, type Cluster } from '../../support/cluster.ts';
import { equalEverywhere, noPrepared } from '../../support/convergence.ts';
import { within } from '../../support/polling.ts';

/** No statement may take longer, however loaded the machine is. */
const boundMs = 30_000;

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ majors: [15, 18, 18] });
});

afterEach(async () => {
  await noPrepared(cluster);
  await equalEverywhere(cluster);
});

afterAll(async () => {
  await cluster?.stop();
});

/** `done`, or the SQLSTATE. */
type End = string;

async function run(number: number, text: string): Promise<End> {
  const client = await cluster.client(number);
  try {
    await within(`${text} on node ${number}`, boundMs, client.query(text));
    return 'done';
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === undefined) throw error;
    return code;
  } finally {
    await client.end();
  }
}

/** The same statement, or one each, on all nodes at once. */
function atOnce(texts: readonly string[]): Promise<End[]> {
  return Promise.all(texts.map((text, index) => run(index + 1, text)));
}

/** Each loser may try again: by then it must come to an end that stands. */
function retryable(end: End): boolean {
  return end === '40001' || end === '40P01';
}

describe('against each other', () => {
  test('the same table on all nodes: one makes it, the others are told', async () => {
    for (let round = 0; round < 3; round++) {
      const text = `CREATE TABLE twin_${round} (id int PRIMARY KEY)`;
      const ends = await atOnce([text, text, text]);
      expect(ends.filter((end) => end === 'done').length).toBeLessThanOrEqual(1);
      // 42P07: it exists. That two make it at once shows in nothing else.
      for (const end of ends) expect(end).toMatch(/^(done|40001|40P01|42P07)$/);
      if (!ends.includes('done')) expect(await run(1, text)).toMatch(/^(done|42P07)$/);
    }
  });

  test('different tables on all nodes', async () => {
    const ends = await atOnce(
      [1, 2, 3].map((n) => `CREATE TABLE own_${n} (id serial PRIMARY KEY, t text UNIQUE)`),
    );
    for (const [index, end] of ends.entries()) {
      if (retryable(end)) expect(await run(index + 1, `CREATE TABLE own_${index + 1} (id int)`)).toBe('done');
      else expect(end).toBe('done');
    }
  });

  test('ALTER against ALTER of one table', async () => {
    await run(1, 'CREATE TABLE altered (id int PRIMARY KEY, a int)');
    const texts = [1, 2, 3].map((n) => `ALTER TABLE altered ADD COLUMN from_${n} int`);
    const ends = await atOnce(texts);
    for (const [index, end] of ends.entries()) {
      if (end === 'done') continue;
      expect(retryable(end), end).toBe(true);
      expect(await run(index + 1, texts[index]!)).toBe('done');
    }
    const columns = await cluster.onAllServers(
      `SELECT attname::text FROM pg_attribute WHERE attrelid = 'altered'::regclass AND attname LIKE 'from%' ORDER BY 1`,
    );
    expect(columns[0]).toHaveLength(3);
    expect(new Set(columns.map((one) => JSON.stringify(one))).size).toBe(1);
  });

  test('DROP against ALTER, CREATE OR REPLACE of one function, roles and grants', async () => {
    await run(1, 'CREATE TABLE dropped (id int PRIMARY KEY)');
    const ends = await atOnce([
      'DROP TABLE dropped',
      'ALTER TABLE dropped ADD COLUMN a int',
      'DROP TABLE dropped',
    ]);
    for (const end of ends) expect(end).toMatch(/^(done|40001|40P01|42P01)$/);
    const functions = [1, 2, 3].map(
      (n) => `CREATE OR REPLACE FUNCTION replaced() RETURNS int LANGUAGE sql AS 'SELECT ${n}'`,
    );
    // Where PostgreSQL itself says "tuple concurrently updated" the gateway repeats.
    expect(await atOnce(functions)).toEqual(['done', 'done', 'done']);
    const grants = [1, 2, 3].map((n) => `CREATE ROLE rival_${n}; GRANT rival_${n} TO postgres`);
    for (const end of await atOnce(grants)) expect(end).toMatch(/^(done|40001|40P01)$/);
  });
});

describe('against rows', () => {
  test('ALTER TABLE and CREATE INDEX while all nodes write', async () => {
    await run(1, 'CREATE TABLE busy (id int PRIMARY KEY, v int DEFAULT 0)');
    let stop = false;
    let written = 0;
    const writer = async (number: number): Promise<Set<End>> => {
      const client = await cluster.client(number);
      const codes = new Set<End>();
      for (let i = 0; !stop; i++) {
        try {
          await client.query('INSERT INTO busy (id) VALUES ($1)', [number * 1_000_000 + i]);
          written++;
        } catch (error) {
          codes.add((error as { code: string }).code);
        }
      }
      await client.end();
      return codes;
    };
    const writers = [1, 2, 3].map(writer);
    const commands = [
      'ALTER TABLE busy ADD COLUMN note text',
      'CREATE INDEX busy_v ON busy (v)',
      `ALTER TABLE busy ALTER COLUMN v SET DEFAULT 5`,
      'DROP INDEX busy_v',
      'ALTER TABLE busy ALTER COLUMN v TYPE bigint',
    ];
    const before = written;
    for (const [index, text] of commands.entries()) {
      let end = await run(1 + (index % 3), text);
      for (let again = 0; retryable(end) && again < 20; again++) end = await run(1 + (index % 3), text);
      expect(`${text}: ${end}`).toBe(`${text}: done`);
    }
    stop = true;
    const codes = new Set((await Promise.all(writers)).flatMap((set) => [...set]));
    for (const code of codes) expect(code).toMatch(/^(40001|40P01)$/);
    expect(written).toBeGreaterThan(before);
  });
});
