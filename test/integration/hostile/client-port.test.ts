/**
 * Hostile clients, and what each costs: nothing of theirs ends the gateway, stays in it, or keeps it from the others.
 * Node 1 has its usual limits, node 2 few connections, node 3 little memory and time, TLS, and one user with a password.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { serialize } from 'pg-protocol';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sslRequest, startup } from '../../../src/core/wire/messages.ts';
import { Authority } from '../../support/certificates.ts';
import { startCluster, type Cluster } from '../../support/cluster.ts';
import { equalRows, noPrepared } from '../../support/convergence.ts';
import { b, d, e, h, p, q, s } from '../../support/frontend-messages.ts';
import { eventually } from '../../support/polling.ts';
import { CostSheet } from './cost.ts';
import { beforeLogin, fatal, lying, survivable } from './malformed.ts';
import { Stranger } from './stranger.ts';

const loginMs = 6000;
const connections = 60;

let cluster: Cluster;
let cost: CostSheet;
let folder: string;

const port = (node: number): number => cluster.node(node).gatewayPort;

/** For `slow` alone the server of node 3 wants a password. */
async function prepareServer(): Promise<void> {
  await cluster.query(1, `CREATE ROLE slow LOGIN PASSWORD 'some word'`);
  const hba = join(cluster.node(3).dataFolder, 'pg_hba.conf');
  const lines = 'local all slow scram-sha-256\nhost all slow 127.0.0.1/32 scram-sha-256\n';
  writeFileSync(hba, `${lines}${readFileSync(hba, 'utf8')}`);
  await cluster.directly(3, 'SELECT pg_reload_conf()');
}

beforeAll(async () => {
  cluster = await startCluster();
  folder = mkdtempSync(join(tmpdir(), 'mtm-hostile-'));
  const { cert, key } = new Authority(folder).issue('gateway', 'gateway', ['IP:127.0.0.1']);
  await cluster.query(1, 'CREATE TABLE t (id int PRIMARY KEY, v text)');
  await cluster.query(1, 'CREATE TABLE pairs (id int, half int, PRIMARY KEY (id, half))');
  await prepareServer();
  await cluster.restartGateway(2, { MTM_MAX_CONNECTIONS: String(connections) });
  await cluster.restartGateway(3, {
    MTM_AUTHENTICATION_TIMEOUT: `${loginMs}ms`,
    MTM_MAX_CLIENT_MEMORY: '32MB',
    MTM_TLS_CERT_FILE: cert,
    MTM_TLS_KEY_FILE: key,
  });
  await cluster.whole();
  cost = new CostSheet(cluster);
});

afterAll(async () => {
  cost?.print();
  await cluster?.stop();
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
});

describe('what is no message', () => {
  test('before the login', () =>
    cost.of('malformed before the login', 1, { megabytes: 30 }, async () => {
      for (const { name, send, requestsEncryption } of beforeLogin) {
        const stranger = await Stranger.connect(port(1), requestsEncryption);
        stranger.send(send);
        await stranger.until(name, () => stranger.closed);
        expect(stranger.heard.join(' '), name).toMatch(/^(?:(?:08P01|0A000|28000|42704) )?closed$/);
      }
      return `${beforeLogin.length} kinds`;
    }));

  test('in a session: the answers are those of the server', () =>
    cost.of('malformed in a session', 1, { megabytes: 30 }, async () => {
      for (const { name, send } of survivable) {
        const answers: string[][] = [];
        for (const where of [cluster.node(1).postgresPort, port(1)]) {
          const stranger = await Stranger.login(where);
          stranger.send(...send, q('SELECT the_end'));
          await stranger.until(name, () => stranger.heard.includes('42703') || stranger.closed);
          answers.push([...stranger.heard]);
          stranger.reset();
        }
        expect(answers[1], name).toEqual(answers[0]);
      }
      return `${survivable.length} kinds`;
    }));

  test('and what ends a session', () =>
    cost.of('what ends a session', 1, { megabytes: 30 }, async () => {
      for (const { name, send } of fatal) {
        const answers: string[][] = [];
        for (const where of [cluster.node(1).postgresPort, port(1)]) {
          const stranger = await Stranger.login(where);
          stranger.send(send);
          await stranger.untilClosed();
          answers.push(stranger.heard);
        }
        expect(answers[1], name).toEqual(answers[0]);
      }
      return `${fatal.length} kinds`;
    }));

  test('a session that says goodbye, or goes, in the middle', async () => {
    const ends: readonly (readonly [string, readonly Uint8Array[]])[] = [
      ['Terminate in a group', [p('INSERT INTO t VALUES (1)'), b(), e(), serialize.end()]],
      ['the end of a group without Sync', [p('INSERT INTO t VALUES (1)'), b(), e()]],
      ['half a message', [lying('Q', 400, 'INSERT INTO t VALUES (1)')]],
      ['half a header', [Buffer.of(0x51, 0)]],
      ['the middle of a COPY', [q('COPY t FROM STDIN'), d('1\tx\n'), lying('d', 1000, '2\t')]],
    ];
    await cost.of('gone in the middle', 1, { megabytes: 30 }, async () => {
      for (const [, send] of ends) {
        for (const end of ['end', 'reset'] as const) {
          const stranger = await Stranger.login(port(1));
          stranger.send(...send);
          if (end === 'reset') stranger.reset();
          else stranger.socket.end();
          await stranger.untilClosed();
        }
      }
    });
    expect(await cluster.query(1, 'SELECT FROM t')).toEqual([]);
  });
});

describe('what takes its time', () => {
  test('one deadline stands over everything until the login', () =>
    cost.of('slowloris', 3, { megabytes: 30 }, async () => {
      const packet = startup(Object.entries({ user: 'postgres', database: 'app' }));
      const hello = Buffer.from('16030100c8010000c40303', 'hex');
      const begun = performance.now();
      const kinds: readonly (readonly [string, Uint8Array])[] = [
        ['silence', Buffer.alloc(0)],
        ['half a startup packet', packet.subarray(0, 20)],
        ['half a TLS handshake', hello],
        ['half a TLS handshake behind SSLRequest', sslRequest],
        [
          'no answer to the request for a password',
          startup(Object.entries({ user: 'slow', database: 'app' })),
        ],
      ];
      const strangers = await Promise.all(
        kinds.map(async ([name, bytes]) => {
          const stranger = await Stranger.connect(port(3), bytes === sslRequest);
          stranger.send(bytes);
          return { name, stranger };
        }),
      );
      const tls = strangers[3]!.stranger;
      await tls.until('the gateway offers TLS', () => tls.answered === 'S');
      tls.send(hello);
      // One byte, and later another one: no byte makes the time longer.
      const drip = await Stranger.connect(port(3));
      const dripping = setInterval(() => drip.send(Buffer.of(0)), loginMs / 5);
      for (const { name, stranger } of [...strangers, { name: 'one byte after the other', stranger: drip }]) {
        await stranger.until(name, () => stranger.closed);
        const ms = performance.now() - begun;
        expect(ms, name).toBeGreaterThan(loginMs - 100);
        expect(ms, name).toBeLessThan(loginMs + 25_000);
      }
      clearInterval(dripping);
      expect(strangers[4]!.stranger.heard).toEqual(['57014', 'closed']);
    }));

  test('what is not the answer to the request for a password is refused in the words of the server', async () => {
    const stranger = await Stranger.connect(port(3));
    stranger.send(startup(Object.entries({ user: 'slow', database: 'app' })), q('SELECT 1'));
    await stranger.untilClosed();
    expect(stranger.texts).toEqual(['expected SASL response, got message type 81']);
  });

  test('thousands that say nothing cost the oldest of them their place, and no one else', () =>
    cost.of('3000 silent connections', 1, { megabytes: 120 }, async () => {
      const silent: Stranger[] = [];
      for (let index = 0; index < 3000; index++) silent.push(await Stranger.connect(port(1)));
      await eventually('the oldest have gone', () => silent.filter(({ closed }) => closed).length >= 1000);
      expect(silent.filter(({ closed }) => closed).length).toBeLessThan(1100);
      const good = await Stranger.login(port(1));
      expect(good.heard).toEqual(['ready']);
      good.reset();
      for (const stranger of silent) stranger.reset();
    }));

  test('as many on the peer port', () =>
    cost.of('2000 half-open handshakes on the peer port', 1, { megabytes: 60 }, async () => {
      const begun = cost.sockets(1);
      const strangers: Stranger[] = [];
      for (let index = 0; index < 2000; index++) {
        const stranger = await Stranger.connect(cluster.node(1).peerPort);
        // Nothing, the beginning of a hello, the beginning of a TLS handshake, a frame of 4 GB.
        const bytes = ['', 'mtmpeer2', '160301', 'ffffffff'][index % 4]!;
        stranger.send(Buffer.from(bytes, index % 4 === 1 ? 'latin1' : 'hex'));
        strangers.push(stranger);
      }
      await eventually('few of them are left', () => cost.sockets(1) < begun + 200);
      await cluster.whole();
      for (const stranger of strangers) stranger.reset();
      return `${strangers.filter(({ closed }) => closed).length} hung up on`;
    }));

  test('the limits of the server on idle sessions are those of its sessions here', async () => {
    const kinds = [
      [`SET idle_session_timeout = '200ms'`, '57P05'],
      [`SET idle_in_transaction_session_timeout = '200ms'; BEGIN; INSERT INTO t VALUES (7)`, '25P03'],
      [`SET idle_in_transaction_session_timeout = '200ms'; BEGIN; SELECT 1`, '25P03'],
    ] as const;
    for (const [text, code] of kinds) {
      const stranger = await Stranger.login(port(1));
      for (const each of text.split('; ')) {
        const before = stranger.ready;
        stranger.send(q(each));
        await stranger.until(each, () => stranger.ready > before || stranger.closed);
      }
      await stranger.untilClosed();
      expect(stranger.heard.slice(-2)).toEqual([code, 'closed']);
    }
  });
});

describe('more than fits', () => {
  test('a result of 400 MB that nobody reads', () =>
    cost.of('400 MB to a client that does not read', 1, { megabytes: 64 }, async () => {
      const stranger = await Stranger.login(port(1));
      stranger.socket.pause();
      stranger.send(q(`SELECT repeat('x', 1000) FROM generate_series(1, 400000)`));
      const waits = `SELECT FROM pg_stat_activity WHERE wait_event = 'ClientWrite' AND query LIKE 'SELECT repeat%'`;
      await eventually('the server waits', async () => (await cluster.directly(1, waits)).length === 1);
      stranger.reset();
      await eventually('it is gone', async () => (await cluster.directly(1, waits)).length === 0);
    }));

  test('a COPY of 400 MB that the server does not take', () =>
    cost.of('400 MB of COPY to a server that does not read', 1, { megabytes: 64 }, async () => {
      await cluster.query(
        1,
        `CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN NEW; END $$`,
      );
      await cluster.query(1, 'CREATE TRIGGER wait BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION wait()');
      const holder = await cluster.direct(1);
      await holder.query('SELECT pg_advisory_lock(4711)');
      const stranger = await Stranger.login(port(1));
      stranger.send(q('COPY t FROM STDIN'));
      const sent = await stranger.pour(d(`1\t${'x'.repeat(65_000)}\n`.repeat(10)), 400e6);
      expect(sent).toBeLessThan(60e6);
      stranger.reset();
      await holder.end();
      const active = `SELECT FROM pg_stat_activity WHERE query LIKE 'COPY t FROM%' AND state = 'active'`;
      await eventually('it is gone', async () => (await cluster.directly(1, active)).length === 0);
      await cluster.query(1, 'DROP TRIGGER wait ON t');
      return `${(sent / 1e6).toFixed(0)} MB taken`;
    }));

  test('100,000 messages in a row by one who reads the answers later', () =>
    cost.of('100,000 messages before the first answer is read', 1, { megabytes: 96 }, async () => {
      const groups = 25_000;
      const stranger = await Stranger.login(port(1));
      stranger.ready = 0;
      stranger.socket.pause();
      const group = Buffer.concat([p(`SELECT repeat('x', 100)`), b(), e(), s()]);
      const chunk = Buffer.concat(Array<Uint8Array>(100).fill(group));
      for (let index = 0; index < groups / 100; index++) stranger.send(chunk);
      await pause(1500);
      stranger.socket.resume();
      await stranger.until('all are answered', () => stranger.ready === groups, 120_000);
      expect(stranger.heard).not.toContain('closed');
      stranger.reset();
    }));

  test('50,000 Flush and as many Sync', () =>
    cost.of('100,000 Flush and Sync', 1, { megabytes: 64 }, async () => {
      const stranger = await Stranger.login(port(1));
      stranger.socket.pause();
      const chunk = Buffer.concat(Array<Uint8Array>(5000).fill(Buffer.concat([h(), s()])));
      for (let index = 0; index < 10; index++) stranger.send(chunk);
      await pause(500);
      stranger.ready = 0;
      stranger.socket.resume();
      await stranger.until('all are answered', () => stranger.ready >= 50_000, 120_000);
      stranger.reset();
    }));

  test('100,000 prepared statements', () =>
    cost.of('30,000 prepared statements, then without end', 3, { megabytes: 160 }, async () => {
      const stranger = await Stranger.login(port(3));
      let made = 0;
      const prepare = async (count: number): Promise<void> => {
        const goal = stranger.ready + count / 100;
        for (let group = 0; group < count / 100; group++) {
          const messages = Array.from({ length: 100 }, () => p('SELECT $1::int + $2::int', `p${made++}`));
          stranger.send(...messages, s());
        }
        await stranger.until('prepared', () => stranger.ready >= goal || stranger.closed, 60_000);
      };
      await prepare(30_000);
      expect(stranger.closed).toBe(false);
      // The limit of 32 MB is reached by this session, and only this one pays.
      const other = await Stranger.login(port(3));
      other.send(p('SELECT 1', 'mine'), s());
      while (!stranger.closed && made < 150_000) await prepare(5000);
      expect(stranger.heard.slice(-2)).toEqual(['53200', 'closed']);
      other.send(b([], 'mine'), e(), s());
      await other.until('the other session goes on', () => other.ready === 3);
      other.reset();
      return `${made} made`;
    }));

  test('as many statements as a string may have, and comments that can be read in many ways', async () => {
    const pid = cluster.gatewayPid(1);
    const stranger = await Stranger.login(port(1));
    for (const text of [`${'/**/'.repeat(200)}DO $$BEGIN END$$; SELECT 1`, 'SELECT;'.repeat(140_000)]) {
      const before = stranger.ready;
      stranger.send(q(text));
      await stranger.until('an answer', () => stranger.ready > before || stranger.closed, 60_000);
    }
    expect(stranger.heard).not.toContain('closed');
    stranger.reset();
    // Reading it may take as long as peers wait, on a machine that is busy: then the node comes back.
    await cluster.whole();
    expect(cluster.gatewayPid(1)).toBe(pid);
  });

  test('a message that never ends', () =>
    cost.of('256 MB of one message', 3, { megabytes: 128 }, async () => {
      // Whoever still sends when the connection ends may be reset before it has read why: not each time.
      const heard = new Set<string>();
      for (let attempt = 0; attempt < 4 && heard.size === 0; attempt++) {
        const stranger = await Stranger.login(port(3));
        stranger.send(lying('B', 0x3fffffff));
        const sent = await stranger.pour(Buffer.alloc(65_536), 256e6);
        await stranger.untilClosed();
        expect(sent).toBeLessThan(64e6);
        for (const text of stranger.texts) heard.add(text);
      }
      expect([...heard]).toEqual([
        '[multimaster] out of memory: this session holds the most of max_client_memory',
      ]);
    }));
});

describe('storms', () => {
  test('1,000 clients at once: as many as there is room for, 53300 for the others', () =>
    cost.of('1,000 connections at once', 2, { megabytes: 120 }, async () => {
      const all = await Promise.all(Array.from({ length: 1000 }, () => Stranger.login(port(2))));
      const refused = all.filter(({ heard }) => heard[0] === '53300');
      const served = all.filter(({ heard }) => heard[0] === 'ready');
      expect(served.length + refused.length).toBe(1000);
      // One place is that of the good client that watches.
      expect(served.length).toBe(connections - 1);
      expect(refused[0]?.texts[0]).toMatch(/sorry, too many clients already/);
      const admin = await Stranger.login(port(2), { application_name: 'mtm_admin' });
      expect(admin.heard).toEqual(['ready']);
      admin.reset();
      for (const stranger of served) stranger.reset();
      return `${served.length} served`;
    }));

  test('cancel requests for others do nothing', () =>
    cost.of('3,000 cancel requests with wrong keys', 1, { megabytes: 60 }, async () => {
      const victim = await Stranger.login(port(1));
      victim.send(q('SELECT pg_sleep(1)'));
      const begun = performance.now();
      for (let round = 0; round < 30; round++) {
        const strangers = await Promise.all(Array.from({ length: 100 }, () => Stranger.connect(port(1))));
        for (const stranger of strangers) stranger.send(serialize.cancel(round, 4711));
        await Promise.all(strangers.map((stranger) => stranger.untilClosed()));
      }
      const ms = performance.now() - begun;
      await victim.until('it has slept', () => victim.ready === 2);
      expect(victim.heard).toEqual(['ready']);
      victim.reset();
      return `${((3000 / ms) * 1000).toFixed(0)} a second`;
    }));

  test('connections that come and go leave nothing behind', () =>
    cost.of('800 sessions one after the other', 1, { megabytes: 60 }, async () => {
      for (let round = 0; round < 40; round++) {
        const strangers = await Promise.all(Array.from({ length: 20 }, () => Stranger.login(port(1))));
        for (const stranger of strangers) stranger.send(serialize.end());
        await Promise.all(strangers.map((stranger) => stranger.untilClosed()));
      }
    }));

  test('200 clients are reset in the middle of COMMIT: all or nothing, and nothing stays', async () => {
    await cost.of('200 clients reset in COMMIT', 1, { megabytes: 120 }, async () => {
      const clients = await Promise.all(Array.from({ length: 200 }, () => Stranger.login(port(1))));
      for (const [id, client] of clients.entries()) {
        client.send(q(`BEGIN; INSERT INTO pairs VALUES (${id}, 1), (${id}, 2)`));
      }
      await Promise.all(clients.map((client) => client.until('inserted', () => client.ready === 2, 60_000)));
      for (const client of clients) client.send(q('COMMIT'));
      for (const client of clients) {
        await pause(Math.random() * 4);
        client.reset();
      }
      await noPrepared(cluster);
      const sessions = `SELECT FROM pg_stat_activity WHERE query IN ('COMMIT') OR query LIKE 'BEGIN; INSERT%'`;
      await eventually('sessions gone', async () => (await cluster.directly(1, sessions)).length === 0);
      const rows = await cluster.query<{ count: string }>(1, 'SELECT count(*) FROM pairs');
      return `${Number(rows[0]!.count) / 2} committed`;
    });
    await equalRows(cluster);
    const halves = 'SELECT FROM pairs GROUP BY id HAVING count(*) <> 2';
    expect(await cluster.query(2, halves)).toEqual([]);
  });

  test('notifications for one who never reads', () =>
    cost.of('20,000 notifications to a client that does not read', 1, { megabytes: 96 }, async () => {
      const listener = await Stranger.login(port(1));
      listener.send(q('LISTEN storm'));
      await listener.until('it listens', () => listener.ready === 2);
      listener.socket.pause();
      for (let round = 0; round < 20; round++) {
        await cluster.query(
          1,
          `SELECT count(pg_notify('storm', n || repeat('x', 500))) FROM generate_series(1, 1000) n`,
        );
      }
      listener.reset();
    }));
});
