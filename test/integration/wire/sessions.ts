/**
 * Sessions that a gateway must not change: with what they begin, and what is said in them. Listed differences are not in
 * here: what current_setting and pg_settings show of default_transaction_read_only, and outside of a transaction of
 * transaction_read_only (SHOW is right); the client's address in pg_stat_activity.
 */
import { b, cs, ds, e, message, p, q, s, x } from '../../support/frontend-messages.ts';
import type { Step } from './wire-client.ts';

export interface Session {
  readonly parameters?: Readonly<Record<string, string>>;
  readonly steps: readonly Step[];
}

/** Once, behind the tables of the conversations. */
export const roles = [
  'CREATE ROLE reader LOGIN',
  'GRANT ALL ON t TO reader',
  'ALTER ROLE reader SET default_transaction_read_only = yes',
  "ALTER ROLE reader SET work_mem = '9MB'",
  'CREATE ROLE writer LOGIN',
  'GRANT ALL ON t TO writer',
  'ALTER ROLE writer SET default_transaction_read_only = on',
  'ALTER ROLE writer IN DATABASE app SET default_transaction_read_only = off',
  `CREATE FUNCTION deep(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
     IF n > 0 THEN RETURN deep(n - 1); END IF;
     RAISE EXCEPTION 'deep' USING ERRCODE = 'MY001', HINT = 'dig', DETAIL = 'very', COLUMN = 'c', CONSTRAINT = 'k',
       DATATYPE = 'd', TABLE = 't', SCHEMA = 's';
   END $$`,
];

const each = (...texts: string[]): Step[] => texts.map((text) => ({ send: [q(text)] }));
const one = (...send: Uint8Array[]): Step => ({ send });
const latin1 = (text: string): Step => one(message('Q', Buffer.from(`${text}\0`, 'latin1')));

const shown = ['SHOW default_transaction_read_only', 'SHOW transaction_read_only'];
const write = "INSERT INTO t VALUES (50, 'a')";
const activity = `SELECT application_name, state, query, usename, datname, backend_type, wait_event
  FROM pg_stat_activity WHERE pid = pg_backend_pid()`;

export const sessions: Readonly<Record<string, Session>> = {
  'many options': {
    parameters: {
      application_name: 'Ä app',
      DateStyle: 'German',
      options:
        '-c work_mem=7MB --search-path=pg_catalog,public -cTimeZone=Asia/Tokyo ' +
        '-c IntervalStyle=iso_8601 -c my.own=x\\ y -fs',
    },
    steps: each(
      ...['work_mem', 'search_path', 'my.own', 'application_name', 'enable_seqscan'].map(
        (name) => `SHOW ${name}`,
      ),
      'SET work_mem = 64; SET TimeZone = UTC; SET application_name = z',
      'RESET ALL',
      'SHOW work_mem',
      'DISCARD ALL',
      "SELECT timestamptz '2026-01-02 03:04:05+00', interval '1 day'",
    ),
  },
  'a bad value': { parameters: { work_mem: 'much' }, steps: [] },
  'an unknown setting': { parameters: { nonsense: '1' }, steps: [] },
  'an unknown setting in options': { parameters: { options: '-c nonsense=1' }, steps: [] },
  'options that are none': { parameters: { options: '-c nonsense' }, steps: [] },
  'a setting of the server': { parameters: { options: '-c shared_buffers=1MB' }, steps: [] },
  'an unknown encoding': { parameters: { client_encoding: 'KLINGON' }, steps: [] },
  'an unknown database': { parameters: { database: 'nothing' }, steps: [] },
  'an unknown role': { parameters: { user: 'nobody' }, steps: [] },
  'a default that is no boolean': { parameters: { default_transaction_read_only: 'perhaps' }, steps: [] },
  'LATIN1 from the beginning': {
    parameters: { client_encoding: 'LATIN1' },
    steps: [
      latin1("SELECT '\xe4', nix"),
      latin1("INSERT INTO t VALUES (51, '\xe4') RETURNING v"),
      latin1('CREATE TABLE "\xe4" (id int); DROP TABLE "\xe4"'),
      ...each('RESET client_encoding', 'SET client_encoding = UTF8', 'DISCARD ALL', 'SHOW client_encoding'),
    ],
  },
  'read-only by the packet': {
    parameters: { Default_Transaction_Read_Only: 'on' },
    steps: each(
      ...[
        ...shown,
        write,
        'CREATE TABLE nothing ()',
        'CREATE ROLE nobody',
        'BEGIN READ WRITE',
        ...shown,
        write,
      ],
      ...['COMMIT', 'SET default_transaction_read_only = off', ...shown, 'DELETE FROM t WHERE id = 50'],
      ...['RESET default_transaction_read_only', ...shown, write, 'DISCARD ALL', ...shown],
    ),
  },
  'read-only by the role': {
    parameters: { user: 'reader' },
    steps: each(
      ...[...shown, 'SHOW work_mem', write, 'BEGIN', ...shown, write, 'ROLLBACK', 'BEGIN READ WRITE', write],
      ...['ROLLBACK', 'SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE', ...shown, write, 'RESET ALL'],
      ...[...shown, write, 'SET default_transaction_read_only TO DEFAULT', ...shown],
    ),
  },
  'what the packet says outranks the role': {
    parameters: { user: 'reader', options: '-c default_transaction_read_only=off' },
    steps: each(...shown, write, 'DISCARD ALL', ...shown),
  },
  'a role in this database outranks the role': {
    parameters: { user: 'writer' },
    steps: each(...shown, write),
  },
  'read-only by settings in transactions': {
    steps: each(
      ...['BEGIN', 'SAVEPOINT a', 'SET default_transaction_read_only = on', 'SAVEPOINT b', 'RELEASE b'],
      ...['SHOW default_transaction_read_only', 'ROLLBACK TO a', ...shown, 'COMMIT', ...shown, write],
      ...['BEGIN', 'SET default_transaction_read_only = on', 'SET LOCAL default_transaction_read_only = off'],
      ...['SHOW default_transaction_read_only', 'COMMIT', ...shown, 'DELETE FROM t', 'RESET ALL', ...shown],
      ...['SET default_transaction_read_only = on; SELECT 1/0', ...shown],
      ...['SET default_transaction_read_only = on; SELECT 1', 'BEGIN', 'RESET ALL', 'ROLLBACK', ...shown],
    ),
  },
  'access modes': {
    steps: [
      ...each('BEGIN', 'SET TRANSACTION READ ONLY', ...shown, write, 'ROLLBACK'),
      ...each('BEGIN READ ONLY', 'SET TRANSACTION READ WRITE', write, 'ROLLBACK'),
      ...each('BEGIN READ ONLY', 'SELECT 1', 'SET TRANSACTION READ WRITE', 'ROLLBACK'),
      ...each(
        'BEGIN READ ONLY',
        'CREATE ROLE nobody',
        'ROLLBACK',
        'BEGIN READ ONLY',
        'CREATE TABLE nix ()',
        'COMMIT',
      ),
      ...each('BEGIN', 'SAVEPOINT a', 'SET TRANSACTION READ ONLY', write, 'ROLLBACK TO a', write, 'ROLLBACK'),
      ...each('BEGIN', 'SET transaction_read_only = on', 'SHOW transaction_read_only', write, 'ROLLBACK'),
      ...each(
        'SET TRANSACTION READ ONLY',
        'SET LOCAL transaction_read_only = on',
        'RESET transaction_read_only',
        ...shown,
      ),
      ...each('START TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE', ...shown, 'COMMIT'),
      one(x('SHOW transaction_read_only'), s()),
      one(x('SET default_transaction_read_only = on'), s()),
      one(x('SHOW default_transaction_read_only'), s()),
      one(x(write), s()),
      one(x('RESET default_transaction_read_only'), x(write), s()),
    ],
  },
  'what a DBA sees': {
    parameters: { application_name: 'my app' },
    steps: [
      ...each(
        activity,
        'BEGIN',
        activity,
        write,
        activity,
        'COMMIT',
        activity,
        'SET application_name = other',
        activity,
      ),
      one(x(activity), s()),
    ],
  },
  'cursors over commits': {
    steps: [
      ...each(
        'BEGIN',
        'DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT id FROM t ORDER BY id',
        'FETCH 1 FROM c',
        write,
      ),
      ...each(
        'COMMIT',
        'FETCH ALL FROM c',
        'FETCH BACKWARD 2 FROM c',
        "UPDATE t SET v = 'z'",
        'FETCH FIRST FROM c',
      ),
      ...each('MOVE LAST FROM c', 'FETCH RELATIVE 0 FROM c', 'CLOSE ALL', 'FETCH 1 FROM c'),
      ...each(
        'DECLARE h CURSOR WITH HOLD FOR SELECT id FROM t ORDER BY id',
        'FETCH 1 FROM h',
        'DELETE FROM t WHERE id = 3',
      ),
      ...each('FETCH ALL FROM h', 'DISCARD ALL', 'FETCH 1 FROM h'),
      ...each(
        'BEGIN',
        'DECLARE w CURSOR WITH HOLD FOR SELECT 1 / (id - 2) FROM t',
        "INSERT INTO t VALUES (52, 'a')",
        'COMMIT',
      ),
      ...each('BEGIN', 'DECLARE u CURSOR FOR SELECT * FROM t FOR UPDATE', 'FETCH 1 FROM u'),
      ...each(
        "UPDATE t SET v = 'cur' WHERE CURRENT OF u",
        'COMMIT',
        "SELECT count(*) FROM t WHERE v = 'cur'",
      ),
    ],
  },
  'prepared statements over definitions': {
    steps: [
      one(p('SELECT * FROM t WHERE id = $1', 'sel'), p('INSERT INTO t VALUES ($1, $2)', 'ins'), s()),
      one(b(['1'], 'sel'), e(), s()),
      ...each('ALTER TABLE t ADD COLUMN extra int'),
      one(b(['1'], 'sel'), e(), s()),
      one(b(['53', 'a'], 'ins'), e(), s()),
      ...each('ALTER TABLE t DROP COLUMN extra'),
      one(b(['1'], 'sel'), e(), s()),
      ...each('SELECT name, statement, parameter_types, from_sql FROM pg_prepared_statements ORDER BY 1'),
      one(ds('ins'), cs('sel'), s()),
      one(x('DISCARD ALL'), s()),
      one(b(['54', 'a'], 'ins'), e(), s()),
    ],
  },
  'where errors come from': {
    steps: [
      ...each('SELECT deep(2)', "INSERT INTO t SELECT deep(1), 'x'", 'DO $$ BEGIN PERFORM deep(0); END $$'),
      ...each('INSERT INTO t (nix) VALUES (1)', 'UPDATE t SET nix = 1', 'INSERT INTO t VALUES (1, 2, 3)'),
      ...each(
        'CREATE TABLE z (a int, b nix)',
        'CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT nix $$',
      ),
      ...each(
        "COPY t FROM '/nonexistent'",
        'VACUUM nothing',
        'GRANT SELECT ON nothing TO reader',
        'DROP TABLE nothing',
      ),
      one(x('SELECT deep($1)', '1'), s()),
      one(p('INSERT INTO t VALUES ($1, $2, $3)'), s()),
      one(x('INSERT INTO t VALUES ($1, $2)', 'one', 'x'), s()),
    ],
  },
  'levels of messages': {
    steps: each(
      'SET client_min_messages = log',
      'INSERT INTO noisy VALUES (1)',
      'SET client_min_messages = error',
      'INSERT INTO noisy VALUES (2)',
      'RESET client_min_messages',
      "DO $$ BEGIN RAISE NOTICE 'a'; INSERT INTO t VALUES (55); RAISE INFO 'b'; RAISE LOG 'c'; END $$",
      'CREATE TABLE IF NOT EXISTS t (id int)',
      'SET LOCAL work_mem = 64',
    ),
  },
};
