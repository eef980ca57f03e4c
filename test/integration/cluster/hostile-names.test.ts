/**
 * Names that want to be more than names: quotes, comment signs, dollars, line ends, keywords, what looks like the
 * gateway's own marks. Whatever a user calls his objects, commands and rows do the same on every node, and nothing of
 * a name is ever executed. On 15 and 18 together; MTM_TEST_SEED repeats the choice of names.
 */
import { escapeIdentifier, escapeLiteral } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Prng } from '../../../src/lib/prng.ts';
import { failureOf, startCluster, type Cluster } from '../../support/cluster.ts';

const seed = Number(process.env['MTM_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const prng = new Prng(seed);

/** What stands in a name; the canary is a table that must live. */
const pieces = [
  ...[
    '"',
    '""',
    "'",
    "''",
    '\\',
    '\\\\',
    '$$',
    '$1',
    '$tag$',
    '%',
    '%I',
    '%s',
    '{',
    '}',
    '{0}',
    ',',
    '.',
    ';',
    ' ',
    '\t',
  ],
  ...[
    '\n',
    '\r',
    '/*',
    '*/',
    '--',
    '(',
    ')',
    '[',
    ']',
    ':',
    '::text',
    '@',
    '#',
    '`',
    '<',
    '&',
    'é',
    '名',
    '🙂',
    '\u202e',
  ],
  ...[
    '; DROP TABLE canary; --',
    "'); DROP TABLE canary; --",
    '"; DROP TABLE canary; --',
    '$$; DROP TABLE canary; $$',
  ],
  ...[
    'select',
    'user',
    'mtm',
    'mtm:1:1:1:1',
    'mtm-facts:',
    'pg_temp',
    'NULL',
    'null',
    'COPY',
    'E',
    'U&',
    "' || 'x",
  ],
];
const mostBytes = 63;

let named = 0;

/** Never the same twice. */
function name(): string {
  for (;;) {
    const made = Array.from({ length: 1 + prng.below(5) }, () => prng.pick(pieces)).join('') + named++;
    // PostgreSQL's own prefix for schemas, and what it would cut off, are refused or changed by every server alike.
    if (Buffer.byteLength(made) <= mostBytes - 20 && !made.startsWith('pg_') && made.trim() !== '')
      return made;
  }
}

/** A name in quotes. */
const quoted = (): string => escapeIdentifier(name());

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ majors: [15, 18, 18] });
  await cluster.query(1, 'CREATE TABLE canary (id int PRIMARY KEY); INSERT INTO canary VALUES (1)');
});

afterAll(async () => {
  await cluster?.stop();
});

/** One object of each kind under such names, and rows through each way that rows take. */
async function round(): Promise<void> {
  const [schema, type, domain, routine, sequence] = [quoted(), quoted(), quoted(), quoted(), quoted()];
  const [table, child, index] = [quoted(), quoted(), quoted()];
  const [key, value, kind, made] = [quoted(), quoted(), quoted(), quoted()];
  const label = escapeLiteral(name());
  const t = `${schema}.${table}`;
  const say = (text: string): Promise<unknown> => cluster.query(1 + prng.below(3), text);
  await say(`CREATE SCHEMA ${schema}`);
  await say(`CREATE TYPE ${schema}.${type} AS ENUM (${label}, 'other')`);
  await say(
    `CREATE DOMAIN ${schema}.${domain} AS text CONSTRAINT ${quoted()} CHECK (VALUE <> ${escapeLiteral(name())})`,
  );
  await say(`CREATE SEQUENCE ${schema}.${sequence}`);
  await say(
    `CREATE TABLE ${t} (${key} int CONSTRAINT ${index} PRIMARY KEY, ${value} ${schema}.${domain},
       ${kind} ${schema}.${type} DEFAULT ${label}, ${made} text GENERATED ALWAYS AS (${key}::text || ${label}) STORED)`,
  );
  await say(`CREATE TABLE ${schema}.${child} (${key} int CONSTRAINT ${quoted()} REFERENCES ${t})`);
  await say(`COMMENT ON TABLE ${t} IS ${escapeLiteral(name())}`);
  await say(
    `CREATE FUNCTION ${schema}.${routine}() RETURNS void LANGUAGE plpgsql AS ${escapeLiteral(
      `BEGIN EXECUTE ${escapeLiteral(`CREATE INDEX ON ${t} (${value})`)}; END`,
    )}`,
  );
  await say(`SELECT ${schema}.${routine}()`);
  await say(`CREATE INDEX CONCURRENTLY ${quoted()} ON ${t} (${value})`);
  await say(
    `INSERT INTO ${t} (${key}, ${value}) SELECT g, ${escapeLiteral(name())} || g FROM generate_series(1, 12) g`,
  );
  await say(
    `INSERT INTO ${t} (${key}, ${value}) VALUES (100 + nextval(${escapeLiteral(`${schema}.${sequence}`)}), NULL)`,
  );
  await say(`UPDATE ${t} SET ${value} = ${escapeLiteral(name())}, ${key} = ${key} + 1000 WHERE ${key} < 4`);
  await say(`INSERT INTO ${schema}.${child} SELECT ${key} FROM ${t} WHERE ${key} > 1000`);
  const missing = await failureOf(say(`DELETE FROM ${t} WHERE ${key} = 1001`));
  expect(missing.code).toBe('23503');
  await say(`DELETE FROM ${t} WHERE ${key} BETWEEN 5 AND 7`);
  await say(`ALTER TABLE ${t} REPLICA IDENTITY FULL`);
  await say(`UPDATE ${t} SET ${value} = ${escapeLiteral(name())} WHERE ${key} = 9`);
  await say(`ALTER TABLE ${t} RENAME COLUMN ${value} TO ${escapeIdentifier(name())}`);
}

test(`objects, columns, labels, constraints (seed ${seed})`, async () => {
  for (let rounds = 0; rounds < 6; rounds++) await round();
});

test('roles, prepared transactions, channels, settings, local tables', async () => {
  for (let rounds = 0; rounds < 4; rounds++) {
    const role = name();
    await cluster.query(1, `CREATE ROLE ${escapeIdentifier(role)} LOGIN`);
    const schema = name();
    await cluster.query(
      2,
      `CREATE SCHEMA ${escapeIdentifier(schema)} AUTHORIZATION ${escapeIdentifier(role)}`,
    );
    const owner = await cluster.client(3, { user: role });
    const listener = await cluster.client(2, { user: role });
    const channel = name();
    const payload = name();
    const heard = new Promise((resolve) => listener.once('notification', resolve));
    await listener.query(`LISTEN ${escapeIdentifier(channel)}`);
    await owner.query(`SET search_path = ${escapeIdentifier(schema)}`);
    // Its CHECK runs code of the role's, so rows are written as that role at the peers.
    await owner.query(
      `CREATE FUNCTION good(v text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END'`,
    );
    await owner.query(
      `CREATE TABLE t (id int PRIMARY KEY, v text CHECK (${escapeIdentifier(schema)}.good(v))); INSERT INTO t VALUES (1, ${escapeLiteral(name())})`,
    );
    await owner.query(`UPDATE t SET v = ${escapeLiteral(name())}; INSERT INTO t VALUES (2, NULL)`);
    const gid = `x${name()}`; // The gateways keep "mtm:" for themselves.
    await owner.query(`BEGIN; DELETE FROM t WHERE id = 2; PREPARE TRANSACTION ${escapeLiteral(gid)}`);
    await owner.query(`COMMIT PREPARED ${escapeLiteral(gid)}`);
    await owner.query(`SELECT pg_notify(${escapeLiteral(channel)}, ${escapeLiteral(payload)})`);
    expect(await heard).toMatchObject({ channel, payload });
    const local = `${escapeIdentifier(schema)}.${quoted()}`;
    await cluster.query(1, `CREATE TABLE ${local} (id int PRIMARY KEY)`);
    await cluster.query(1, `SELECT mtm.make_table_local(${escapeLiteral(local)})`);
    await owner.end();
    await listener.end();
  }
});

test('nothing of a name was executed', async () => {
  for (const number of cluster.numbers)
    expect(await cluster.directly(number, 'SELECT id FROM canary')).toEqual([{ id: 1 }]);
});
