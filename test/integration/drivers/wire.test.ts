/** The wire itself, message by message: what a driver may do and seldom does. The oracle is pg-protocol. */
import { connect } from 'node:net';
import { serialize } from 'pg-protocol';
import { afterAll, beforeAll, beforeEach, afterEach, describe, expect, test } from 'vitest';
import { embeddedHost } from '../../../src/io/launcher/node-layout.ts';
import { startCluster, type Cluster } from '../../support/cluster.ts';
import { equalRows, noPrepared } from '../../support/convergence.ts';
import { eventually } from '../../support/polling.ts';
import { RawFrontend, brief, type Heard } from '../../support/raw-frontend.ts';

let cluster: Cluster;
let raw: RawFrontend;

beforeAll(async () => {
  cluster = await startCluster({ majors: [18, 16, 15] });
  await cluster.query(1, 'CREATE TABLE t (id int PRIMARY KEY, v text)');
});

beforeEach(async () => {
  await cluster.query(1, 'TRUNCATE t');
  raw = await RawFrontend.open(cluster.node(1).gatewayPort);
});

afterEach(async () => {
  raw.close();
  await noPrepared(cluster);
  await equalRows(cluster);
});

afterAll(async () => {
  await cluster?.stop();
});

const words = (messages: readonly Heard[]): string[] => messages.map(brief);

async function ids(): Promise<number[]> {
  return (await cluster.directly<{ id: number }>(3, 'SELECT id FROM t ORDER BY id')).map(({ id }) => id);
}

const { parse, bind, execute, describe: describeMessage, sync, flush, close } = serialize;

describe('a string of statements', () => {
  test('says nothing while one of them waits, as PostgreSQL does, but for notices', async () => {
    await cluster.query(1, `INSERT INTO t VALUES (1, 'a')`);
    const holder = await cluster.direct(1);
    await holder.query('BEGIN; SELECT FROM t FOR UPDATE');
    const before = raw.socket.bytesRead;
    raw.send(serialize.query(`BEGIN; SELECT 1; UPDATE t SET v = 'b'; COMMIT`));
    await eventually('the UPDATE waits', async () => {
      const text = `SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'`;
      return (await cluster.directly(1, text)).length === 1;
    });
    expect(raw.socket.bytesRead).toBe(before);
    await holder.query('COMMIT');
    const tags = words(await raw.ready()).filter((word) => word.startsWith('commandComplete'));
    expect(tags).toEqual(['BEGIN', 'SELECT 1', 'UPDATE 1', 'COMMIT'].map((tag) => `commandComplete ${tag}`));

    await holder.query('BEGIN; SELECT FROM t FOR UPDATE');
    raw.send(serialize.query(`BEGIN; DO $$BEGIN RAISE NOTICE 'x'; END$$; UPDATE t SET v = 'c'; COMMIT`));
    expect(words(await raw.until('notice'))).toContain('notice 00000');
    await holder.query('COMMIT');
    await raw.ready();
    await holder.end();
  });
});

describe('startup', () => {
  test('the parameters of the server are reported, the gateway hides its own', () => {
    expect(raw.parameters.get('server_version')).toMatch(/^18\./);
    expect(raw.parameters.get('client_encoding')).toBe('UTF8');
    expect(raw.parameters.get('default_transaction_read_only')).toBe('off');
    expect(raw.parameters.get('integer_datetimes')).toBe('on');
    expect(raw.backend.processId).toBeGreaterThan(0);
  });

  test('options and settings of the startup packet reach the server', async () => {
    const other = await RawFrontend.open(cluster.node(2).gatewayPort, {
      options: '-c work_mem=7MB',
      application_name: 'wire test',
      TimeZone: 'Asia/Tokyo',
    });
    expect(other.parameters.get('TimeZone')).toBe('Asia/Tokyo');
    expect(other.parameters.get('application_name')).toBe('wire test');
    expect(words(await other.query('SHOW work_mem'))).toContain('dataRow 7MB');
    other.close();
  });

  test('a client that wants read-only gets it', async () => {
    const other = await RawFrontend.open(cluster.node(1).gatewayPort, {
      default_transaction_read_only: 'on',
    });
    expect(other.parameters.get('default_transaction_read_only')).toBe('on');
    expect(words(await other.query('INSERT INTO t VALUES (1)'))).toEqual(['error 25006', 'readyForQuery I']);
    other.close();
  });

  test.each([
    ['SSLRequest', 80877103],
    ['GSSENCRequest', 80877104],
  ])('%s is answered with N and the connection goes on', async (_, code) => {
    const socket = connect({ host: embeddedHost, port: cluster.node(1).gatewayPort });
    const request = Buffer.alloc(8);
    request.writeInt32BE(8, 0);
    request.writeInt32BE(code, 4);
    const answer = new Promise<Buffer>((resolve) => socket.once('data', resolve));
    socket.write(request);
    expect((await answer).toString()).toBe('N');
    const next = new Promise<Buffer>((resolve) => socket.once('data', resolve));
    socket.write(serialize.startup({ user: 'postgres', database: 'app' }));
    expect((await next).subarray(0, 1).toString()).toBe('R');
    socket.destroy();
  });

  test('the startup packet byte by byte', async () => {
    const socket = connect({ host: embeddedHost, port: cluster.node(1).gatewayPort, noDelay: true });
    const slow = new RawFrontend(socket);
    for (const byte of serialize.startup({ user: 'postgres', database: 'app' }))
      socket.write(Buffer.of(byte));
    await slow.ready();
    for (const byte of serialize.query('SELECT 1')) socket.write(Buffer.of(byte));
    expect(words(await slow.ready())).toEqual([
      'rowDescription',
      'dataRow 1',
      'commandComplete SELECT 1',
      'readyForQuery I',
    ]);
    slow.close();
  });

  test('an unknown user, database: the words of the server', async () => {
    await expect(cluster.client(1, { user: 'nobody' })).rejects.toMatchObject({
      code: '28000',
      severity: 'FATAL',
    });
    await expect(cluster.client(1, { database: 'nothing' })).rejects.toMatchObject({
      code: '3D000',
      severity: 'FATAL',
    });
  });
});

describe('simple query', () => {
  test('a write, a read, an empty string', async () => {
    expect(words(await raw.query(`INSERT INTO t VALUES (1, 'a')`))).toEqual([
      'commandComplete INSERT 0 1',
      'readyForQuery I',
    ]);
    expect(words(await raw.query('SELECT id, v FROM t'))).toEqual([
      'rowDescription',
      'dataRow 1,a',
      'commandComplete SELECT 1',
      'readyForQuery I',
    ]);
    expect(words(await raw.query(''))).toEqual(['emptyQuery', 'readyForQuery I']);
    expect(words(await raw.query('-- nothing'))).toEqual(['emptyQuery', 'readyForQuery I']);
  });

  test('several statements are one transaction', async () => {
    expect(
      words(await raw.query('INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); SELECT count(*) FROM t')),
    ).toEqual([
      'commandComplete INSERT 0 1',
      'commandComplete INSERT 0 1',
      'rowDescription',
      'dataRow 2',
      'commandComplete SELECT 1',
      'readyForQuery I',
    ]);
    expect(words(await raw.query('INSERT INTO t VALUES (3); INSERT INTO t VALUES (3)')).slice(-2)).toEqual([
      'error 23505',
      'readyForQuery I',
    ]);
    expect(await ids()).toEqual([1, 2]);
  });

  test('BEGIN and COMMIT inside a string', async () => {
    const text =
      'INSERT INTO t VALUES (1); BEGIN; INSERT INTO t VALUES (2); COMMIT; INSERT INTO t VALUES (3); INSERT INTO t VALUES (1)';
    expect(words(await raw.query(text)).filter((word) => !word.startsWith('notice'))).toEqual([
      'commandComplete INSERT 0 1',
      'commandComplete BEGIN',
      'commandComplete INSERT 0 1',
      'commandComplete COMMIT',
      'commandComplete INSERT 0 1',
      'error 23505',
      'readyForQuery I',
    ]);
    expect(await ids()).toEqual([1, 2]);
    expect(words(await raw.query('BEGIN; INSERT INTO t VALUES (9)')).at(-1)).toBe('readyForQuery T');
    expect(words(await raw.query('SELECT 1; ROLLBACK; INSERT INTO t VALUES (4)')).at(-1)).toBe(
      'readyForQuery I',
    );
    expect(await ids()).toEqual([1, 2, 4]);
  });

  test('an error has the position that PostgreSQL gives it', async () => {
    const [error] = await raw
      .query('SELECT 1; SELECT nothing FROM t')
      .then((all) => all.filter(({ name }) => name === 'error'));
    expect(error).toMatchObject({ code: '42703', position: '18', severity: 'ERROR' });
    const [other] = (await raw.query(`INSERT INTO t VALUES (1, 'ä', 3)`)).filter(
      ({ name }) => name === 'error',
    );
    expect(other).toMatchObject({ code: '42601', position: '31' });
    const [third] = (
      await raw.query(`BEGIN; INSERT INTO t VALUES (1, 'ä'); INSERT INTO nowhere VALUES (1); COMMIT`)
    ).filter(({ name }) => name === 'error');
    expect(third).toMatchObject({ code: '42P01', position: '51' });
    await raw.query('ROLLBACK');
  });

  test('a failed transaction stays failed until it ends, COMMIT then says ROLLBACK', async () => {
    await raw.query('BEGIN');
    await raw.query('INSERT INTO t VALUES (1)');
    expect(words(await raw.query('SELECT 1/0'))).toEqual(['error 22012', 'readyForQuery E']);
    expect(words(await raw.query('SELECT 1'))).toEqual(['error 25P02', 'readyForQuery E']);
    expect(words(await raw.query('COMMIT'))).toEqual(['commandComplete ROLLBACK', 'readyForQuery I']);
    expect(await ids()).toEqual([]);
  });

  test('savepoints', async () => {
    for (const text of ['BEGIN', 'INSERT INTO t VALUES (1)', 'SAVEPOINT a', 'INSERT INTO t VALUES (1)'])
      await raw.query(text);
    expect(words(await raw.query('ROLLBACK TO SAVEPOINT a'))).toEqual([
      'commandComplete ROLLBACK',
      'readyForQuery T',
    ]);
    for (const text of ['INSERT INTO t VALUES (2)', 'SAVEPOINT b', 'INSERT INTO t VALUES (3)', 'RELEASE b'])
      await raw.query(text);
    expect(words(await raw.query('COMMIT'))).toEqual(['commandComplete COMMIT', 'readyForQuery I']);
    expect(await ids()).toEqual([1, 2, 3]);
  });

  test('warnings of PostgreSQL about transactions that are none', async () => {
    expect(words(await raw.query('COMMIT'))).toEqual([
      'notice 25P01',
      'commandComplete COMMIT',
      'readyForQuery I',
    ]);
    await raw.query('BEGIN');
    expect(words(await raw.query('BEGIN'))).toEqual([
      'notice 25001',
      'commandComplete BEGIN',
      'readyForQuery T',
    ]);
    await raw.query('ROLLBACK');
  });

  test('COMMIT AND CHAIN', async () => {
    await raw.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    await raw.query('INSERT INTO t VALUES (1)');
    expect(words(await raw.query('COMMIT AND CHAIN'))).toEqual(['commandComplete COMMIT', 'readyForQuery T']);
    expect(words(await raw.query('SHOW transaction_isolation'))).toContain('dataRow repeatable read');
    await raw.query('INSERT INTO t VALUES (2)');
    await raw.query('ROLLBACK');
    expect(await ids()).toEqual([1]);
  });
});

describe('extended query', () => {
  const insert = (id: number) => [bind({ values: [String(id), 'x'] }), execute()];

  test('parse, bind, describe, execute', async () => {
    raw.send(
      parse({ text: 'INSERT INTO t VALUES ($1, $2) RETURNING id' }),
      describeMessage({ type: 'S' }),
      ...insert(1),
      sync(),
    );
    expect(words(await raw.ready())).toEqual([
      'parseComplete',
      'parameterDescription',
      'rowDescription',
      'bindComplete',
      'dataRow 1',
      'commandComplete INSERT 0 1',
      'readyForQuery I',
    ]);
    expect(await ids()).toEqual([1]);
  });

  test('the unnamed statement lives on over several Syncs, with writes and without', async () => {
    raw.send(parse({ text: 'INSERT INTO t VALUES ($1, $2)' }), sync());
    await raw.ready();
    for (const id of [1, 2, 3]) {
      raw.send(...insert(id), sync());
      expect(words(await raw.ready())).toEqual([
        'bindComplete',
        'commandComplete INSERT 0 1',
        'readyForQuery I',
      ]);
    }
    raw.send(parse({ text: 'SELECT count(*) FROM t WHERE id > $1' }), sync());
    await raw.ready();
    for (const least of ['0', '2']) {
      raw.send(bind({ values: [least] }), execute(), sync());
      expect(words(await raw.ready())[1]).toBe(`dataRow ${3 - Number(least)}`);
    }
    expect(await ids()).toEqual([1, 2, 3]);
  });

  test('named statements survive transactions and are closed', async () => {
    raw.send(
      parse({ name: 'ins', text: 'INSERT INTO t VALUES ($1, $2)' }),
      parse({ name: 'sel', text: 'SELECT v FROM t WHERE id = $1' }),
      sync(),
    );
    expect(words(await raw.ready())).toEqual(['parseComplete', 'parseComplete', 'readyForQuery I']);
    await raw.query('BEGIN');
    raw.send(
      bind({ statement: 'ins', values: ['1', 'one'] }),
      execute(),
      bind({ statement: 'sel', values: ['1'] }),
      execute(),
      sync(),
    );
    expect(words(await raw.ready())).toEqual([
      'bindComplete',
      'commandComplete INSERT 0 1',
      'bindComplete',
      'dataRow one',
      'commandComplete SELECT 1',
      'readyForQuery T',
    ]);
    await raw.query('COMMIT');
    raw.send(bind({ statement: 'ins', values: ['2', 'two'] }), execute(), sync());
    await raw.ready();
    raw.send(close({ type: 'S', name: 'ins' }), sync());
    expect(words(await raw.ready())).toEqual(['closeComplete', 'readyForQuery I']);
    raw.send(bind({ statement: 'ins', values: ['3', 'x'] }), execute(), sync());
    expect(words(await raw.ready())).toEqual(['error 26000', 'readyForQuery I']);
    expect(await ids()).toEqual([1, 2]);
  });

  test('a pipeline of groups answers in order', async () => {
    raw.send(
      parse({ text: 'INSERT INTO t VALUES ($1, $2)' }),
      ...insert(1),
      sync(),
      parse({ text: 'SELECT count(*) FROM t' }),
      bind(),
      execute(),
      sync(),
      parse({ text: 'INSERT INTO t VALUES ($1, $2)' }),
      ...insert(1),
      sync(),
      parse({ text: 'INSERT INTO t VALUES ($1, $2)' }),
      ...insert(2),
      sync(),
      serialize.query('SELECT count(*) FROM t'),
    );
    const answers = [];
    for (let group = 0; group < 5; group++)
      answers.push(words(await raw.ready()).filter((word) => !/Complete$|rowDescription/.test(word)));
    expect(answers).toEqual([
      ['commandComplete INSERT 0 1', 'readyForQuery I'],
      ['dataRow 1', 'commandComplete SELECT 1', 'readyForQuery I'],
      ['error 23505', 'readyForQuery I'],
      ['commandComplete INSERT 0 1', 'readyForQuery I'],
      ['dataRow 2', 'commandComplete SELECT 1', 'readyForQuery I'],
    ]);
  });

  test('several statements in one group are one transaction', async () => {
    const one = [parse({ text: 'INSERT INTO t VALUES ($1, $2)' }), ...insert(1)];
    raw.send(...one, ...insert(2), sync());
    expect(words(await raw.ready()).at(-1)).toBe('readyForQuery I');
    raw.send(...insert(3), ...insert(1), ...insert(4), sync());
    expect(words(await raw.ready()).slice(-2)).toEqual(['error 23505', 'readyForQuery I']);
    expect(await ids()).toEqual([1, 2]);
  });

  test('BEGIN and COMMIT as statements of a pipeline', async () => {
    const run = (text: string) => [parse({ text }), bind(), execute()];
    raw.send(
      ...run('BEGIN'),
      ...run('INSERT INTO t VALUES (1)'),
      ...run('INSERT INTO t VALUES (2)'),
      ...run('COMMIT'),
      sync(),
    );
    expect(words(await raw.ready()).filter((word) => word.startsWith('command'))).toEqual([
      'commandComplete BEGIN',
      'commandComplete INSERT 0 1',
      'commandComplete INSERT 0 1',
      'commandComplete COMMIT',
    ]);
    expect(await ids()).toEqual([1, 2]);
  });

  test('portals with row limits', async () => {
    raw.send(
      parse({ text: 'SELECT generate_series(1, 5)' }),
      bind({ portal: 'p' }),
      execute({ portal: 'p', rows: 2 }),
      execute({ portal: 'p', rows: 2 }),
      execute({ portal: 'p', rows: 2 }),
      sync(),
    );
    expect(words(await raw.ready())).toEqual([
      'parseComplete',
      'bindComplete',
      'dataRow 1',
      'dataRow 2',
      'portalSuspended',
      'dataRow 3',
      'dataRow 4',
      'portalSuspended',
      'dataRow 5',
      'commandComplete SELECT 1',
      'readyForQuery I',
    ]);
  });

  test('a portal over several Syncs inside a transaction', async () => {
    await raw.query('BEGIN');
    raw.send(
      parse({ text: 'SELECT generate_series(1, 3)' }),
      bind({ portal: 'p' }),
      execute({ portal: 'p', rows: 1 }),
      sync(),
    );
    expect(words(await raw.ready()).slice(2)).toEqual(['dataRow 1', 'portalSuspended', 'readyForQuery T']);
    raw.send(execute({ portal: 'p', rows: 5 }), sync());
    expect(words(await raw.ready())).toEqual([
      'dataRow 2',
      'dataRow 3',
      'commandComplete SELECT 2',
      'readyForQuery T',
    ]);
    await raw.query('COMMIT');
  });

  test('Flush brings the answers without a Sync', async () => {
    raw.send(parse({ text: 'SELECT $1::int' }), describeMessage({ type: 'S' }), flush());
    expect(words(await raw.until('rowDescription'))).toEqual([
      'parseComplete',
      'parameterDescription',
      'rowDescription',
    ]);
    raw.send(bind({ values: ['7'] }), execute(), flush());
    expect(words(await raw.until('commandComplete'))).toEqual([
      'bindComplete',
      'dataRow 7',
      'commandComplete SELECT 1',
    ]);
    raw.send(sync());
    expect(words(await raw.ready())).toEqual(['readyForQuery I']);
    raw.send(parse({ text: 'INSERT INTO t VALUES ($1, $2)' }), flush());
    await raw.until('parseComplete');
    raw.send(...insert(1), flush());
    raw.send(sync());
    expect(words(await raw.ready())).toEqual([
      'bindComplete',
      'commandComplete INSERT 0 1',
      'readyForQuery I',
    ]);
    expect(await ids()).toEqual([1]);
  });

  test('after an error everything up to Sync is ignored', async () => {
    raw.send(
      parse({ text: 'SELECT 1 / (random() * 0)::int' }),
      bind(),
      execute(),
      parse({ text: 'INSERT INTO t VALUES ($1, $2)' }),
      ...insert(1),
      sync(),
    );
    expect(words(await raw.ready())).toEqual([
      'parseComplete',
      'bindComplete',
      'error 22012',
      'readyForQuery I',
    ]);
    expect(await ids()).toEqual([]);
  });
});

describe('COPY', () => {
  test('in, with data that come with the query in one packet', async () => {
    raw.send(serialize.query('COPY t FROM STDIN'));
    expect(words(await raw.until('copyInResponse'))).toEqual(['copyInResponse']);
    raw.send(
      serialize.copyData(Buffer.from('1\ta\n2\t')),
      serialize.copyData(Buffer.from('b\n')),
      serialize.copyDone(),
    );
    expect(words(await raw.ready())).toEqual(['commandComplete COPY 2', 'readyForQuery I']);
    raw.send(
      serialize.query('COPY t FROM STDIN'),
      serialize.copyData(Buffer.from('3\tc\n')),
      serialize.copyDone(),
    );
    expect(words(await raw.ready())).toEqual(['copyInResponse', 'commandComplete COPY 1', 'readyForQuery I']);
    expect(await ids()).toEqual([1, 2, 3]);
  });

  test('in, given up by the client or refused by the server', async () => {
    raw.send(serialize.query('COPY t FROM STDIN'));
    await raw.until('copyInResponse');
    raw.send(serialize.copyData(Buffer.from('1\ta\n')), serialize.copyFail('no'));
    expect(words(await raw.ready())).toEqual(['error 57014', 'readyForQuery I']);
    raw.send(serialize.query('COPY t FROM STDIN'));
    await raw.until('copyInResponse');
    raw.send(serialize.copyData(Buffer.from('one\ta\n')), serialize.copyDone());
    expect(words(await raw.ready())).toEqual(['error 22P02', 'readyForQuery I']);
    expect(words(await raw.query('SELECT count(*) FROM t'))).toContain('dataRow 0');
  });

  test('in by the extended protocol and in a transaction', async () => {
    await raw.query('BEGIN');
    raw.send(parse({ text: 'COPY t FROM STDIN' }), bind(), execute(), sync());
    await raw.until('copyInResponse');
    raw.send(serialize.copyData(Buffer.from('5\ta\n')), serialize.copyDone(), sync());
    expect(words(await raw.until('commandComplete')).at(-1)).toBe('commandComplete COPY 1');
    await raw.ready();
    expect(words(await raw.query('COMMIT'))).toEqual(['commandComplete COMMIT', 'readyForQuery I']);
    expect(await ids()).toEqual([5]);
  });

  test('out', async () => {
    await raw.query(`INSERT INTO t VALUES (1, 'a'), (2, 'b')`);
    const messages = await raw.query('COPY t TO STDOUT');
    expect(words(messages)).toEqual([
      'copyOutResponse',
      'copyData',
      'copyData',
      'copyDone',
      'commandComplete COPY 2',
      'readyForQuery I',
    ]);
  });
});

describe('in the middle', () => {
  test('cancel', async () => {
    raw.send(serialize.query('SELECT pg_sleep(30)'));
    const running = `SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(30)' AND wait_event = 'PgSleep'`;
    await eventually('it sleeps', async () => (await cluster.directly(1, running)).length === 1);
    const { processId, secretKey } = raw.backend;
    connect({ host: embeddedHost, port: cluster.node(1).gatewayPort }).end(
      serialize.cancel(processId, secretKey),
    );
    expect(words(await raw.ready())).toEqual(['rowDescription', 'error 57014', 'readyForQuery I']);
    expect(words(await raw.query('SELECT 1'))).toContain('dataRow 1');
  });

  test('a cancel with a wrong key does nothing', async () => {
    raw.send(serialize.query('SELECT pg_sleep(0.5)'));
    connect({ host: embeddedHost, port: cluster.node(1).gatewayPort }).end(
      serialize.cancel(raw.backend.processId, raw.backend.secretKey ^ 1),
    );
    expect(words(await raw.ready())).toContain('commandComplete SELECT 1');
  });

  test.each([
    ['a transaction', async () => void (await raw.query('BEGIN; INSERT INTO t VALUES (77)'))],
    ['a statement', async () => raw.send(serialize.query('SELECT pg_sleep(30), 77'))],
    [
      'a COPY',
      async () => {
        raw.send(serialize.query('COPY t FROM STDIN'));
        await raw.until('copyInResponse');
        raw.send(serialize.copyData(Buffer.from('77\tx\n')));
      },
    ],
  ])('the client goes away in %s: its session ends, nothing stays', async (_, begin) => {
    const { rows } = {
      rows: (await raw.query('SELECT pg_backend_pid()')).find(({ name }) => name === 'dataRow')?.[
        'fields'
      ] as string[],
    };
    await begin();
    raw.socket.destroy();
    const alive = `SELECT 1 FROM pg_stat_activity WHERE pid = ${rows[0]}`;
    await eventually(
      'the server session has ended',
      async () => (await cluster.directly(1, alive)).length === 0,
      15_000, // Less than the statement would take.
    );
    expect(await ids()).toEqual([]);
  });

  test('notices and LISTEN', async () => {
    const notices = await raw.query(`DO $$ BEGIN RAISE NOTICE 'hear, hear'; RAISE WARNING 'oh'; END $$`);
    expect(words(notices)).toEqual(['notice 00000', 'notice 01000', 'commandComplete DO', 'readyForQuery I']);
    expect(words(await raw.query('LISTEN news'))).toEqual(['commandComplete LISTEN', 'readyForQuery I']);
    await cluster.query(1, `NOTIFY news, 'hello'`);
    expect(await raw.next()).toMatchObject({ name: 'notification', channel: 'news', payload: 'hello' });
  });

  test('what is no message is a protocol violation, and only this session ends', async () => {
    raw.send(Buffer.from('!\0\0\0\x04', 'latin1'));
    expect(brief((await raw.until('error')).at(-1) ?? { name: '' })).toBe('error 08P01');
    expect(await cluster.query(1, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });
});

describe('a big result', () => {
  test('of 100 MB to a slow reader does not fill the gateway', async () => {
    const before = cluster.gatewayMemory(1);
    raw.socket.pause();
    raw.send(serialize.query(`SELECT repeat('x', 10000) FROM generate_series(1, 10000)`));
    let received = 0;
    let most = 0;
    // The parser of the test itself would keep every row: count bytes instead.
    raw.socket.removeAllListeners('data');
    raw.socket.on('data', (chunk: Buffer) => (received += chunk.length));
    raw.socket.pause();
    const waiting = `SELECT 1 FROM pg_stat_activity WHERE wait_event = 'ClientWrite' AND query LIKE 'SELECT repeat%'`;
    await eventually(
      'the server waits for the gateway',
      async () => (await cluster.directly(1, waiting)).length === 1,
    );
    while (received < 100_000_000) {
      most = Math.max(most, cluster.gatewayMemory(1));
      const mark = received;
      raw.socket.resume();
      await eventually('more has come', () => received >= Math.min(mark + 2_000_000, 100_000_000));
      raw.socket.pause();
    }
    expect((most - before) / 1024 / 1024).toBeLessThan(64);
    // Others are served meanwhile, and afterwards it is over.
    raw.socket.resume();
    expect(await cluster.query(1, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });
});
