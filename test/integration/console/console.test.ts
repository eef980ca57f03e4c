/** The admin console of a gateway: who may, what drivers see, PAUSE and RESUME, RELOAD, KILL_CLIENT, SHUTDOWN. */
import { spawnSync } from 'node:child_process';
import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Client } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { waitUntilGone } from '../../../src/io/launcher/process-control.ts';
import { failureOf, startCluster, type Cluster } from '../../support/cluster.ts';
import { message, q, s, x } from '../../support/frontend-messages.ts';
import { eventually, within } from '../../support/polling.ts';
import { findProgram, needs, runProgram } from '../../support/programs.ts';
import { brief, RawFrontend } from '../../support/raw-frontend.ts';

const mainProgram = fileURLToPath(new URL('../../../src/main.ts', import.meta.url));
const name = 'mtm_gateway';
let cluster: Cluster;
/** The file of node 1 before a test changed it. */
let original: string | undefined;

beforeAll(async () => {
  cluster = await startCluster();
  await cluster.query(1, 'CREATE TABLE item (id int PRIMARY KEY, text text)');
  await cluster.query(1, "INSERT INTO item SELECT g, 'x' FROM generate_series(1, 50) AS g");
  await cluster.query(1, 'CREATE ROLE nobody_special LOGIN');
  await cluster.query(1, 'CREATE ROLE watcher LOGIN IN ROLE pg_monitor');
  await cluster.query(1, 'CREATE ROLE "wächter" LOGIN SUPERUSER');
  await cluster.query(1, 'CREATE ROLE operators');
  await cluster.query(1, 'CREATE ROLE operator LOGIN IN ROLE operators');
});

afterEach(async () => {
  if (original !== undefined) writeFileSync(cluster.node(1).configFile, original);
  original = undefined;
  const admin = await consoleOf(1);
  await admin.query('RESUME');
  await admin.query('RELOAD');
  await admin.end();
});

afterAll(async () => {
  await cluster?.stop();
});

function consoleOf(node: number, user = 'postgres'): Promise<Client> {
  return cluster.client(node, { database: name, user });
}

/** Of the gateway of node 1, until the end of the test; what was changed before is as it was. */
function settings(change: Readonly<Record<string, unknown>>): void {
  const file = cluster.node(1).configFile;
  original ??= readFileSync(file, 'utf8');
  writeFileSync(file, stringify({ ...(parse(original) as object), ...change }));
}

interface ClientRow {
  readonly id: string;
  readonly user: string;
  readonly state: string;
  readonly application_name: string;
  readonly query_count: string;
  readonly received: string;
}

async function clients(admin: Client, application: string): Promise<ClientRow[]> {
  const { rows } = await admin.query<ClientRow>('SHOW CLIENTS');
  return rows.filter((row) => row.application_name === application);
}

async function inState(admin: Client, application: string, state: string): Promise<void> {
  await eventually(`${application} is ${state}`, async () =>
    (await clients(admin, application)).every((row) => row.state === state),
  );
}

describe('who may', () => {
  test('superusers everything, pg_monitor to look, others nothing; a member of admin_role after RELOAD', async () => {
    expect((await failureOf(consoleOf(1, 'nobody_special'))).code).toBe('42501');
    expect((await failureOf(consoleOf(1, 'not_there'))).code).toBe('42501'); // a stranger learns nothing
    const watcher = await consoleOf(1, 'watcher');
    expect((await watcher.query('SHOW CLIENTS')).fields.map((field) => field.name)).toContain('query_count');
    expect((await failureOf(watcher.query('PAUSE'))).code).toBe('42501');
    expect((await failureOf(consoleOf(1, 'operator'))).code).toBe('42501');
    const admin = await consoleOf(1, 'wächter');
    settings({ admin_role: 'operators' });
    await admin.query('RELOAD');
    const operator = await consoleOf(1, 'operator');
    await operator.query('RESUME');
    expect(await cluster.directly(1, 'SELECT admin_role FROM mtm.node')).toEqual([
      { admin_role: 'operators' },
    ]);
    await Promise.all([watcher, admin, operator].map((each) => each.end()));
  });

  test('a console is no session of the server, and not one of the clients', async () => {
    const admin = await consoleOf(1);
    const text = "SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = 'mtm_console'";
    await eventually(
      'its login is over',
      async () => (await cluster.directly<{ n: number }>(1, text))[0]!.n === 0,
    );
    expect(
      (await admin.query('SHOW CLIENTS')).rows.filter((row: { database: string }) => row.database === name),
    ).toEqual([]);
    await admin.end();
  });

  test('a database of that name is not hidden: check and start refuse it', async () => {
    await cluster.directly(1, `CREATE DATABASE ${name}`);
    const { checkServer, connectForCheck } = await import('../../../src/io/postgres-check.ts');
    const { postgresPort } = cluster.node(1);
    const address = { host: '127.0.0.1', port: postgresPort, user: 'postgres', database: 'app' };
    const client = await connectForCheck(
      {
        ...address,
        password: undefined,
        tls: { mode: 'disable', rootCertFile: undefined, certFile: undefined, keyFile: undefined },
      },
      5000,
    );
    const finding = (await checkServer(client)).find((each) => each.name === `database ${name}`);
    await client.end();
    await cluster.directly(1, `DROP DATABASE ${name}`);
    expect(finding).toMatchObject({ ok: false, must: true, has: 'there' });
  });
});

interface Finding {
  readonly area: string;
  readonly name: string;
  readonly ok: boolean;
  readonly must: boolean;
  readonly has: string;
  readonly fix?: string;
}

function doctor(...more: string[]): { status: number | null; text: string; findings: Finding[] } {
  const args = [mainProgram, 'check', '--config', cluster.node(1).configFile, ...more];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  const { findings } = more.includes('--json')
    ? (JSON.parse(stdout) as { findings: Finding[] })
    : { findings: [] };
  return { status, text: stdout + stderr, findings };
}

describe('the doctor', () => {
  test('a node that runs: nothing has to change; advice names what is unusual, and what to do', async () => {
    await cluster.query(1, 'CREATE TABLE no_key (a int)');
    await cluster.query(1, 'CREATE SEQUENCE tiny AS smallint');
    const { status, findings } = doctor('--json');
    expect(status).toBe(0);
    const advised = findings.filter(({ ok }) => !ok);
    expect(advised.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['tables without key', 'small sequences']),
    );
    expect(advised.find(({ name: each }) => each === 'tables without key')?.fix).toBe(
      'ALTER TABLE public.no_key ADD PRIMARY KEY (…);',
    );
    for (const node of [2, 3]) {
      const other = findings.filter(({ name: each }) => each.includes(`node ${node}`));
      expect(other.map(({ ok }) => ok)).toEqual([true, true, true, true]);
    }
    expect(
      findings
        .filter(({ area }) => area === 'machine')
        .map(({ has }) => has)
        .slice(1),
    ).toEqual([...['a gateway runs', 'a gateway runs', 'a gateway runs']]);
    await cluster.query(1, 'DROP TABLE no_key; DROP SEQUENCE tiny');
  });

  test('what is wrong: another secret, ports, rights, a server that is not there', async () => {
    const strange = join(tmpdir(), `mtm-secret-${process.pid}`);
    writeFileSync(strange, 'not the secret of this cluster', { mode: 0o644 });
    settings({ cluster_secret_file: strange, http: { port: cluster.node(2).gatewayPort } });
    const { status, findings } = doctor('--json');
    expect(status).toBe(1);
    const wrong = findings.filter(({ ok }) => !ok).map(({ name: each, must }) => [each.split(' ')[0], must]);
    expect(wrong).toEqual(
      expect.arrayContaining([
        ['cluster_secret_file', false],
        ['listen', true],
        ['http', true],
        ['node', true],
      ]),
    );
    expect(findings.find(({ name: each }) => each.startsWith('node 2'))?.has).toContain('secret');
    rmSync(strange);
    settings({ postgres: { host: '127.0.0.1', port: 1, database: 'app' } });
    const lost = doctor();
    expect(lost.status).toBe(1);
    expect(lost.text).toContain('CHANGE  connection  PostgreSQL at 127.0.0.1:1 does not answer');
    expect(lost.text).toMatch(/1 to CHANGE before the gateway can work; \d+ x advice\n$/);
  });
});

describe('what drivers see', () => {
  test('pg: simple, parameters that are none, named statements, transactions', async () => {
    const admin = await consoleOf(1);
    const named = { name: 'show', text: 'SHOW DATABASES' };
    for (const how of ['SHOW DATABASES', named, named]) {
      const { rows } = await admin.query<Record<string, unknown>>(how);
      expect(rows).toMatchObject([{ name: 'app', status: 'online', paused: false, members: '1,2,3' }]);
    }
    expect((await failureOf(admin.query('SHOW DATABASES', ['x']))).code).toBe('08P01');
    await admin.query('BEGIN');
    expect((await failureOf(admin.query('SELECT 1'))).code).toBe('42601');
    await admin.query('ROLLBACK');
    const total = Number(
      (await admin.query<{ total_query_count: string }>('SHOW TOTALS')).rows[0]?.total_query_count,
    );
    await cluster.query(1, 'SELECT 1');
    const { rows: after } = await admin.query<{ total_query_count: string }>('SHOW STATS');
    expect(Number(after[0]?.total_query_count)).toBeGreaterThan(total);
    await admin.end();
  });

  test.skipIf(findProgram('psql') === undefined)(`psql${needs('psql')}`, async () => {
    const target = `host=127.0.0.1 port=${cluster.node(1).gatewayPort} user=postgres dbname=${name}`;
    const run = await runProgram('psql', [
      '-X',
      '-At',
      '-d',
      target,
      '-c',
      'SHOW STATE;',
      '-c',
      'SHOW NODES',
      '-c',
      'nonsense',
    ]);
    expect(run.stdout).toContain('paused|no\n');
    expect(run.stdout.match(/^app\|/gm)).toHaveLength(3);
    expect(run.stderr).toContain('this is no command of the admin console: nonsense');
  });

  test('raw: garbage, a megabyte, what comes ahead of the login, and what ends a session', async () => {
    const raw = await RawFrontend.open(cluster.node(1).gatewayPort, { database: name });
    expect(raw.parameters.get('default_transaction_read_only')).toBe('off');
    expect(raw.parameters.get('client_encoding')).toBe('UTF8');
    expect((await raw.query('x'.repeat(1_000_000))).map(brief)).toEqual(['error 42601', 'readyForQuery I']);
    raw.send(x('SHOW MEM'), x('('.repeat(1_000_000)), x('SHOW MEM'), s());
    const heard = (await raw.ready()).map(brief);
    expect(heard.slice(-2)).toEqual(['error 42601', 'readyForQuery I']);
    expect(heard.filter((each) => each === 'commandComplete SHOW')).toHaveLength(1);
    raw.send(...Array.from({ length: 2000 }, () => q('SHOW CONFIG')));
    for (let count = 0; count < 2000; count++) await raw.ready();
    raw.send(message('Q', Buffer.alloc(3_000_000, 0x20)));
    await eventually('what is too long ends it', () => raw.socket.closed);
    const other = await RawFrontend.open(cluster.node(1).gatewayPort, { database: name });
    other.send(message('p', 'again'));
    expect(brief(await other.next())).toBe('error 08P01');
    await eventually('what is no message ends it', () => other.socket.closed);
  });
});

describe('PAUSE', () => {
  test('what is under way ends, what begins waits and holds nothing, RESUME lets it go on', async () => {
    const admin = await consoleOf(1);
    const busy = await cluster.client(1, { application_name: 'busy' });
    await busy.query('BEGIN');
    await busy.query("UPDATE item SET text = 'a' WHERE id = 1");
    const plain = { name: 'plain', text: 'SELECT text FROM item WHERE id = $1', values: [1] };
    const reader = await cluster.client(1, { application_name: 'waits' });
    await reader.query(plain);
    const writer = await cluster.client(1, { application_name: 'waits' });
    const beginner = await cluster.client(1, { application_name: 'waits' });
    const index = await cluster.client(1);
    const indexed = index.query('CREATE INDEX CONCURRENTLY item_text ON item (text)'); // it waits for `busy`
    const asked =
      "SELECT count(*)::int AS n FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONC%' AND state = 'active'";
    await eventually('it has begun', async () => (await cluster.directly<{ n: number }>(1, asked))[0]!.n > 0);
    let paused = false;
    const pausing = admin.query('PAUSE app').then(() => (paused = true));
    const second = await consoleOf(1);
    await eventually('it is paused', async () => {
      const { rows } = await second.query<{ paused: boolean }>('SHOW DATABASES');
      return rows[0]?.paused === true;
    });
    const read = reader.query<{ text: string }>(plain);
    const written = writer.query("UPDATE item SET text = text || 'b' WHERE id = 1");
    const begun = beginner.query('BEGIN');
    await inState(second, 'waits', 'waiting');
    await busy.query("UPDATE item SET text = 'c' WHERE id = 2");
    expect(paused).toBe(false);
    await busy.query('COMMIT');
    await within('PAUSE', 30_000, pausing);
    await indexed; // with what the gateway itself had to do for it
    const pids = (await second.query<{ remote_pid: string }>('SHOW SERVERS')).rows.map((row) =>
      Number(row.remote_pid),
    );
    const held = 'SELECT count(*)::int AS n FROM pg_locks WHERE pid = ANY($1::int[])';
    expect(await cluster.directly(1, held, [pids])).toEqual([{ n: 0 }]);
    await cluster.query(2, "UPDATE item SET text = 'd' WHERE id = 3"); // other nodes go on, also through this one
    await second.query('RESUME app');
    expect((await read).rows).toHaveLength(1);
    await Promise.all([written, begun]);
    expect(await cluster.query(2, 'SELECT text FROM item WHERE id = 1')).toEqual([{ text: 'ab' }]);
    const [row] = await clients(second, 'busy');
    expect(Number(row?.query_count)).toBe(4);
    for (const each of [admin, second, busy, reader, writer, beginner, index]) await each.end();
  });

  test('a client that waits may cancel, or leave; one that was cancelled or has left has not paused', async () => {
    const admin = await RawFrontend.open(cluster.node(1).gatewayPort, { database: name });
    const look = await consoleOf(1);
    const busy = await cluster.client(1);
    await busy.query('BEGIN');
    const cancelOf = async (raw: RawFrontend): Promise<void> => {
      const { connect } = await import('node:net');
      const socket = connect(cluster.node(1).gatewayPort, '127.0.0.1');
      const packet = Buffer.alloc(16);
      for (const [index, value] of [16, 80877102, raw.backend.processId, raw.backend.secretKey].entries())
        packet.writeInt32BE(value | 0, index * 4);
      socket.on('error', () => undefined).end(packet);
      await eventually('the request was taken', () => socket.closed || socket.readableEnded);
      socket.destroy();
    };
    const paused = async (): Promise<boolean> =>
      (await look.query<{ paused: boolean }>('SHOW DATABASES')).rows[0]!.paused;
    admin.send(q('PAUSE'));
    await eventually('it is paused', paused);
    const waiter = await RawFrontend.open(cluster.node(1).gatewayPort, { application_name: 'waiter' });
    waiter.send(q('SELECT 1'));
    await inState(look, 'waiter', 'waiting');
    const gone = await RawFrontend.open(cluster.node(1).gatewayPort, { application_name: 'gone' });
    gone.send(q("INSERT INTO item VALUES (1000, 'never')"));
    await inState(look, 'gone', 'waiting');
    gone.close();
    await eventually('who has left is gone', async () => (await clients(look, 'gone')).length === 0);
    await cancelOf(waiter);
    expect((await waiter.ready()).map(brief)).toEqual(['error 57014', 'readyForQuery I']);
    await cancelOf(admin);
    expect((await admin.ready()).map(brief)).toEqual(['error 57014', 'readyForQuery I']);
    expect(await paused()).toBe(false);
    admin.send(q('PAUSE'));
    await eventually('it is paused again', paused);
    admin.close();
    await eventually('it is not any more', async () => !(await paused()));
    await busy.query('COMMIT');
    expect(await cluster.query(1, 'SELECT * FROM item WHERE id = 1000')).toEqual([]);
    for (const each of [look, busy]) await each.end();
    waiter.close();
  });

  test('the loss of a node, and of the server, changes nothing about it', async () => {
    const admin = await consoleOf(1);
    await admin.query('PAUSE');
    const waiting = await cluster.client(1, { application_name: 'patient' });
    const written = waiting.query("UPDATE item SET text = 'late' WHERE id = 5");
    await inState(admin, 'patient', 'waiting');
    await cluster.killGateway(3);
    await eventually('the others go on', async () => {
      return cluster.query(2, "UPDATE item SET text = 'early' WHERE id = 6").then(
        () => true,
        () => false,
      );
    });
    expect((await clients(admin, 'patient')).map(({ state }) => state)).toEqual(['waiting']);
    await admin.query('RESUME');
    await within('the statement that waited', 60_000, written);
    await admin.query('PAUSE');
    await cluster.killGateway(2);
    const alone = await consoleOf(1); // a node without a majority still has its console
    await eventually('it is not online', async () => {
      const { rows } = await alone.query<{ status: string }>('SHOW DATABASES');
      return rows[0]?.status !== 'online';
    });
    await alone.query('RESUME');
    await Promise.all([cluster.startGateway(2), cluster.startGateway(3)]);
    await cluster.whole();
    await cluster.killServer(1);
    await admin.query('SHOW CLIENTS'); // one that was there stays
    await eventually('it is not online', async () => {
      const { rows } = await admin.query<{ status: string }>('SHOW DATABASES');
      return rows[0]?.status !== 'online';
    });
    await cluster.startServer(1);
    await cluster.whole();
    for (const each of [admin, alone, waiting]) await each.end().catch(() => undefined);
  });
});

describe('RELOAD', () => {
  test('50 sessions under load notice nothing, of good files and bad ones', async () => {
    const admin = await consoleOf(1);
    const sessions = await Promise.all(Array.from({ length: 50 }, () => cluster.client(1)));
    let running = true;
    let statements = 0;
    const failures: unknown[] = [];
    const loads = sessions.map(async (session, index) => {
      try {
        while (running) {
          await session.query('SELECT text FROM item WHERE id = $1', [index + 1]);
          if (index % 10 === 0) await session.query("UPDATE item SET text = 'r' WHERE id = $1", [index + 1]);
          statements += 1;
        }
      } catch (error) {
        failures.push(error);
      }
    });
    const notices: string[] = [];
    admin.on('notice', (notice) => notices.push(notice.message ?? ''));
    for (const max of [60, 70, 60]) {
      settings({ max_connections: max, blocker_timeout: '2s', log_level: 'debug', max_retained_wal: '1GB' });
      await admin.query('RELOAD');
    }
    settings({ max_connections: 80, listen: { port: 1 }, heartbeat_recv_timeout: '9s' });
    const restart = await failureOf(admin.query('RELOAD'));
    expect(restart.code).toBe('55P02');
    expect(restart.message).toBe(
      '[multimaster] nothing was changed, because a restart is needed for listen.port, heartbeat_recv_timeout',
    );
    settings({ max_connections: 'many', blocker_timeout: 'long' });
    const bad = await failureOf(admin.query('RELOAD'));
    expect(bad.message).toMatch(/max_connections must be .*; .*blocker_timeout must be /);
    appendFileSync(cluster.node(1).configFile, '\n  : [');
    expect((await failureOf(admin.query('RELOAD'))).message).toContain('is not valid YAML');
    settings({ tls: { cert_file: '/nowhere.pem', key_file: '/nowhere.key' } });
    expect((await failureOf(admin.query('RELOAD'))).message).toContain('/nowhere.pem');
    const { rows } = await admin.query<{ key: string; value: string }>('SHOW CONFIG');
    expect(rows.find(({ key }) => key === 'max_connections')?.value).toBe('60');
    const before = statements;
    await eventually('the load goes on', () => statements > before + 100);
    running = false;
    await Promise.all(loads);
    expect(failures).toEqual([]);
    expect(notices[0]).toContain('max_connections, blocker_timeout, max_retained_wal, log_level');
    const more = await Promise.all(Array.from({ length: 9 }, () => cluster.client(1)));
    const late = await failureOf(Promise.all([cluster.client(1), cluster.client(1), cluster.client(1)]));
    expect(late.code).toBe('53300');
    for (const each of [admin, ...sessions, ...more]) await each.end();
  });

  test('SIGHUP does the same, and new sessions see the new values', async () => {
    settings({ conflict_retries: 7 });
    process.kill(cluster.gatewayPid(1), 'SIGHUP');
    await eventually('it was read', async () => {
      const fresh = await cluster.client(1);
      const { rows } = await fresh.query<Record<string, string>>('SHOW multimaster.conflict_retries');
      await fresh.end();
      return rows[0]?.['multimaster.conflict_retries'] === '7';
    });
    appendFileSync(cluster.node(1).configFile, '\nno_such_setting: 1\n');
    process.kill(cluster.gatewayPid(1), 'SIGHUP');
    const reload = ['reload', '--config', cluster.node(1).configFile];
    const command = spawnSync(process.execPath, [mainProgram, ...reload], { encoding: 'utf8' });
    expect(command.status).toBe(2); // the command reads the same file
    const url = `postgresql://postgres@127.0.0.1:${cluster.node(1).gatewayPort}`;
    const refused = spawnSync(process.execPath, [mainProgram, 'reload', '--url', url], { encoding: 'utf8' });
    expect([refused.status, refused.stderr]).toEqual([
      1,
      expect.stringContaining('no_such_setting is unknown'),
    ]);
    settings({ conflict_retries: 8 });
    const done = spawnSync(process.execPath, [mainProgram, ...reload, '--json'], { encoding: 'utf8' });
    expect([done.status, done.stdout]).toEqual([0, '{"changed":["conflict_retries"]}\n']);
    await eventually('the log says why not', () => /no_such_setting is unknown/.test(cluster.gatewayLog(1)));
    expect(await cluster.isOnline(1)).toBe(true);
  });
});

describe('the end', () => {
  test('KILL_CLIENT ends one session, whatever it does', async () => {
    const admin = await consoleOf(1);
    const victim = await cluster.client(1, { application_name: 'victim' });
    const sleeping = failureOf(victim.query('SELECT pg_sleep(600)'));
    await inState(admin, 'victim', 'active');
    const [{ id } = { id: '' }] = await clients(admin, 'victim');
    await admin.query(`KILL_CLIENT ${id}`);
    expect((await sleeping).code).toBe('57P01');
    expect((await failureOf(admin.query(`KILL_CLIENT ${id}`))).code).toBe('42704');
    await admin.end();
  });

  test('SHUTDOWN ends the gateway as SIGTERM does; who waits for RESUME goes first', async () => {
    const admin = await RawFrontend.open(cluster.node(2).gatewayPort, { database: name });
    const look = await consoleOf(2);
    const busy = await cluster.client(2);
    await busy.query('BEGIN');
    admin.send(q('PAUSE'));
    const waiting = await cluster.client(2, { application_name: 'waits' });
    const waited = failureOf(waiting.query('SELECT 1'));
    await inState(look, 'waits', 'waiting');
    const pid = cluster.gatewayPid(2);
    expect((await look.query('SHUTDOWN')).command).toBe('SHUTDOWN');
    expect((await waited).code).toBe('57P01');
    expect((await look.query<{ key: string; value: string }>('SHOW STATE')).rows).toContainEqual({
      key: 'shutting_down',
      value: 'yes',
    });
    expect((await failureOf(consoleOf(2))).code).toBe('57P03');
    await busy.query('UPDATE item SET text = text WHERE id = 9');
    await busy.query('COMMIT');
    expect(await waitUntilGone(pid, 30_000)).toBe(true);
    expect((await admin.until('error')).map(brief).at(-1)).toBe('error 57P01');
    await cluster.startGateway(2);
    await cluster.whole();
    for (const each of [look, busy, waiting]) await each.end().catch(() => undefined);
  });
});
