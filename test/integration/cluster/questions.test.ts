/** Questions of functions in the server to the gateway (mtm.ask_gateway), and of gateways to each other. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { failureOf, startCluster, type Cluster } from '../../support/cluster.ts';

const ping = `SELECT mtm.ask_gateway('ping', '{}') AS answer`;
const admin = { application_name: 'mtm_admin' };
let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ majors: [15, 16, 18], settings: { admin_role: 'keepers' } });
  await cluster.query(1, 'CREATE ROLE keepers');
  await cluster.query(1, 'CREATE ROLE keeper LOGIN IN ROLE keepers');
  await cluster.query(1, 'CREATE ROLE stranger LOGIN');
  await cluster.query(1, 'CREATE TABLE t (id int PRIMARY KEY)');
  await cluster.query(
    1,
    `CREATE FUNCTION as_admin() RETURNS boolean LANGUAGE sql SECURITY DEFINER AS
     'SELECT mtm.require_admin(); SELECT true'`,
  );
});

afterAll(async () => {
  await cluster?.stop();
});

function others(number: number): number[] {
  return cluster.numbers.filter((each) => each !== number);
}

test('every gateway answers, and every other one through it', async () => {
  for (const number of cluster.numbers) {
    const [row] = await cluster.query<{ answer: { node: number; answered: number[] } }>(number, ping);
    expect(row?.answer.node).toBe(number);
    expect(row?.answer.answered.toSorted((a, b) => a - b)).toEqual(others(number));
  }
});

test('with parameters, in a block that writes, and past the gateway', async () => {
  const [row] = await cluster.query(2, 'SELECT mtm.ask_gateway($1, $2) AS answer', ['ping', {}]);
  expect(row?.['answer']).toMatchObject({ node: 2 });
  const client = await cluster.client(1);
  await client.query('BEGIN');
  await client.query('INSERT INTO t VALUES (1)');
  expect((await client.query(ping)).rows[0]).toMatchObject({ answer: { node: 1 } });
  await client.query('COMMIT');
  await client.query('BEGIN READ ONLY');
  expect((await client.query(ping)).rows[0]).toMatchObject({ answer: { node: 1 } });
  await client.query('COMMIT');
  await client.end();
  expect(await cluster.onAllServers('SELECT id FROM t')).toEqual(cluster.numbers.map(() => [{ id: 1 }]));
  expect(await cluster.directly(3, ping)).toMatchObject([{ answer: { node: 3 } }]);
});

test('a snapshot that cannot see the answer is refused, and so is a verb that nobody knows', async () => {
  const client = await cluster.client(2);
  await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
  expect(await failureOf(client.query(ping))).toMatchObject({
    code: '25001',
    message: expect.stringMatching(/repeatable read/u),
  });
  await client.query('ROLLBACK');
  await client.end();
  expect(await failureOf(cluster.query(2, `SELECT mtm.ask_gateway('fly', '{}')`))).toMatchObject({
    code: '0A000',
    message: '[multimaster] this gateway does not know "fly"',
  });
});

test('a question that is asked by hand is not answered', async () => {
  const before = await cluster.directly(1, 'SELECT count(*)::int AS n FROM mtm.request_reply');
  await cluster.directly(
    1,
    `SELECT pg_logical_emit_message(false, 'mtm-request', json_build_object('proof', 'x', 'request',
       json_build_object('id', gen_random_uuid(), 'incarnation', incarnation, 'verb', 'ping')::text)::text)
     FROM mtm.incarnation`,
  );
  // The next one is answered behind it.
  await cluster.directly(1, ping);
  const [{ n } = { n: 0 }] = await cluster.directly<{ n: number }>(
    1,
    'SELECT count(*)::int AS n FROM mtm.request_reply',
  );
  expect(n).toBe(Number(before[0]?.['n']) + 1);
});

test('only superusers and members of admin_role change the cluster', async () => {
  const asStranger = await cluster.client(3, { user: 'stranger' });
  expect(await failureOf(asStranger.query(ping))).toMatchObject({ code: '42501' });
  expect(await failureOf(asStranger.query('SELECT as_admin()'))).toMatchObject({
    code: '42501',
    message:
      '[multimaster] role "stranger" may not change the cluster: only superusers and members of admin_role may',
    hint: 'The admin_role of this gateway is "keepers".',
  });
  await asStranger.end();
  const asKeeper = await cluster.client(2, { user: 'keeper' });
  expect((await asKeeper.query('SELECT as_admin() AS may')).rows).toEqual([{ may: true }]);
  await asKeeper.end();
  const asSuperuser = await cluster.client(1);
  expect((await asSuperuser.query('SELECT as_admin() AS may')).rows).toEqual([{ may: true }]);
  await asSuperuser.query('SET ROLE stranger');
  expect(await failureOf(asSuperuser.query('SELECT as_admin()'))).toMatchObject({ code: '42501' });
  await asSuperuser.end();
});

test('a gateway that is killed while it is waited for, and none at all', async () => {
  const client = await cluster.direct(3, admin);
  const gateway = cluster.gatewayPid(3);
  process.kill(gateway, 'SIGSTOP');
  const waiting = failureOf(client.query(ping));
  await cluster.directly(2, 'SELECT pg_sleep(0.3)');
  await cluster.killGateway(3);
  const gone = { code: '57P03', message: '[multimaster] no gateway runs in front of this server' };
  expect(await waiting).toMatchObject(gone);
  expect(await failureOf(client.query(ping))).toMatchObject(gone);
  await cluster.startGateway(3);
  expect((await client.query(ping)).rows[0]).toMatchObject({ answer: { node: 3 } });
  // Answers to questions of the former gateway are gone.
  const { rows } = await client.query('SELECT count(*)::int AS n FROM mtm.request_reply');
  expect(rows).toEqual([{ n: 1 }]);
  await client.end();
});
