/**
 * Cancel requests: at the right gateway and at the others, in every state of a session, with keys of both protocols. What
 * they end is what runs then, and never the next statement; what a client is told of a commit is what happened.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Prng } from '../../../src/lib/prng.ts';
import { startCluster, type Cluster } from '../../support/cluster.ts';
import { equalRows, noPrepared } from '../../support/convergence.ts';
import { b, e, p, q, s, x } from '../../support/frontend-messages.ts';
import { eventually } from '../../support/polling.ts';
import { WireClient } from './wire-client.ts';

let cluster: Cluster;
const open: WireClient[] = [];

beforeAll(async () => {
  cluster = await startCluster({ majors: [18, 15, 18] });
  await cluster.query(1, 'CREATE TABLE t (id int PRIMARY KEY, v int)');
  await cluster.query(1, 'CREATE TABLE slow (id int PRIMARY KEY)');
  await cluster.query(
    1,
    `CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(20); RETURN NULL; END $$`,
  );
  await cluster.query(
    1,
    'CREATE CONSTRAINT TRIGGER late AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sleep()',
  );
});

beforeEach(async () => {
  for (const each of open.splice(0)) each.end();
  await noPrepared(cluster);
  await cluster.query(1, 'TRUNCATE t, slow');
  await cluster.query(1, 'INSERT INTO t VALUES (1, 0)');
});

afterAll(async () => {
  for (const each of open.splice(0)) each.end();
  await cluster?.stop();
});

async function client(number: number, minor = 0): Promise<WireClient> {
  const one = await WireClient.open(port(number), {}, minor);
  open.push(one);
  return one;
}

const port = (number: number): number => cluster.node(number).gatewayPort;

/** What comes until ReadyForQuery, `count` times. */
async function said(one: WireClient, send: Uint8Array[], count = 1): Promise<string[]> {
  const from = one.lines.length;
  await one.step({ send, count });
  return one.lines.slice(from);
}

const codes = (lines: readonly string[]): string[] =>
  lines.flatMap((line) => /^errorResponse .* C=(\w{5})/.exec(line)?.[1] ?? []);

async function runs(number: number, what: string, wait?: string): Promise<void> {
  const asleep = wait === undefined ? '' : ` AND wait_event_type = '${wait}'`;
  const text = `SELECT FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%${what}%' AND pid <> pg_backend_pid()${asleep}`;
  await eventually(`${what} runs`, async () => (await cluster.directly(number, text)).length > 0);
}

describe.each([
  [1, 'the right gateway'],
  [2, 'another gateway'],
])('sent to gateway %i, %s', (at) => {
  test.each([
    [0, 4],
    [2, 32],
  ])('protocol 3.%i, a key of %i bytes', async (minor, bytes) => {
    const one = await client(1, minor);
    expect(one.keyBytes).toBe(bytes);
    const answer = said(one, [q('SELECT pg_sleep(60)')]);
    await runs(1, 'pg_sleep(60)', 'Timeout');
    await one.cancel(port(at));
    expect(codes(await answer)).toEqual(['57014']);
    expect(await said(one, [q('SELECT 1')])).toHaveLength(4);
  });

  test('what waits for a lock, and a definition that does', async () => {
    const holder = await cluster.client(1);
    await holder.query('BEGIN');
    await holder.query('SELECT FROM t FOR UPDATE');
    for (const text of ['UPDATE t SET v = 1', 'ALTER TABLE t ADD COLUMN w int']) {
      const one = await client(1);
      const answer = said(one, [q(text)]);
      await runs(1, text, 'Lock');
      await one.cancel(port(at));
      expect(codes(await answer)).toEqual(['57014']);
    }
    await holder.query('ROLLBACK');
    await holder.end();
  });

  test('one group of a pipeline, not the others', async () => {
    const one = await client(1);
    const answer = said(one, [x('SELECT pg_sleep(60)'), s(), x('INSERT INTO t VALUES (2, 2)'), s()], 2);
    await runs(1, 'pg_sleep(60)', 'Timeout');
    await one.cancel(port(at));
    const lines = await answer;
    expect(codes(lines)).toEqual(['57014']);
    expect(lines.some((line) => line.startsWith('commandComplete INSERT 0 1'))).toBe(true);
  });

  test('the end of a transaction that works in its deferred triggers', async () => {
    const one = await client(1);
    await said(one, [q('BEGIN; INSERT INTO slow VALUES (1)')]);
    const answer = said(one, [q('COMMIT')]);
    await runs(1, 'PREPARE TRANSACTION', 'Timeout');
    await one.cancel(port(at));
    expect(codes(await answer)).toEqual(['57014']);
    expect(await cluster.onAllServers('SELECT id FROM slow')).toEqual([[], [], []]);
    expect(await said(one, [q('SELECT 1')])).toHaveLength(4);
  });

  test('a commit that waits for another node: it is taken back there, too', async () => {
    const holder = await cluster.direct(3, { application_name: 'mtm_admin' });
    await holder.query('BEGIN READ WRITE');
    await holder.query('SELECT FROM t FOR UPDATE');
    const one = await client(1);
    const answer = said(one, [q('UPDATE t SET v = 7')]);
    await eventually('it is prepared at home', async () => {
      return (await cluster.directly(1, 'SELECT FROM pg_prepared_xacts')).length > 0;
    });
    await one.cancel(port(at));
    expect(codes(await answer)).toEqual(['57014']);
    await holder.query('ROLLBACK');
    await holder.end();
    await noPrepared(cluster);
    expect(await cluster.onAllServers('SELECT v FROM t')).toEqual([[{ v: 0 }], [{ v: 0 }], [{ v: 0 }]]);
  });
});

test('with a wrong key nothing happens, whoever is asked', async () => {
  const one = await client(1);
  const other = await client(1);
  const answer = said(one, [q('SELECT pg_sleep(4)')]);
  await runs(1, 'pg_sleep(4)', 'Timeout');
  await Promise.all(cluster.numbers.map((number) => other.cancel(port(number))));
  await Promise.all(cluster.numbers.map((number) => one.cancel(port(number), true)));
  expect(codes(await answer)).toEqual([]);
});

/**
 * Each round sends a request so that it comes at any moment of a statement, or just behind it. When its connection is
 * closed, nothing of it may be left.
 */
describe('requests that come too late', () => {
  const rounds = Number(process.env['MTM_CANCEL_ROUNDS'] ?? 40);

  test.each([
    ['a read', () => [x('SELECT count(*) FROM t'), s()]],
    ['a write', () => [q('UPDATE t SET v = v + 1')]],
    ['a pipeline', () => [p('UPDATE t SET v = v + 1'), b(), e(), s()]],
  ])('behind %s never hit what comes next', async (_, statement) => {
    const random = new Prng(1);
    const ended = { cancelled: 0, done: 0 };
    const one = await client(1);
    for (let round = 0; round < rounds; round++) {
      const answer = said(one, statement());
      await pause(random.below(4));
      const asked = one.cancel(port(1 + random.below(2)));
      if (codes(await answer).length > 0) ended.cancelled++;
      else ended.done++;
      await asked;
      expect(codes(await said(one, [q('SELECT pg_sleep(0.001)')]))).toEqual([]);
      expect(codes(await said(one, [q(`INSERT INTO t VALUES (${round + 10}, 0)`)]))).toEqual([]);
    }
    expect(ended.cancelled + ended.done).toBe(rounds);
    await equalRows(cluster);
  });

  test('a commit is told as it is', async () => {
    const random = new Prng(2);
    const one = await client(2);
    const expected = [1];
    for (let round = 0; round < rounds; round++) {
      const id = 100 + round;
      await said(one, [q(`BEGIN; INSERT INTO t VALUES (${id}, 0)`)]);
      const answer = said(one, [q('COMMIT')]);
      await pause(random.below(6));
      const asked = one.cancel(port(2));
      const lines = await answer;
      await asked;
      if (lines.some((line) => line.startsWith('commandComplete COMMIT'))) expected.push(id);
      else expect(codes(lines)).toEqual(['57014']);
      expect(lines.at(-1)).toBe('readyForQuery I');
    }
    const rows = (await cluster.onAllServers<{ id: number }>('SELECT id FROM t ORDER BY id')).map((all) =>
      all.map(({ id }) => id),
    );
    expect(rows).toEqual([expected, expected, expected]);
  });
});
