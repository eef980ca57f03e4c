/**
 * standard_conforming_strings off: gateway and server read every text alike, whoever turns it off and when, and what a
 * text means travels to the other nodes. Nothing may hide behind a quote that only one of the two sees.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Client } from 'pg';
import { edited, literalsOf } from '../../../src/core/statement/string-literals.ts';
import { failureOf, startCluster, type Cluster } from '../../support/cluster.ts';
import { b, e, p, s } from '../../support/frontend-messages.ts';
import { literalPiece } from '../../unit/core/statement/literal-pieces.ts';
import { WireClient } from '../wire/wire-client.ts';

const raw = String.raw;
const off = 'SET standard_conforming_strings = off';
const on = 'SET standard_conforming_strings = on';

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ majors: [15, 18, 18] });
  await cluster.query(1, 'CREATE TABLE t (id serial PRIMARY KEY, v text)');
  await cluster.query(1, 'CREATE ROLE careless LOGIN');
  await cluster.query(1, 'GRANT ALL ON t, t_id_seq TO careless');
});

afterAll(async () => {
  await cluster?.stop();
});

/** What every server holds, the same on all. */
async function everywhere(text: string): Promise<unknown[]> {
  const [first, ...others] = await cluster.onAllServers(text);
  for (const other of others) expect(other).toEqual(first);
  return first!.flatMap((row) => Object.values(row));
}

async function valueOf(client: Client, text: string): Promise<unknown> {
  const { rows } = await client.query({ text, rowMode: 'array' });
  return rows[0]?.[0];
}

/** How the session reads texts: gateway and server agree, or the hidden COMMIT shows. */
async function reading(client: Client): Promise<string> {
  const hidden = raw`SELECT '\'; COMMIT; SELECT 1; --'`;
  await client.query('BEGIN');
  await client.query("INSERT INTO t (v) VALUES ('seen')");
  const results = (await client.query(hidden)) as unknown as unknown[];
  await client.query('ROLLBACK');
  const { rowCount } = await client.query("DELETE FROM t WHERE v = 'seen'");
  const read = Array.isArray(results) ? 'on' : 'off';
  expect(rowCount).toBe(read === 'on' ? 1 : 0);
  return read;
}

describe.each([1, 2])('a server reads as it is told here (node %i)', (number) => {
  test('texts of all kinds', async () => {
    const client = await cluster.direct(number);
    await client.query('SET escape_string_warning = off');
    const ask = async (setting: string, text: string): Promise<unknown> => {
      await client.query(setting);
      try {
        const results = await client.query({ text, rowMode: 'array' });
        return [results].flat().map(({ rows }) => rows);
      } catch (error) {
        return (error as { code: string }).code;
      }
    };
    let alive = 0;
    for (const pieces of fc.sample(fc.array(literalPiece, { minLength: 1, maxLength: 7 }), 400)) {
      const text = `select '\\n'${pieces.join('')}`;
      const { edits, unicode, ends } = literalsOf(text, false);
      const answer = await ask(off, text);
      if (unicode || !ends) {
        expect([text, typeof answer]).toEqual([text, 'string']);
        continue;
      }
      const clear = edited(text, edits);
      if (typeof answer !== 'string') alive += 1;
      expect([text, await ask(on, clear)]).toEqual([text, answer]);
      expect([text, await ask(off, clear)]).toEqual([text, answer]);
    }
    expect(alive).toBeGreaterThan(10);
    await client.end();
  });
});

describe('the gateway follows the server', () => {
  test('SET, RESET, LOCAL, savepoints, functions, DISCARD', async () => {
    const client = await cluster.client(1);
    expect(await reading(client)).toBe('on');
    await client.query(off);
    expect(await reading(client)).toBe('off');
    await client.query('RESET ALL');
    expect(await reading(client)).toBe('on');
    await client.query("SELECT set_config('standard_conforming' || '_strings', 'off', false)");
    expect(await reading(client)).toBe('off');
    await client.query('DISCARD ALL');
    expect(await reading(client)).toBe('on');
    await client.query(`DO $$ BEGIN EXECUTE '${off}'; END $$`);
    expect(await reading(client)).toBe('off');
    await client.query(on);
    await client.query(`BEGIN; SET LOCAL standard_conforming_strings = off`);
    expect(await valueOf(client, raw`SELECT '\'; COMMIT; --'`)).toBe("'; COMMIT; --");
    await client.query('COMMIT');
    expect(await reading(client)).toBe('on');
    await client.query(`BEGIN; SAVEPOINT a; ${off}`);
    expect(await valueOf(client, raw`SELECT '\'; COMMIT; --'`)).toBe("'; COMMIT; --");
    await client.query('ROLLBACK TO a');
    expect(await valueOf(client, raw`SELECT '\'`)).toBe('\\');
    await client.query('COMMIT');
    expect(await reading(client)).toBe('on');
    await client.end();
  });

  test('the packet of the connection, roles, and what DISCARD ALL goes back to', async () => {
    const asked = await cluster.client(2, { options: '-c standard_conforming_strings=off' });
    expect(await reading(asked)).toBe('off');
    await asked.query('DISCARD ALL');
    expect(await reading(asked)).toBe('off');
    await asked.end();
    await cluster.query(1, 'ALTER ROLE careless SET standard_conforming_strings = off');
    const careless = await cluster.client(3, { user: 'careless' });
    expect(await valueOf(careless, 'SHOW standard_conforming_strings')).toBe('off');
    expect(await reading(careless)).toBe('off');
    await careless.query(on);
    expect(await reading(careless)).toBe('on');
    await careless.end();
  });

  test('a string of statements is read as a whole, with the setting at its beginning', async () => {
    const client = await cluster.client(1);
    await client.query(
      raw`${off}; CREATE TABLE s (v text DEFAULT 'a\\b'); INSERT INTO s DEFAULT VALUES; SELECT '\'`,
    );
    expect(await everywhere('SELECT v FROM s')).toEqual([raw`a\\b`]);
    await client.query(
      raw`${on}; DELETE FROM s; INSERT INTO s VALUES ('a\\b'); BEGIN; INSERT INTO s VALUES ('\''); COMMIT`,
    );
    expect(await everywhere('SELECT v FROM s ORDER BY v')).toEqual(["'", raw`a\b`]);
    await client.query(on);
    const unicode = await failureOf(
      client.query(raw`${off}; DELETE FROM s; BEGIN; INSERT INTO s VALUES (U&'\0061'); COMMIT`),
    );
    expect(unicode.code).toBe('0A000');
    await client.query('ROLLBACK');
    await client.end();
  });

  test('what goes out in one packet is refused when it could be read in two ways', async () => {
    const client = await WireClient.open(cluster.node(1).gatewayPort);
    const lines = async (...send: Uint8Array[]): Promise<string> => {
      const from = client.lines.length;
      await client.step({ send });
      return client.lines.slice(from).join('\n');
    };
    const hidden = raw`SELECT '\', pg_notify($$c$$, $$x$$) --'`;
    const one = (text: string): Uint8Array[] => [p(text), b(), e()];
    expect(await lines(...one(off), ...one(hidden), s())).toMatch(/C=0A000/);
    expect(
      await lines(
        ...one("SELECT set_config('standard_' || 'conforming_strings', 'off', true)"),
        ...one(hidden),
        s(),
      ),
    ).toMatch(/C=0A000/);
    await lines(...one(on), s());
    // The same in both, or only one of them is a text at all.
    const both = await lines(
      ...one("INSERT INTO t (v) VALUES ('1')"),
      ...one(raw`INSERT INTO t (v) VALUES ('C:\x\'), ('\d')`),
      s(),
    );
    expect(both).not.toMatch(/errorResponse/);
    expect(await everywhere("SELECT v FROM t WHERE v LIKE 'C%'")).toEqual(['C:\\x\\']);
    client.end();
  });

  test('a character whose second byte is that of a backslash hides nothing', async () => {
    const client = await WireClient.open(cluster.node(1).gatewayPort, { client_encoding: 'SJIS' });
    const from = client.lines.length;
    const text = Buffer.concat([
      Buffer.from("Q\0\0\0\0BEGIN; SELECT E'"),
      Buffer.from([0x83, 0x5c]),
      Buffer.from("'; ROLLBACK; --'\0"),
    ]);
    text.writeInt32BE(text.length - 1, 1);
    await client.step({ send: [text] });
    const all = client.lines.slice(from).join('\n');
    expect(all).toMatch(/ROLLBACK/);
    expect(all).toMatch(/readyForQuery I/);
    client.end();
  });
});

describe('definitions mean the same on all nodes', () => {
  test('commands of the session', async () => {
    const client = await cluster.client(1);
    await client.query(off);
    await client.query(raw`CREATE TABLE d (v text DEFAULT 'a\\b' CHECK (v ~ '\\w'), w text DEFAULT E'c\\d')`);
    await client.query(raw`COMMENT ON TABLE d IS 'a\\b;\'x'`);
    await client.query(raw`COMMENT ON ROLE careless IS 'it\'s'`);
    await client.query(raw`CREATE INDEX CONCURRENTLY d_v ON d ((v || '\\'))`);
    await client.query(raw`CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT \'x\\\\y\'::text'`);
    await client
      .query({
        name: 'later',
        text: raw`CREATE VIEW w AS SELECT '\''::text AS v WHERE $1 IS NULL OR true`,
        values: [null],
      })
      .catch(() => undefined);
    await client.query(on);
    await client.query('INSERT INTO d DEFAULT VALUES');
    expect(await everywhere('SELECT v, w FROM d')).toEqual([raw`a\b`, raw`c\d`]);
    expect(await everywhere("SELECT obj_description('d'::regclass)")).toEqual([raw`a\b;'x`]);
    expect(await everywhere("SELECT shobj_description('careless'::regrole, 'pg_authid')")).toEqual(["it's"]);
    await everywhere("SELECT pg_get_indexdef('d_v'::regclass), prosrc FROM pg_proc WHERE proname = 'f'");
    await everywhere(
      "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'd'::regclass ORDER BY adnum",
    );
    await client.end();
  });

  test('prepared with one setting, run with the other', async () => {
    const client = await WireClient.open(cluster.node(1).gatewayPort);
    const from = client.lines.length;
    const send = (...messages: Uint8Array[]): Promise<void> => client.step({ send: messages });
    await send(p(off), b(), e(), s());
    await send(p(raw`CREATE TABLE m (v text DEFAULT 'a\\b')`, 'make'), s());
    await send(p(on), b(), e(), s());
    await send(b([], 'make'), e(), s());
    expect(client.lines.slice(from).join('\n')).not.toMatch(/errorResponse/);
    await cluster.query(1, 'INSERT INTO m DEFAULT VALUES');
    expect(await everywhere('SELECT v FROM m')).toEqual([raw`a\b`]);
    await send(p(raw`CREATE TABLE m2 (v text DEFAULT 'a\\b')`, 'make2'), s());
    await send(p(off), b(), e(), s());
    await send(b([], 'make2'), e(), s());
    expect(client.lines.join('\n')).toMatch(/C=0A000/);
    client.end();
  });

  test('commands of code are refused when they could mean something else', async () => {
    const client = await cluster.client(2);
    await client.query(off);
    const text = (literal: string): string =>
      `DO $$ BEGIN EXECUTE $x$ CREATE TABLE c (v text DEFAULT ${literal}) $x$; END $$`;
    expect((await failureOf(client.query(text(raw`'a\\b'`)))).code).toBe('0A000');
    await client.query(text(raw`E'a\\b'`));
    await client.query('INSERT INTO c DEFAULT VALUES');
    expect(await everywhere('SELECT v FROM c')).toEqual([raw`a\b`]);
    await client.end();
  });

  test('notifications, two-phase commit and LISTEN', async () => {
    const listener = await cluster.client(3);
    const heard: string[] = [];
    listener.on('notification', ({ payload }) => heard.push(payload ?? ''));
    await listener.query('LISTEN c');
    const client = await cluster.client(1);
    await client.query(off);
    await client.query(raw`NOTIFY c, 'x\\\'; COMMIT; --'`);
    await client
      .query(raw`BEGIN; LISTEN "a\b'c"; INSERT INTO t (v) VALUES ('\\'); PREPARE TRANSACTION 'p\\q\''`)
      .catch(() => undefined);
    await client.query('ROLLBACK');
    await client.query(raw`BEGIN; INSERT INTO t (v) VALUES ('p\\q'); PREPARE TRANSACTION 'p\\q\''`);
    expect(await valueOf(client, raw`SELECT count(*)::int FROM pg_prepared_xacts WHERE gid = 'p\\q\''`)).toBe(
      1,
    );
    await client.query(raw`COMMIT PREPARED 'p\\q\''`);
    expect(await everywhere(raw`SELECT v FROM t WHERE v LIKE 'p%'`)).toEqual([raw`p\q`]);
    await expect.poll(() => heard, { timeout: 20_000 }).toEqual([raw`x\'; COMMIT; --`]);
    await client.end();
    await listener.end();
  });
});
