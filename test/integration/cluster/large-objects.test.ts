/**
 * Large objects are not replicated: whatever would change one is refused, wherever it is called, and nothing of it is
 * left; those that are there can be read. On 15, where a read-only transaction may change them, and on 18.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Client } from 'pg';
import { failureOf, startCluster, type Cluster } from '../../support/cluster.ts';
import { message, q } from '../../support/frontend-messages.ts';
import { WireClient, type Step } from '../wire/wire-client.ts';

/** An object that was there before the cluster was: each server has it. */
const old = 4711;
let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ majors: [15, 18] });
  await cluster.onAllServers(`SELECT lo_from_bytea(${old}, 'before')`);
  await cluster.query(1, 'CREATE TABLE t (id int PRIMARY KEY, o oid)');
  await cluster.query(1, `INSERT INTO t VALUES (1, ${old})`);
});

afterAll(async () => {
  await cluster?.stop();
});

/** Every server has the old one as it was, and no other. */
async function unchanged(): Promise<void> {
  const all = await cluster.onAllServers(
    'SELECT m.oid::int, convert_from(lo_get(m.oid), $$UTF8$$) AS data FROM pg_largeobject_metadata m',
  );
  expect(all).toEqual(cluster.numbers.map(() => [{ oid: old, data: 'before' }]));
}

const changes = [
  'SELECT lo_creat(-1)',
  'SELECT lo_create(0)',
  'SELECT lo_create(5000)',
  `SELECT lo_from_bytea(0, 'x')`,
  `SELECT lo_put(${old}, 0, 'changed')`,
  `SELECT lo_unlink(${old})`,
  `SELECT lo_import('/etc/hostname')`,
  `SELECT lo_truncate(lo_open(${old}, 131072), 1)`,
  `SELECT lo_truncate64(lo_open(${old}, 131072), 1)`,
  `SELECT lowrite(lo_open(${old}, 131072), 'changed')`,
  `SELECT lo_unlink(o) FROM t`,
  `INSERT INTO t VALUES (2, lo_create(0))`,
  `INSERT INTO t SELECT 3, lo_from_bytea(0, 'x')`,
  `UPDATE t SET o = lo_create(0)`,
  `DELETE FROM t WHERE lo_unlink(o) = 1`,
  `WITH new AS (SELECT lo_create(0) AS o) INSERT INTO t SELECT 4, o FROM new`,
];

/** Each in the ways in which a client can run it. */
const ways: Readonly<Record<string, (client: Client, text: string) => Promise<unknown>>> = {
  'as a statement': (client, text) => client.query(text),
  'as a prepared statement': (client, text) => client.query({ name: 'p', text, values: [] }),
  'in a transaction that writes': (client, text) =>
    client.query(`BEGIN; INSERT INTO t VALUES (100); ${text}; COMMIT`),
  'behind a savepoint': (client, text) => client.query(`BEGIN; SAVEPOINT s; ${text}; RELEASE s; COMMIT`),
  'in DO': (client, text) => client.query(`DO $do$ BEGIN EXECUTE $x$${text}$x$; END $do$`),
  'by EXECUTE': (client, text) => client.query(`PREPARE e AS ${text}; EXECUTE e`),
};

describe.each(Object.entries(ways))('a change %s', (_way, run) => {
  test.each(changes)('%s', async (text) => {
    for (const number of cluster.numbers) {
      const client = await cluster.client(number);
      const failure = await failureOf(run(client, text), `${text} on node ${number}`);
      expect([failure.code, failure.message]).toEqual([
        '0A000',
        expect.stringContaining('[multimaster] large objects'),
      ]);
      await client.end();
    }
    await unchanged();
  });
});

test('in functions, triggers, defaults and rules', async () => {
  await cluster.query(
    1,
    `CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $$
     BEGIN PERFORM lo_unlink(OLD.o); RETURN OLD; END $$`,
  );
  await cluster.query(1, 'CREATE TABLE owned (id int PRIMARY KEY, o oid)');
  await cluster.query(
    1,
    'CREATE TRIGGER forget BEFORE DELETE ON owned FOR EACH ROW EXECUTE FUNCTION forget()',
  );
  await cluster.query(1, 'CREATE TABLE made (id int PRIMARY KEY, o oid DEFAULT lo_create(0))');
  await cluster.query(1, 'CREATE FUNCTION make() RETURNS oid LANGUAGE sql AS $$ SELECT lo_create(0) $$');
  await cluster.query(1, `INSERT INTO owned VALUES (1, ${old})`);
  const texts = [
    'DELETE FROM owned',
    'INSERT INTO made (id) VALUES (1)',
    'SELECT make()',
    'INSERT INTO t VALUES (5, make())',
    'BEGIN; INSERT INTO made (id) VALUES (1); COMMIT',
  ];
  for (const text of texts) {
    for (const number of cluster.numbers) {
      const client = await cluster.client(number);
      expect((await failureOf(client.query(text), `${text} on node ${number}`)).code).toBe('0A000');
      await client.end();
    }
  }
  await unchanged();
  // Nothing else suffers.
  await cluster.query(2, 'INSERT INTO made VALUES (2, 0)');
  await cluster.query(1, 'DROP TABLE owned, made; DROP FUNCTION forget(), make()');
});

test('in a read-only transaction of the client', async () => {
  for (const number of cluster.numbers) {
    const client = await cluster.client(number);
    await client.query('BEGIN READ ONLY');
    const failure = await failureOf(client.query('SELECT lo_create(0)').then(() => client.query('COMMIT')));
    // 16 refuses it at once.
    expect(failure.code).toBe(number === 1 ? '0A000' : '25006');
    await client.end();
  }
  await unchanged();
});

test('commands on one that every node has run on every node', async () => {
  await cluster.query(1, 'CREATE ROLE keeper');
  await cluster.query(2, `ALTER LARGE OBJECT ${old} OWNER TO keeper`);
  await cluster.query(1, `COMMENT ON LARGE OBJECT ${old} IS 'kept'`);
  const all = await cluster.onAllServers(
    `SELECT lomowner::regrole::text AS owner, obj_description(oid, 'pg_largeobject') AS comment FROM pg_largeobject_metadata`,
  );
  expect(all).toEqual(cluster.numbers.map(() => [{ owner: 'keeper', comment: 'kept' }]));
});

test('what is there can be read, alone', async () => {
  for (const number of cluster.numbers) {
    const client = await cluster.client(number);
    const data = (await client.query(`SELECT convert_from(lo_get(${old}), 'UTF8') AS data`)).rows;
    expect(data).toEqual([{ data: 'before' }]);
    await client.query('BEGIN');
    const read = await client.query(
      `SELECT convert_from(loread(lo_open(${old}, 262144), 100), 'UTF8') AS data`,
    );
    await client.query('COMMIT');
    expect(read.rows).toEqual([{ data: 'before' }]);
    await client.end();
  }
});

async function talk(port: number, steps: readonly Step[]): Promise<readonly string[]> {
  const client = await WireClient.open(port);
  for (const step of steps) await client.step(step);
  client.end();
  return client.lines;
}

/** FunctionCall: object ID, formats (one for all: binary), arguments, result format. */
function call(oid: number, ...values: number[]): Uint8Array {
  const body = Buffer.alloc(4 + 2 + 2 + 2 + values.length * 8 + 2);
  let at = body.writeInt32BE(oid, 0);
  at = body.writeInt16BE(1, at);
  at = body.writeInt16BE(1, at);
  at = body.writeInt16BE(values.length, at);
  for (const value of values) {
    at = body.writeInt32BE(4, at);
    at = body.writeInt32BE(value, at);
  }
  body.writeInt16BE(1, at);
  return message('F', body);
}

test('by the function calls of libpq', async () => {
  const calls = { lo_creat: call(957, -1), lo_create: call(715, 0), lo_unlink: call(964, old) };
  for (const node of cluster.nodes) {
    for (const [name, bytes] of Object.entries(calls)) {
      const alone = await talk(node.gatewayPort, [{ send: [bytes] }]);
      expect(`${name} ${alone.join(' ')}`).toMatch(/errorResponse .*0A000/);
      const block = await talk(node.gatewayPort, [
        { send: [q('BEGIN')] },
        { send: [bytes] },
        { send: [q('COMMIT')] },
      ]);
      expect(`${name} ${block.join(' ')}`).toMatch(/functionCallResponse.*errorResponse .*0A000/);
    }
    // lo_open to read, loread.
    const read = await talk(node.gatewayPort, [
      { send: [q('BEGIN')] },
      { send: [call(952, old, 262_144)] },
      { send: [call(954, 0, 100)] },
      { send: [q('COMMIT')] },
    ]);
    expect(read.join(' ')).toMatch(/before.*COMMIT/);
  }
  await unchanged();
});
