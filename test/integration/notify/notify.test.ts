/**
 * NOTIFY and pg_notify() on nodes of 15 and 18: listeners of every node hear every committed notification once, in
 * the order of each sender's commits; what is refused is refused in PostgreSQL's own words.
 */
import type { Client, Notification } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { failureOf, startCluster, type Cluster } from '../../support/cluster.ts';
import { eventually, timed } from '../../support/polling.ts';
import { findProgram, needs, psql } from '../../support/programs.ts';

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ majors: [18, 15, 18] });
  await cluster.query(1, 'CREATE TABLE items (id int PRIMARY KEY, what text)');
  await cluster.query(
    1,
    `CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
     BEGIN PERFORM pg_notify('items', TG_OP || ' ' || NEW.id); RETURN NULL; END $$`,
  );
  await cluster.query(
    1,
    'CREATE TRIGGER tell AFTER INSERT OR UPDATE ON items FOR EACH ROW EXECUTE FUNCTION tell()',
  );
});

afterAll(async () => {
  await cluster?.stop();
});

/** A session that listens, and what it has heard. */
class Listener {
  readonly client: Client;
  readonly heard: Notification[] = [];

  constructor(client: Client) {
    this.client = client;
    client.on('notification', (notification) => this.heard.push(notification));
  }

  get payloads(): (string | undefined)[] {
    return this.heard.map(({ payload }) => payload);
  }

  async hears(count: number): Promise<void> {
    await eventually(
      `${count} notifications, not ${this.heard.length}`,
      () => this.heard.length >= count,
      30_000,
    );
  }
}

async function listeners(channel: string): Promise<Listener[]> {
  return Promise.all(
    cluster.numbers.map(async (number) => {
      const listener = new Listener(await cluster.client(number));
      await listener.client.query(`LISTEN ${channel}`);
      return listener;
    }),
  );
}

async function end(all: readonly Listener[]): Promise<void> {
  await Promise.all(all.map(({ client }) => client.end()));
}

/** What every listener hears until, last of all, `done` comes. */
async function heardAfter(all: readonly Listener[], channel: string): Promise<(string | undefined)[][]> {
  await cluster.query(1, `SELECT pg_notify($1, 'done')`, [channel]);
  await Promise.all(
    all.map((each) => eventually('the last notification', () => each.payloads.includes('done'))),
  );
  return all.map((each) => each.payloads.slice(0, -1));
}

function thrice<T>(one: T): T[] {
  return cluster.numbers.map(() => one);
}

function pidOf(client: Client): number {
  return (client as unknown as { readonly processID: number }).processID;
}

describe('NOTIFY reaches the listeners of all nodes', () => {
  test('from every node, outside of and inside transactions, in the order of the commits', async () => {
    const all = await listeners('c1');
    for (const number of cluster.numbers) {
      const sender = await cluster.client(number);
      await sender.query(`NOTIFY c1, 'alone ${number}'`);
      await sender.query('BEGIN');
      await sender.query(`NOTIFY c1, 'first ${number}'`);
      await sender.query('SAVEPOINT s');
      await sender.query(`NOTIFY c1, 'never ${number}'`);
      await sender.query('ROLLBACK TO SAVEPOINT s');
      await sender.query(`NOTIFY c1, 'second ${number}'`);
      await sender.query(`NOTIFY c1, 'first ${number}'`);
      await sender.query('COMMIT');
      await sender.query(`BEGIN; NOTIFY c1, 'lost'; ROLLBACK`);
      await sender.query(`SELECT 1; NOTIFY c1, 'string ${number}'; SELECT 2`);
      await sender.end();
    }
    const expected = cluster.numbers.flatMap((number) => [
      `alone ${number}`,
      `first ${number}`,
      `second ${number}`,
      `string ${number}`,
    ]);
    expect(await heardAfter(all, 'c1')).toEqual(thrice(expected));
    await end(all);
  });

  test('pg_notify and NOTIFY as prepared statements with parameters, and in a read-only transaction', async () => {
    const all = await listeners('c2');
    const sender = await cluster.client(2);
    for (const index of [1, 2, 3])
      await sender.query({
        name: 'p',
        text: 'SELECT pg_notify($1, $2)',
        values: ['c2', `prepared ${index}`],
      });
    for (let index = 0; index < 2; index++) {
      const result = await sender.query({ name: 'n', text: `NOTIFY c2, 'Käse '' \\ 𝄞'`, values: [] });
      expect(result.command).toBe('NOTIFY');
    }
    await sender.query('BEGIN READ ONLY');
    await sender.query({ name: 'n', text: `NOTIFY c2, 'Käse '' \\ 𝄞'`, values: [] });
    expect((await sender.query('NOTIFY "c2"')).command).toBe('NOTIFY');
    await sender.query('COMMIT');
    const cheese = `Käse ' \\ 𝄞`;
    expect(await heardAfter(all, 'c2')).toEqual(
      thrice(['prepared 1', 'prepared 2', 'prepared 3', cheese, cheese, cheese, '']),
    );
    await sender.end();
    await end(all);
  });

  test('triggers notify with the rows that they tell of, once', async () => {
    const all = await listeners('items');
    await cluster.query(3, `INSERT INTO items SELECT n, 'x' FROM generate_series(1, 3) AS n`);
    await cluster.query(2, `UPDATE items SET what = 'y' WHERE id = 2`);
    for (const each of all) {
      await each.hears(4);
      // Whoever hears of a row sees it.
      const { rows } = await each.client.query('SELECT what FROM items WHERE id = 2');
      expect(rows).toEqual([{ what: 'y' }]);
    }
    expect(await heardAfter(all, 'items')).toEqual(thrice(['INSERT 1', 'INSERT 2', 'INSERT 3', 'UPDATE 2']));
    await end(all);
  });

  test('a trigger that fires on every node notifies once', async () => {
    await cluster.query(1, 'CREATE TABLE loud (id int PRIMARY KEY)');
    await cluster.query(1, 'CREATE TRIGGER t AFTER INSERT ON loud FOR EACH ROW EXECUTE FUNCTION tell()');
    await cluster.query(1, 'ALTER TABLE loud ENABLE ALWAYS TRIGGER t');
    const all = await listeners('items');
    await cluster.query(1, 'INSERT INTO loud VALUES (7)');
    await cluster.query(2, 'INSERT INTO loud VALUES (8)');
    expect(await heardAfter(all, 'items')).toEqual(thrice(['INSERT 7', 'INSERT 8']));
    await end(all);
  });

  test('the sender is the process of the session that notified, on its own node', async () => {
    const all = await listeners('c3');
    await all[0]!.client.query(`NOTIFY c3, 'mine'`);
    for (const each of all) await each.hears(1);
    const pids = all.map((each) => each.heard[0]!.processId);
    expect(pids[0]).toBe(pidOf(all[0]!.client));
    expect(pids[1]).not.toBe(pidOf(all[1]!.client));
    await end(all);
  });

  test('its own notification reaches a session before the end of its statement', async () => {
    const [own] = await listeners('c4');
    for (let index = 1; index <= 20; index++) {
      await own!.client.query(`NOTIFY c4, '${index}'`);
      expect(own!.heard).toHaveLength(index);
    }
    await own!.client.query('BEGIN');
    await own!.client.query(`NOTIFY c4, 'block'`);
    expect(own!.heard).toHaveLength(20);
    await own!.client.query('COMMIT');
    expect(own!.heard).toHaveLength(21);
  });

  test('200 notifications of two senders under load: each once, each sender in order, on all nodes', async () => {
    const all = await listeners('c5');
    let over = false;
    await cluster.query(1, 'CREATE TABLE busy (id int PRIMARY KEY, n int DEFAULT 0)');
    await cluster.query(1, 'INSERT INTO busy SELECT generate_series(1, 50)');
    const load = cluster.numbers.map(async (number) => {
      const client = await cluster.client(number);
      for (let round = 0; !over; round++)
        await client.query('UPDATE busy SET n = n + 1 WHERE id = $1', [(round * 7 + number * 16) % 50]);
      await client.end();
    });
    const senders = [1, 2].map(async (number) => {
      const client = await cluster.client(number);
      for (let index = 0; index < 100; index++) {
        if (index % 3 === 0) await client.query(`NOTIFY c5, '${number} ${index}'`);
        else if (index % 3 === 1)
          await client.query('SELECT pg_notify($1, $2)', ['c5', `${number} ${index}`]);
        else {
          await client.query('BEGIN');
          await client.query('UPDATE items SET what = $1 WHERE id = $2', [`${index}`, number]);
          await client.query(`NOTIFY c5, '${number} ${index}'`);
          await client.query('COMMIT');
        }
      }
      await client.end();
    });
    await Promise.all(senders);
    over = true;
    await Promise.all(load);
    for (const each of all) {
      await each.hears(200);
      for (const number of [1, 2]) {
        const own = each.payloads.filter((payload) => payload?.startsWith(`${number} `));
        expect(own).toEqual(Array.from({ length: 100 }, (_, index) => `${number} ${index}`));
      }
      expect(each.heard).toHaveLength(200);
    }
    await end(all);
  });

  test('listening ends and begins at once', async () => {
    const [, listener] = await listeners('c6');
    const sender = await cluster.client(1);
    await sender.query(`NOTIFY c6, '1'`);
    await listener!.client.query('UNLISTEN c6');
    await sender.query(`NOTIFY c6, '2'`);
    await listener!.client.query('LISTEN c6');
    await sender.query(`NOTIFY c6, '3'`);
    await listener!.hears(2);
    expect(listener!.payloads).toEqual(['1', '3']);
    await sender.end();
  });

  test('many in one transaction, and the longest payload', async () => {
    const all = await listeners('c7');
    const longest = 'ж'.repeat(3999) + 'x';
    await cluster.query(1, `SELECT count(pg_notify('c7', n::text)) FROM generate_series(1, 2000) AS n`);
    await cluster.query(2, 'SELECT pg_notify($1, $2)', ['c7', longest]);
    const numbers = Array.from({ length: 2000 }, (_, index) => String(index + 1));
    expect(await heardAfter(all, 'c7')).toEqual(thrice([...numbers, longest]));
    await end(all);
  });

  test('COMMIT AND CHAIN notifies, ROLLBACK AND CHAIN does not', async () => {
    const all = await listeners('c8');
    const sender = await cluster.client(3);
    await sender.query(`BEGIN; NOTIFY c8, '1'`);
    await sender.query('COMMIT AND CHAIN');
    await sender.query(`NOTIFY c8, '2'`);
    await sender.query('ROLLBACK AND CHAIN');
    await sender.query(`NOTIFY c8, '3'`);
    await sender.query('COMMIT');
    expect(await heardAfter(all, 'c8')).toEqual(thrice(['1', '3']));
    await sender.end();
    await end(all);
  });
});

describe('how long it takes', () => {
  /** Milliseconds from sending NOTIFY to the answer and to the arrival at the listener; medians of 100. */
  async function measure(sender: Client, listener: Client): Promise<{ answered: number; heard: number }> {
    await listener.query('LISTEN timed');
    const answered: number[] = [];
    const heard: number[] = [];
    for (let index = 0; index < 100; index++) {
      const arrival = new Promise<number>((resolve) =>
        listener.once('notification', () => resolve(performance.now())),
      );
      const start = performance.now();
      await sender.query(`NOTIFY timed, '${index}'`);
      answered.push(performance.now() - start);
      heard.push((await arrival) - start);
    }
    const median = (times: number[]): number => times.sort((one, other) => one - other)[50]!;
    return { answered: median(answered), heard: median(heard) };
  }

  test('from NOTIFY on one node to the listener of another, and on one server', timed, async () => {
    const through = await measure(await cluster.client(1), await cluster.client(3));
    const direct = await measure(await cluster.direct(1), await cluster.direct(1));
    const words = ({ answered, heard }: typeof direct): string =>
      `answered ${answered.toFixed(1)} ms, heard ${heard.toFixed(1)} ms`;
    process.stdout.write(`NOTIFY, node 1 to 3: ${words(through)}; one server: ${words(direct)}\n`);
    // Of a machine that does much else; without load it is a few milliseconds.
    expect(through.heard).toBeLessThan(1000);
  });
});

test('transactions that cannot be prepared notify too', async () => {
  const all = await listeners('c10');
  for (const number of cluster.numbers) {
    const client = await cluster.client(number);
    await client.query(`BEGIN; CREATE TEMP TABLE tt (a int); NOTIFY c10, '1 ${number}'`);
    await client.query('COMMIT');
    await client.query(`INSERT INTO tt VALUES (1); NOTIFY c10, '2 ${number}'`);
    await client.query(
      `BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; INSERT INTO items VALUES (${500 + number})`,
    );
    await client.query(`NOTIFY c10, '3 ${number}'`);
    await client.query('COMMIT');
    await client.query(`NOTIFY c10, '4 ${number}'`);
    await client.end();
  }
  const expected = cluster.numbers.flatMap((number) => [1, 2, 3, 4].map((each) => `${each} ${number}`));
  expect(await heardAfter(all, 'c10')).toEqual(thrice(expected));
  await end(all);
});

describe('LISTEN inside a transaction that writes', () => {
  test('begins with the commit, and a rollback forgets it', async () => {
    const listener = new Listener(await cluster.client(2));
    const { client } = listener;
    await client.query('BEGIN');
    await client.query(`INSERT INTO items VALUES (100, 'l')`);
    expect((await client.query('LISTEN "Кanal ""1"')).command).toBe('LISTEN');
    await client.query('SAVEPOINT s');
    await client.query('LISTEN never');
    await client.query('ROLLBACK TO SAVEPOINT s');
    await client.query('COMMIT');
    await client.query('BEGIN; LISTEN never; INSERT INTO items VALUES (101); ROLLBACK');
    await client.query(`INSERT INTO items VALUES (102, 'l'); LISTEN twice`);
    await client.query('BEGIN');
    await client.query({ text: 'LISTEN $x', values: [] }).catch(() => undefined);
    await client.query('ROLLBACK');
    await client.query('BEGIN');
    await client.query({ name: 'l', text: 'LISTEN extended', values: [] });
    await client.query(`UPDATE items SET what = 'm' WHERE id = 100`);
    await client.query('COMMIT');
    const { rows } = await client.query('SELECT pg_listening_channels() AS channel ORDER BY 1');
    expect(rows).toEqual([{ channel: 'extended' }, { channel: 'twice' }, { channel: 'Кanal "1' }]);
    await cluster.query(1, `NOTIFY "Кanal ""1", 'here'`);
    await listener.hears(1);
    await client.query('BEGIN; UPDATE items SET what = $$n$$ WHERE id = 100; UNLISTEN *; COMMIT');
    expect((await client.query('SELECT pg_listening_channels() AS channel')).rows).toEqual([]);
    await client.end();
  });
});

describe('errors', () => {
  const cases: readonly [string, string][] = [
    ['an empty channel', `SELECT pg_notify('', 'x')`],
    ['no channel', `SELECT pg_notify(NULL, 'x')`],
    ['a channel that is too long', `SELECT pg_notify(repeat('c', 64), 'x')`],
    ['a payload that is too long', `SELECT pg_notify('c', repeat('x', 8000))`],
    ['a payload that is too long for NOTIFY', `NOTIFY c, '${'x'.repeat(8000)}'`],
    ['a name without characters', `NOTIFY "", 'x'`],
    ['a payload that is no constant', 'NOTIFY c, $1'],
    ['a failed transaction', 'BEGIN; SELECT 1/0; NOTIFY c'],
  ];

  test.each(cases)('%s is what a server says', async (_name, text) => {
    for (const number of [1, 2]) {
      const through = await cluster.client(number);
      const past = await cluster.direct(number);
      const [ours, theirs] = [await failureOf(through.query(text)), await failureOf(past.query(text))];
      await Promise.all([through.end(), past.end()]);
      const essence = ({ code, message, hint, position }: typeof ours) => ({ code, message, hint, position });
      expect(essence(ours)).toEqual(essence(theirs));
    }
  });

  test('the command NOTIFY inside a function, a DO or a rule is refused, whatever else they do', async () => {
    await cluster.query(
      1,
      `CREATE FUNCTION old_style() RETURNS int LANGUAGE plpgsql AS $$ BEGIN NOTIFY c9; RETURN 1; END $$`,
    );
    await cluster.query(1, 'CREATE TABLE ruled (id int)');
    await cluster.query(1, 'CREATE RULE r AS ON UPDATE TO ruled DO ALSO NOTIFY c9');
    const texts = [
      'SELECT old_style()',
      'INSERT INTO items SELECT 200 + old_style()',
      'DO $$ BEGIN NOTIFY c9; END $$',
      'UPDATE ruled SET id = 1',
      'BEGIN; SELECT old_style(); COMMIT',
    ];
    const all = await listeners('c9');
    for (const number of [1, 2]) {
      for (const text of texts) {
        const client = await cluster.client(number);
        const failure = await failureOf(client.query(text), text);
        expect([failure.code, failure.message]).toEqual([
          '0A000',
          expect.stringContaining('[multimaster] the commands NOTIFY'),
        ]);
        await client.end();
      }
    }
    expect(await heardAfter(all, 'c9')).toEqual(thrice([]));
    await cluster.query(1, 'DROP FUNCTION old_style(); DROP TABLE ruled');
    await end(all);
  });

  test.each(['NOTIFY c16', `SELECT pg_notify('c16', 'x')`, 'LISTEN c16'])(
    'a transaction that the client itself prepares cannot %s, as on a server',
    async (text) => {
      const client = await cluster.client(2);
      await client.query('BEGIN');
      await client.query('INSERT INTO items VALUES (400)');
      await client.query(text);
      const failure = await failureOf(client.query(`PREPARE TRANSACTION 'c16'`));
      expect([failure.code, failure.message]).toEqual([
        '0A000',
        'cannot PREPARE a transaction that has executed LISTEN, UNLISTEN, or NOTIFY',
      ]);
      expect((await client.query('SELECT pg_listening_channels()')).rows).toEqual([]);
      await client.end();
    },
  );
});

describe('what others do', () => {
  test('a session past the gateway notifies the listeners of its own server, and so does pg_notify_local', async () => {
    const all = await listeners('c11');
    await cluster.directly(2, `SELECT pg_notify('c11', 'direct')`);
    await cluster.directly(2, `NOTIFY c11, 'command'`);
    await all[1]!.hears(2);
    expect(await heardAfter(all, 'c11')).toEqual([[], ['direct', 'command'], []]);
    await end(all);
  });

  test('forged messages do no more than pg_notify does', async () => {
    const all = await listeners('c12');
    const contents = [
      'nonsense',
      'null',
      '[]',
      '{"channel": "c12"}',
      '{"channel": "", "payload": "x"}',
      '{"channel": "c12", "payload": 7}',
      `{"channel": "${'c'.repeat(64)}", "payload": "x"}`,
      `{"channel": "c12", "payload": "${'x'.repeat(8000)}"}`,
      '{"channel": "c12", "payload": "\\u0000"}',
      '{"channel": "c12", "payload": "\\ud800"}',
      `{"channel": "c12", "payload": "'); DROP TABLE items; --"}`,
    ];
    for (const content of contents)
      await cluster.query(1, `SELECT pg_logical_emit_message(true, 'mtm-notify', $1)`, [content]);
    await cluster.query(1, `SELECT pg_logical_emit_message(false, 'mtm-notify', $1)`, [contents.at(-1)]);
    expect(await heardAfter(all, 'c12')).toEqual(thrice([`'); DROP TABLE items; --`]));
    expect(cluster.gatewayLog(2)).toContain('notifications were not delivered');
    await end(all);
  });

  test('the notification and the row of one commit come together, also by COPY and in a function', async () => {
    const all = await listeners('items');
    const sender = await cluster.client(3);
    await sender.query(`CREATE PROCEDURE fill(a int, b int) LANGUAGE plpgsql AS $$
      BEGIN
        FOR n IN a..b LOOP
          BEGIN
            INSERT INTO items VALUES (n, 'p');
            IF n % 2 = 0 THEN RAISE EXCEPTION 'even'; END IF;
          EXCEPTION WHEN raise_exception THEN NULL;
          END;
        END LOOP;
      END $$`);
    await sender.query('CALL fill(301, 304)');
    expect(await heardAfter(all, 'items')).toEqual(thrice(['INSERT 301', 'INSERT 303']));
    await sender.end();
    await end(all);
  });

  test('who may not write messages may notify', async () => {
    await cluster.query(1, 'CREATE ROLE small LOGIN');
    const all = await listeners('c13');
    const small = await cluster.client(2, { user: 'small' });
    await small.query(`NOTIFY c13, '1'`);
    await small.query(`SELECT pg_notify('c13', '2')`);
    expect(
      (await failureOf(small.query(`SELECT pg_logical_emit_message(true, 'mtm-notify', 'x')`))).code,
    ).toBe('42501');
    expect(await heardAfter(all, 'c13')).toEqual(thrice(['1', '2']));
    await small.end();
    await end(all);
  });
});

describe.skipIf(findProgram('psql') === undefined)(`psql${needs('psql')}`, () => {
  test('shows a notification behind the statement that caused it', async () => {
    const run = await psql(cluster.node(2), ['-q'], `LISTEN c14;\nNOTIFY c14, 'x';\nSELECT 1;\n`);
    expect(run.stdout).toMatch(
      /^Asynchronous notification "c14" with payload "x" received from server process with PID \d+\.\n1\n/,
    );
  });
});

describe('gateways that end and begin', () => {
  test('one that is killed loses what it had not told and repeats nothing', async () => {
    const all = await listeners('c15');
    let sent = 0;
    let over = false;
    const sending = (async () => {
      const client = await cluster.client(1);
      for (let index = 1; !over; index++) {
        await client.query(`NOTIFY c15, '${index}'`).then(
          () => (sent = index),
          () => undefined,
        );
      }
      await client.end();
    })();
    await eventually('some notifications', () => all[2]!.heard.length > 30);
    await cluster.killGateway(3);
    await eventually('the others go on', () => all[1]!.heard.length > 80, 60_000);
    await cluster.startGateway(3);
    await cluster.whole();
    const again = new Listener(await cluster.client(3));
    await again.client.query('LISTEN c15');
    await again.hears(20);
    over = true;
    await sending;
    const numbers = (each: Listener): number[] => each.payloads.map(Number);
    await eventually('the last one', () => numbers(all[1]!).includes(sent) && numbers(again).includes(sent));
    for (const each of [all[0]!, all[1]!, all[2]!, again]) {
      const told = numbers(each);
      expect(told).toEqual([...new Set(told)].sort((one, other) => one - other));
    }
    // Those of the nodes that stayed are complete but for what the client was told to be uncertain.
    expect(numbers(all[1]!).length).toBeGreaterThanOrEqual(sent - 3);
    await end([all[0]!, all[1]!, again]);
  });
});

test('where functions may hide a NOTIFY, temporary tables can still be read and cursors held', async () => {
  await cluster.query(
    1,
    `CREATE FUNCTION quiet() RETURNS void LANGUAGE plpgsql AS $$ BEGIN /* no NOTIFY */ END $$`,
  );
  const client = await cluster.client(2);
  await client.query('CREATE TEMP TABLE mine (a int)');
  await client.query('INSERT INTO mine VALUES (1), (2)');
  expect((await client.query('SELECT * FROM mine ORDER BY a')).rows).toEqual([{ a: 1 }, { a: 2 }]);
  await client.query('BEGIN');
  expect((await client.query('SELECT quiet(), count(*)::int AS n FROM mine')).rows).toMatchObject([{ n: 2 }]);
  await client.query('DECLARE held CURSOR WITH HOLD FOR SELECT a FROM mine ORDER BY a');
  await client.query('COMMIT');
  expect((await client.query('FETCH ALL FROM held')).rows).toEqual([{ a: 1 }, { a: 2 }]);
  // These leave no lock on the table.
  const sizes = await client.query<{ n: number }>(`SELECT pg_relation_size('mine')::int AS n, quiet()`);
  expect(sizes.rows[0]!.n).toBeGreaterThan(0);
  expect((await client.query(`SELECT quiet(), ROW(7)::mine AS r`)).rows).toMatchObject([{ r: '(7)' }]);
  const named = { name: 'one', text: `SELECT quiet(), (ROW(7)::mine).a AS a` };
  expect((await client.query(named)).rows).toMatchObject([{ a: 7 }]);
  await client.query('DECLARE other CURSOR WITH HOLD FOR SELECT 1 AS one');
  expect((await client.query('FETCH ALL FROM other')).rows).toEqual([{ one: 1 }]);
  await client.end();
  await cluster.query(1, 'DROP FUNCTION quiet()');
});
