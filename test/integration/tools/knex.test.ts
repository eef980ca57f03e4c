/**
 * knex: migrations up and down with its lock table, from several nodes at once, and its query builder at work.
 * Rule: nothing here knows of the cluster, except where the clients connect; afterwards all nodes are equal.
 */
import knexModule, { type Knex } from 'knex';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { embeddedDatabase, embeddedHost } from '../../../src/io/launcher/node-layout.ts';
import { startCluster, type Cluster } from '../../support/cluster.ts';
import { equalEverywhere, noPrepared } from '../../support/convergence.ts';

const { knex } = knexModule;

let cluster: Cluster;
const opened: Knex[] = [];

beforeAll(async () => {
  cluster = await startCluster({ majors: [15, 18, 18] });
});

afterEach(async () => {
  await equalEverywhere(cluster);
  await noPrepared(cluster);
});

afterAll(async () => {
  await Promise.all(opened.map((each) => each.destroy()));
  await cluster?.stop();
});

interface Step {
  readonly name: string;
  up(db: Knex): Promise<unknown>;
  down(db: Knex): Promise<unknown>;
}

const steps: readonly Step[] = [
  {
    name: '01_people',
    up: (db) =>
      db.schema
        .createTable('person', (t) => {
          t.increments('id');
          t.string('name', 80).notNullable().index();
          t.string('email').unique();
          t.enu('role', ['guest', 'author', 'admin'], { useNative: true, enumName: 'role' }).defaultTo(
            'guest',
          );
          t.jsonb('profile').defaultTo('{}');
          t.timestamps(true, true);
        })
        .createTable('article', (t) => {
          t.uuid('id').primary().defaultTo(db.raw('gen_random_uuid()'));
          t.integer('author').notNullable().references('id').inTable('person').onDelete('CASCADE');
          t.string('title').notNullable();
          t.text('body');
          t.specificType('tags', 'text[]').notNullable().defaultTo('{}');
          t.integer('likes').notNullable().defaultTo(0);
        }),
    down: (db) => db.schema.dropTable('article').dropTable('person').raw('DROP TYPE role'),
  },
  {
    name: '02_changes',
    up: async (db) => {
      await db.schema.alterTable('article', (t) => {
        t.bigInteger('words').notNullable().defaultTo(0);
        t.renameColumn('body', 'content');
        t.string('title', 400).notNullable().alter();
        t.index(['author', 'likes'], 'article_best');
        t.check('likes >= 0', undefined, 'article_likes');
      });
      await db.raw(`CREATE VIEW author AS SELECT * FROM person WHERE role = 'author'`);
      // A migration that fills what it has added.
      await db('person').insert({ name: 'Root', email: 'root@example.org', role: 'admin' });
      await db('article').update({ words: db.raw(`length(coalesce(content, ''))`) });
    },
    down: async (db) => {
      await db('person').where({ name: 'Root' }).delete();
      await db.raw('DROP VIEW author');
      await db.schema.alterTable('article', (t) => {
        t.dropChecks('article_likes');
        t.dropIndex([], 'article_best');
        t.renameColumn('content', 'body');
        t.dropColumn('words');
      });
    },
  },
  {
    name: '03_keys',
    up: (db) =>
      db.schema
        .createTable('tag', (t) => {
          t.string('name').notNullable();
          t.bigIncrements('number', { primaryKey: false });
          t.primary(['name']);
        })
        .createTable('untidy', (t) => t.text('whatever')),
    down: (db) => db.schema.dropTable('untidy').dropTable('tag'),
  },
];

/** Its migrations from a list instead of a folder. */
const migrations: Knex.MigratorConfig = {
  migrationSource: {
    getMigrations: () => Promise.resolve([...steps]),
    getMigrationName: (step: Step) => step.name,
    getMigration: (step: Step) => Promise.resolve(step),
  },
};

function connect(number: number): Knex {
  const connection = {
    host: embeddedHost,
    port: cluster.node(number).gatewayPort,
    user: 'postgres',
    database: embeddedDatabase,
  };
  const db = knex({ client: 'pg', connection, migrations, pool: { min: 0, max: 4 } });
  opened.push(db);
  return db;
}

interface Person {
  readonly id: number;
  readonly name: string;
}

describe('migrations', () => {
  test('up, down and up again from different nodes', async () => {
    const [first, second, third] = cluster.numbers.map(connect) as [Knex, Knex, Knex];
    const [batch, names] = (await first.migrate.latest()) as [number, string[]];
    expect([batch, names]).toEqual([1, steps.map(({ name }) => name)]);
    await equalEverywhere(cluster);
    expect(await second.migrate.status()).toBe(0);
    await second.migrate.rollback(undefined, true);
    await equalEverywhere(cluster);
    expect(await third.schema.hasTable('person')).toBe(false);
    await third.migrate.up();
    await third.migrate.up();
    expect(((await first.migrate.list()) as unknown[][]).map((list) => list.length)).toEqual([2, 1]);
    await first.migrate.down();
    await second.migrate.latest();
  });

  test('started on all nodes at once, each runs once', async () => {
    const all = cluster.numbers.map(connect);
    await all[0]!.migrate.rollback(undefined, true);
    const ends = await Promise.allSettled(all.map((db) => db.migrate.latest()));
    const failures = ends.flatMap((end) => (end.status === 'rejected' ? [String(end.reason)] : []));
    // Who comes second is told so by the lock table, or by the conflict about its row, and has harmed nothing.
    for (const text of failures) expect(text).toMatch(/lock|could not serialize|already exists/i);
    expect(failures.length).toBeLessThan(3);
    await all[1]!.migrate.latest();
    expect(await all[2]!('knex_migrations').orderBy('id').pluck('name')).toEqual(
      steps.map(({ name }) => name),
    );
    expect(await all[2]!('knex_migrations_lock').pluck('is_locked')).toEqual([0]);
    expect(await all[0]!('person').where({ name: 'Root' }).pluck('name')).toEqual(['Root']);
  });

  test('one that fails leaves nothing', async () => {
    const db = connect(2);
    const broken: Step = {
      name: '04_broken',
      up: async (trx) => {
        await trx.schema.createTable('half', (t) => t.increments());
        await trx.raw('SELECT 1/0');
      },
      down: () => Promise.resolve(),
    };
    const more = { ...migrations.migrationSource!, getMigrations: () => Promise.resolve([...steps, broken]) };
    await expect(db.migrate.latest({ migrationSource: more })).rejects.toThrow(/division by zero/);
    expect(await connect(3).schema.hasTable('half')).toBe(false);
    expect(await db('knex_migrations_lock').pluck('is_locked')).toEqual([0]);
  });
});

describe('queries', () => {
  test('rows in bulk, upserts, transactions with savepoints', async () => {
    const [first, second, third] = cluster.numbers.map(connect) as [Knex, Knex, Knex];
    const rows = Array.from({ length: 1500 }, (_, n) => ({ name: `p${n}`, email: `p${n}@example.org` }));
    const made = await first.batchInsert<Person>('person', rows, 400).returning('id');
    expect(made).toHaveLength(1500);
    await second('person')
      .insert([
        { name: 'new', email: 'p7@example.org' },
        { name: 'other', email: 'other@example.org' },
      ])
      .onConflict('email')
      .merge(['name']);
    expect(await third('person').where({ email: 'p7@example.org' }).pluck('name')).toEqual(['new']);
    await second('tag')
      .insert([{ name: 'a' }, { name: 'a' }])
      .onConflict('name')
      .ignore();
    await third.transaction(async (trx) => {
      const [author] = await trx('person').where({ name: 'p1' }).forUpdate().select<Person[]>('id', 'name');
      await trx('article').insert(
        [1, 2, 3].map((n) => ({ author: author?.id, title: `t${n}`, tags: ['x'] })),
      );
      const inner = trx.transaction(async (deeper) => {
        await deeper('article').update({ title: 'lost' });
        throw new Error('back to the savepoint');
      });
      await expect(inner).rejects.toThrow('savepoint');
      await trx('article').where({ title: 't1' }).increment('likes', 5);
    });
    const best = await first('article as a')
      .join('person as p', 'p.id', 'a.author')
      .orderBy('a.title')
      .select('a.title', 'p.name', 'a.likes');
    expect(best.map(({ title, name, likes }) => `${title} ${name} ${likes}`)).toEqual([
      't1 p1 5',
      't2 p1 0',
      't3 p1 0',
    ]);
    expect(await second('person').count<{ count: string }[]>()).toEqual([{ count: '1502' }]);
    await first('person').where('name', 'like', 'p1%').delete();
    expect(await second('article').count<{ count: string }[]>()).toEqual([{ count: '0' }]);
    await second('untidy').insert([{ whatever: 'x' }, { whatever: 'x' }, { whatever: null }]);
    await third('untidy').where({ whatever: 'x' }).update({ whatever: 'y' });
    await first('untidy').truncate();
  });
});
