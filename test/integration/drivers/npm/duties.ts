/**
 * What each driver and tool must do through gateways as it does with a server: registered as tests of the `describe`
 * that calls. Rule: only what all of them can; a package's own features are tested in its own file.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Cluster } from '../../../support/cluster.ts';
import { eventually } from '../../../support/polling.ts';
import { faultOf, type Access, type Driver, type Fault, type Session, type Statements } from './driver.ts';

/** The cluster of the file and the way to it. */
export interface Site {
  cluster(): Cluster;
  access(node: number): Access;
}

export const table = `CREATE TABLE item (id int PRIMARY KEY, name text CONSTRAINT item_name UNIQUE, amount int NOT NULL
  DEFAULT 0 CONSTRAINT item_amount CHECK (amount >= 0), about jsonb, at timestamptz, data bytea)`;

export function duties(driver: Driver, site: Site): void {
  let [first, second] = [] as unknown as [Session, Session];

  beforeAll(async () => {
    first = await driver.open(site.access(1), 4);
    second = await driver.open(site.access(2), 4);
    await second.rows('DELETE FROM item');
  });
  afterAll(async () => {
    await Promise.all([first?.close(), second?.close()]);
  });

  const fault = async (work: Promise<unknown>): Promise<Fault> => {
    const error: unknown = await work.then(
      () => new Error('it succeeded and should have failed'),
      (reason: unknown) => reason,
    );
    return (driver.fault ?? faultOf)(error);
  };
  const add = (session: Statements, id: number, name: string) =>
    session.rows('INSERT INTO item (id, name) VALUES ($1, $2)', [id, name]);

  test('values come back as they went, on the other node too', async () => {
    const [text, at] = [`it's "ä€😀" \\ \n ? :x --`, new Date('2024-02-29T12:34:56.789Z')];
    const values = [1, text, 7, JSON.stringify({ a: [1, null, 'x'] }), at, Buffer.from([0, 1, 255])];
    await first.rows(
      `INSERT INTO item (id, name, amount, about, at, data)
       VALUES ($1, $2, CAST($3 AS int), CAST(CAST($4 AS text) AS jsonb), CAST($5 AS timestamptz), $6)`,
      values,
    );
    for (const session of [second, first]) {
      const [row] = await session.rows(
        `SELECT name, amount, about ->> 'a' AS about, at = '2024-02-29 12:34:56.789Z' AS at, encode(data, 'hex') AS data
         FROM item WHERE id = $1`,
        [1],
      );
      expect(row).toEqual({ name: text, amount: 7, about: '[1, null, "x"]', at: true, data: '0001ff' });
    }
    const gone = await second.rows('DELETE FROM item WHERE id = $1 RETURNING name', [1]);
    expect(gone).toEqual([{ name: text }]);
    expect(await first.rows('SELECT 1 AS one FROM item')).toEqual([]);
  });

  test('the same statements again and again, from both nodes', async () => {
    for (let id = 1; id <= 15; id++) {
      await add(first, id, `name ${id}`);
      expect(await second.rows('SELECT name FROM item WHERE id = $1', [id])).toEqual([
        { name: `name ${id}` },
      ]);
      await second.rows('UPDATE item SET amount = amount + 1 WHERE id <= $1', [id]);
    }
    expect(await first.rows('SELECT CAST(sum(amount) AS int) AS sum FROM item')).toEqual([{ sum: 120 }]);
  });

  test('errors say what the server says, and the session goes on', async () => {
    const told = (await fault(add(first, 99, 'name 1'))).constraint !== undefined;
    expect(await fault(add(first, 99, 'name 1'))).toMatchObject({
      code: '23505',
      ...(told ? { constraint: 'item_name', table: 'item' } : {}),
    });
    expect((await fault(first.rows('UPDATE item SET amount = -1'))).code).toBe('23514');
    const wrong = await fault(first.rows('SELECT id, nothing FROM item'));
    expect(wrong).toMatchObject({ code: '42703', ...(told ? { position: '12' } : {}) });
    expect((await fault(first.rows('INSERT INTO item (id) SELECT 1 / 0'))).code).toBe('22012');
    expect(await first.rows('SELECT CAST(count(*) AS int) AS n FROM item')).toEqual([{ n: 15 }]);
  });

  test('transactions: rolled back, savepoints, isolation', async () => {
    await first.transaction(async (inside) => {
      await add(inside, 20, 'kept');
      const lost = inside.savepoint(async (deeper) => {
        await deeper.rows('UPDATE item SET amount = 99');
        await add(deeper, 20, 'twice');
      });
      expect((await fault(lost)).code).toBe('23505');
      await inside.savepoint((deeper) => add(deeper, 21, 'kept too'));
    });
    const failed = second.transaction(async (inside) => {
      await inside.rows('DELETE FROM item');
      throw new Error('on second thoughts');
    });
    await expect(failed).rejects.toThrow('on second thoughts');
    expect(await second.rows('SELECT CAST(count(*) AS int) AS n FROM item')).toEqual([{ n: 17 }]);
    for (const level of ['read committed', 'repeatable read', 'serializable'] as const) {
      const shown = await first.transaction((inside) => inside.rows('SHOW transaction_isolation'), level);
      expect(shown).toEqual([{ transaction_isolation: level }]);
    }
  });

  test('who lost against another node is told 40001, and repeats', async () => {
    const codes: string[] = [];
    do {
      const work = first.transaction(async (inside) => {
        await inside.rows('SELECT amount FROM item WHERE id = 20');
        if (codes.length === 0) await second.rows('UPDATE item SET amount = 5 WHERE id = 20');
        await inside.rows('UPDATE item SET amount = amount * 2 WHERE id = 20');
      }, 'repeatable read');
      codes.push(
        await work.then(
          () => 'done',
          async () => (await fault(work)).code,
        ),
      );
    } while (codes.at(-1) === '40001' && codes.length < 5);
    expect(codes).toEqual(['40001', 'done']);
    expect(await second.rows('SELECT amount FROM item WHERE id = 20')).toEqual([{ amount: 10 }]);
  });

  test('many at once over one connection, answered in order', async () => {
    const one = await driver.open(site.access(2), 1);
    const all = await Promise.all(
      Array.from({ length: 30 }, (_, n) => {
        if (n % 3 === 0) return one.rows('INSERT INTO item (id) VALUES ($1) RETURNING id AS n', [100 + n]);
        if (n % 3 === 1) return one.rows('SELECT CAST(count(*) AS int) AS n FROM item WHERE id >= 100');
        return fault(one.rows('SELECT $1 / CAST(0 AS int) AS n', [n])).then(({ code }) => [{ n: code }]);
      }),
    );
    expect(all.map(([row]) => row?.['n'])).toEqual(
      Array.from({ length: 30 }, (_, n) => [100 + n, Math.ceil(n / 3), '22012'][n % 3]),
    );
    await one.close();
  });

  test('a pool whose work fails in every way comes back clean', async () => {
    const codes = await Promise.all(
      Array.from({ length: 24 }, async (_, n) => {
        const session = n % 2 === 0 ? first : second;
        const work = session.transaction(async (inside) => {
          await add(inside, 200 + n, `pool ${n}`);
          if (n % 4 === 1) await inside.rows('SELECT 1 / 0 AS never');
          if (n % 4 === 2) throw new Error('given up');
        });
        await work.catch(() => undefined);
      }),
    );
    expect(codes).toHaveLength(24);
    const kept = 'SELECT CAST(count(*) AS int) AS n FROM item WHERE id BETWEEN 200 AND 299';
    expect(await Promise.all([first, second].map((each) => each.rows(kept)))).toEqual([
      [{ n: 12 }],
      [{ n: 12 }],
    ]);
    const busy = `SELECT 1 FROM pg_stat_activity WHERE usename = 'app' AND state <> 'idle'`;
    for (const node of [1, 2])
      await eventually('no connection is left in a transaction', async () => {
        const rows = await site.cluster().directly(node, busy);
        return rows.length === 0;
      });
  });

  // What stands upon pg sends as pg does.
  const megabytes = driver.ownProtocol === true ? 10 : 1;
  test(`${megabytes} MB there and back`, async () => {
    const text = 'ä€ '.repeat(Math.floor((megabytes * 1024 * 1024) / 6));
    const data = Buffer.alloc(megabytes * 1024 * 1024, 'bytes \0\xff');
    await first.rows('INSERT INTO item (id, about, data) VALUES (300, to_jsonb(CAST($1 AS text)), $2)', [
      text,
      data,
    ]);
    const [row] = await second.rows(`SELECT about #>> '{}' AS text, data FROM item WHERE id = 300`);
    expect(row?.['text'] === text).toBe(true);
    expect(data.equals(row?.['data'] as Uint8Array)).toBe(true);
    await second.rows('DELETE FROM item WHERE id = 300');
  });

  test('what runs is found by its text, and cancelled', async () => {
    const text = `SELECT CAST(pg_sleep(60) AS text) AS slept, '${driver.name}' AS driver`;
    const running = fault(first.rows(text));
    const other = await driver.open(site.access(1), 1);
    const cancel = `SELECT CAST(pg_cancel_backend(pid) AS int) AS done FROM pg_stat_activity
      WHERE state = 'active' AND pid <> pg_backend_pid() AND query LIKE $1`;
    await eventually('it runs and is cancelled', async () => {
      const rows = await other.rows(cancel, [`SELECT CAST(pg_sleep%'${driver.name}' AS driver`]);
      return rows.length > 0;
    });
    expect((await running).code).toBe('57014');
    await other.close();
  });
}
