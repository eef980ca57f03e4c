/** The referee in a real PostgreSQL: its rules, what it survives, and every refusal. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { clusterLayout, embeddedHost } from '../../../src/io/launcher/node-layout.ts';
import type { NodeLayout } from '../../../src/io/launcher/node-layout.ts';
import { postgresPid, startServer, stopServer } from '../../../src/io/launcher/postgres-server.ts';
import { Prng } from '../../../src/lib/prng.ts';
import { freeBasePort } from '../../support/free-port.ts';
import { eventually, within } from '../../support/polling.ts';
import { freshCluster, oneWinner, pairAt, Party, sameAsRules } from './contact-lab.ts';
import { makeServer } from '../../support/server-template.ts';

const folder = mkdtempSync(join(tmpdir(), 'mtm-referee-'));
const parties: Party[] = [];
let databases = 0;

function track<T extends Party | readonly Party[]>(made: T): T {
  parties.push(...(made instanceof Party ? [made] : (made as readonly Party[])));
  return made;
}

async function refusal(text: string): Promise<string | undefined> {
  const party = track(new Party(text, 1, freshCluster()));
  try {
    await party.contact.start();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.each([15, 18] as const)('a referee in PostgreSQL %i', (major) => {
  let node: NodeLayout;
  let admin: pg.Client;

  beforeAll(async () => {
    chmodSync(folder, 0o755);
    node = clusterLayout(join(folder, String(major)), await freeBasePort([major]), [major])[0]!;
    await makeServer(node);
    await startServer(node);
    admin = new pg.Client({ host: embeddedHost, port: node.postgresPort, user: 'postgres', ssl: false });
    admin.on('error', () => undefined);
    await admin.connect();
  });
  afterAll(async () => {
    for (const party of parties.splice(0)) party.contact.stop();
    await admin?.end();
    await stopServer(node);
    rmSync(join(folder, String(major)), { recursive: true, force: true });
  });

  const url = (database = 'postgres', user = 'postgres') =>
    `postgres://${user}@${embeddedHost}:${node.postgresPort}/${database}`;

  async function freshDatabase(): Promise<string> {
    const name = `referee${++databases}`;
    await admin.query(`CREATE DATABASE ${name}`);
    return name;
  }

  /** Sets it for the whole server while `work` runs. */
  async function withSetting(name: string, value: string, work: () => Promise<void>): Promise<void> {
    const shows = async (wanted: (has: string) => boolean) => {
      await eventually(`${name} is effective`, async () => {
        const { rows } = await admin.query<{ has: string }>('SELECT current_setting($1) AS has', [name]);
        return wanted(rows[0]!.has);
      });
    };
    await admin.query(`ALTER SYSTEM SET ${name} = '${value}'`);
    await admin.query('SELECT pg_reload_conf()');
    await shows((has) => has === value);
    try {
      await work();
    } finally {
      await admin.query(`ALTER SYSTEM RESET ${name}`);
      await admin.query('SELECT pg_reload_conf()');
      await shows((has) => has !== value);
    }
  }

  async function waiting(event: string): Promise<number> {
    let pid = 0;
    await eventually(`a call waits for ${event}`, async () => {
      const { rows } = await admin.query<{ pid: number }>(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'mtm_referee' AND wait_event = $1",
        [event],
      );
      pid = rows[0]?.pid ?? 0;
      return pid !== 0;
    });
    return pid;
  }

  test('answers as the rules say', async () => {
    await sameAsRules(track(await pairAt(url())), new Prng(major), 300);
  });

  test('has one winner, whoever asks at once', async () => {
    await oneWinner(track(await pairAt(url())), 60);
  });

  test('makes its table also when all come at once', async () => {
    const database = await freshDatabase();
    const many = track([1, 2, 1, 2, 1, 2].map((self) => new Party(url(database), self, freshCluster())));
    await Promise.all(many.map((party) => party.contact.start()));
    for (const party of many) expect(party.told).toEqual(['connected']);
  });

  test('a grant survives a crash of the server, and the contacts come back by themselves', async () => {
    const [first, second] = track(await pairAt(url()));
    await first.report(1);
    await second.report(1);
    expect(await first.ask(2, 1)).toMatchObject({ kind: 'granted' });
    process.kill(postgresPid(node)!, 'SIGKILL');
    await eventually('the loss is told', () => first.told.length > 1 && second.told.length > 1);
    expect(await second.ask(2, 1)).toMatchObject({ kind: 'failed' });
    await startServer(node);
    admin = new pg.Client({ host: embeddedHost, port: node.postgresPort, user: 'postgres', ssl: false });
    admin.on('error', () => undefined);
    await admin.connect();
    await eventually('they are back', () => [first, second].every(({ told }) => told.at(-1) === 'connected'));
    expect(await second.ask(3, 1)).toMatchObject({ kind: 'refused', refusal: 'other-winner' });
    expect(await first.ask(3, 0)).toMatchObject({ kind: 'granted', record: { winner: 1, generation: 3 } });
  });

  test('a call that has to wait is no grant within the time limit', async () => {
    const name = freshCluster();
    const [, second] = track(await pairAt(url(), name));
    const hasty = track(new Party(url(), 1, name, 400));
    await hasty.contact.start();
    await hasty.report(1);
    await second.report(1);
    await admin.query('BEGIN; SELECT 1 FROM mtm_referee.decision FOR UPDATE');
    const answer = await within('the call', 5000, hasty.ask(2, 1));
    expect(answer).toMatchObject({ kind: 'failed' });
    await admin.query('ROLLBACK');
    await eventually('it is back', () => hasty.told.at(-1) === 'connected');
    expect(await hasty.ask(2, 1)).toMatchObject({ kind: 'granted' });
  });

  test('a commit that no standby has confirmed is no grant', async () => {
    const [first, second] = track(await pairAt(url()));
    await first.report(1);
    await second.report(1);
    await withSetting('synchronous_standby_names', 'nobody', async () => {
      const answer = first.ask(2, 1);
      const pid = await waiting('SyncRep');
      await admin.query('SELECT pg_cancel_backend($1)', [pid]);
      // The server says success, with a warning.
      expect(await answer).toMatchObject({
        kind: 'failed',
        reason: expect.stringMatching(/canceling wait for synchronous replication/) as unknown,
      });
    });
    await eventually('it is back', () => first.told.at(-1) === 'connected');
    expect(await first.ask(2, 1)).toMatchObject({ kind: 'granted' });
  });

  test('fsync off is refused, also when it happens later', async () => {
    const [first, second] = track(await pairAt(url()));
    await first.report(1);
    await second.report(1);
    await withSetting('fsync', 'off', async () => {
      expect(await refusal(url())).toBe(
        `the PostgreSQL at 127.0.0.1:${node.postgresPort} has fsync off and needs on: a grant must survive a crash`,
      );
      await eventually('a question fails', async () => {
        const answer = await first.ask(2, 1);
        return answer.kind === 'failed' && answer.reason.includes('has fsync off');
      });
    });
    await eventually('it is back', () => first.told.at(-1) === 'connected');
  });

  test('synchronous_commit is on whatever the role has', async () => {
    await admin.query('CREATE ROLE lax LOGIN SUPERUSER; ALTER ROLE lax SET synchronous_commit = off');
    expect(await refusal(url('postgres', 'lax'))).toBeUndefined();
  });

  test('a node of a cluster is refused, in whatever database', async () => {
    const database = await freshDatabase();
    await admin.query("SELECT pg_create_logical_replication_slot('mtm_live', 'pgoutput')");
    expect(await refusal(url(database))).toContain(
      'is a node of a cluster, or a gateway, and must be a server',
    );
    await admin.query("SELECT pg_drop_replication_slot('mtm_live')");
    expect(await refusal(url(database))).toBeUndefined();
  });

  test('a standby that no commit waits for is refused', async () => {
    const standby = new pg.Client({
      host: embeddedHost,
      port: node.postgresPort,
      user: 'postgres',
      ssl: false,
      replication: 'true',
    } as pg.ClientConfig);
    standby.on('error', () => undefined);
    await standby.connect();
    const start = await admin.query<{ at: string }>('SELECT pg_current_wal_flush_lsn()::text AS at');
    standby.query(`START_REPLICATION PHYSICAL ${start.rows[0]!.at}`).catch(() => undefined);
    await eventually('it is seen', async () => {
      return (await refusal(url()))?.includes('has 1 standbys that a commit does not wait for') === true;
    });
    (standby as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
    await eventually('it is gone', async () => (await refusal(url())) === undefined);
  });

  test('rights: neither user nor database nor schema, each in one sentence; a table made before is enough', async () => {
    const database = await freshDatabase();
    expect(await refusal(url(database, 'stranger'))).toContain(
      'refuses the gateway: role "stranger" does not exist',
    );
    expect(await refusal(url('nowhere'))).toContain('refuses the gateway: database "nowhere" does not exist');
    const role = `guest${databases}`;
    await admin.query(`CREATE ROLE ${role} LOGIN`);
    expect(await refusal(url(database, role))).toMatch(
      /permission denied .* \(it has to create or use the schema mtm_referee\)$/,
    );
    await admin.query(`GRANT CREATE ON DATABASE ${database} TO ${role}`);
    const [first, second] = track(await pairAt(url(database, role)));
    await first.report(1);
    await second.report(1);
    expect(await first.ask(2, 1)).toMatchObject({ kind: 'granted' });
  });

  test('nobody listens: it is waited for', async () => {
    const party = track(new Party(`postgres://u@127.0.0.1:1/d`, 1, freshCluster()));
    await party.contact.start();
    expect(party.told[0]).toMatch(/ECONNREFUSED/);
  });
});
