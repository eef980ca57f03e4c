/**
 * TypeORM: its migrations and its schema builder (which reads the catalog and emits DDL), relations, cascades, trees,
 * transactions, locks and upserts. Entities stand as EntitySchema: no decorators.
 * Rule: nothing here knows of the cluster, except where the clients connect; afterwards all nodes are equal.
 */
import { DataSource, EntitySchema, type MigrationInterface, type QueryRunner } from 'typeorm';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { embeddedDatabase, embeddedHost } from '../../../src/io/launcher/node-layout.ts';
import { startCluster, type Cluster } from '../../support/cluster.ts';
import { equalEverywhere, noPrepared } from '../../support/convergence.ts';

interface Tag {
  id?: number;
  name: string;
}
interface Author {
  id?: string;
  name: string;
  mood?: 'good' | 'bad';
  profile?: { readonly city: string };
  posts?: Post[];
  version?: number;
  gone?: Date | null;
}
interface Post {
  id?: string;
  title: string;
  likes?: number;
  labels?: string[];
  author?: Author;
  tags?: Tag[];
}
interface Folder {
  id?: number;
  name: string;
  parent?: Folder;
  children?: Folder[];
}

const tagEntity = new EntitySchema<Tag>({
  name: 'tag',
  columns: {
    id: { type: Number, primary: true, generated: true },
    name: { type: String, unique: true },
  },
});
const authorEntity = new EntitySchema<Author>({
  name: 'author',
  columns: {
    id: { type: 'uuid', primary: true, generated: 'uuid' },
    name: { type: 'varchar', length: 100 },
    mood: { type: 'enum', enum: ['good', 'bad'], default: 'good' },
    profile: { type: 'jsonb', nullable: true },
    version: { type: 'int', version: true },
    gone: { type: 'timestamptz', deleteDate: true, nullable: true },
  },
  relations: { posts: { type: 'one-to-many', target: 'post', inverseSide: 'author', cascade: true } },
});
const postEntity = new EntitySchema<Post>({
  name: 'post',
  columns: {
    id: { type: 'bigint', primary: true, generated: 'increment' },
    title: { type: 'text' },
    likes: { type: 'int', default: 0 },
    labels: { type: 'text', array: true, default: () => `'{}'` },
  },
  relations: {
    author: { type: 'many-to-one', target: 'author', inverseSide: 'posts', onDelete: 'CASCADE' },
    tags: { type: 'many-to-many', target: 'tag', joinTable: { name: 'post_tag' }, cascade: true },
  },
  indices: [{ columns: ['title'] }, { columns: ['likes'], where: 'likes > 10' }],
  checks: [{ expression: 'likes >= 0' }],
});
const folderEntity = new EntitySchema<Folder>({
  name: 'folder',
  columns: { id: { type: Number, primary: true, generated: true }, name: { type: String } },
  relations: {
    parent: { type: 'many-to-one', target: 'folder', treeParent: true },
    children: { type: 'one-to-many', target: 'folder', treeChildren: true, cascade: true },
  },
  trees: [{ type: 'closure-table' }],
});

class Ledger1700000000001 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(
      `CREATE TABLE ledger (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, amount numeric)`,
    );
    await runner.query(`INSERT INTO ledger (amount) SELECT g * random() FROM generate_series(1, 100) g`);
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.dropTable('ledger');
  }
}
class Booked1700000000002 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE ledger ADD COLUMN booked timestamptz NOT NULL DEFAULT now()`);
    await runner.query(`UPDATE ledger SET booked = booked - id * interval '1 day'`);
    await runner.query(`CREATE INDEX ledger_booked ON ledger (booked DESC)`);
  }
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE ledger DROP COLUMN booked`);
  }
}

let cluster: Cluster;
const opened: DataSource[] = [];

beforeAll(async () => {
  cluster = await startCluster({ majors: [17, 17, 17] });
});

afterEach(async () => {
  await equalEverywhere(cluster);
  await noPrepared(cluster);
});

afterAll(async () => {
  await Promise.all(opened.map((each) => each.destroy()));
  await cluster?.stop();
});

async function connect(number: number): Promise<DataSource> {
  const source = new DataSource({
    type: 'postgres',
    host: embeddedHost,
    port: cluster.node(number).gatewayPort,
    username: 'postgres',
    database: embeddedDatabase,
    entities: [tagEntity, authorEntity, postEntity, folderEntity],
    migrations: [Ledger1700000000001, Booked1700000000002],
  });
  opened.push(source);
  return source.initialize();
}

const everyNode = async (): Promise<[DataSource, DataSource, DataSource]> =>
  (await Promise.all(cluster.numbers.map(connect))) as [DataSource, DataSource, DataSource];

test('migrations: up, down and up again from different nodes', async () => {
  const [first, second, third] = await everyNode();
  expect(await first.runMigrations({ transaction: 'all' })).toHaveLength(2);
  await equalEverywhere(cluster);
  expect(await second.showMigrations()).toBe(false);
  await second.undoLastMigration({ transaction: 'each' });
  await third.undoLastMigration({ transaction: 'each' });
  expect(await first.query(`SELECT to_regclass('ledger') AS name`)).toEqual([{ name: null }]);
  expect(await third.runMigrations({ transaction: 'each' })).toHaveLength(2);
});

test('the schema builder: made on one node, changed from another', async () => {
  const [first, second] = await everyNode();
  await first.synchronize();
  await equalEverywhere(cluster);
  const wanted = await second.driver.createSchemaBuilder().log();
  expect(wanted.upQueries.map(({ query }) => query)).toEqual([]); // It finds on node 2 what node 1 has made.
  await second.query(`ALTER TABLE post DROP COLUMN labels, ALTER COLUMN title TYPE varchar(50)`);
  await second.query(`DROP INDEX "${(await indexOn('title')) ?? ''}"`);
  await second.synchronize();
  expect((await first.driver.createSchemaBuilder().log()).upQueries).toEqual([]);
});

async function indexOn(column: string): Promise<string | undefined> {
  const [row] = await cluster.query<{ indexname: string }>(
    2,
    `SELECT indexname FROM pg_indexes WHERE tablename = 'post' AND indexdef LIKE '%(' || $1 || ')%'`,
    [column],
  );
  return row?.indexname;
}

test('entities with their relations', async () => {
  const [first, second, third] = await everyNode();
  const authors = first.getRepository(authorEntity);
  const made = await authors.save({
    name: 'Ann',
    profile: { city: 'Köln' },
    posts: [
      { title: 'one', labels: ['a', 'b'], tags: [{ name: 'x' }, { name: 'y' }] },
      { title: 'two', likes: 11 },
    ],
  });
  const found = await second.getRepository(authorEntity).findOneOrFail({
    where: { id: made.id! },
    relations: { posts: { tags: true } },
    order: { posts: { title: 'ASC', tags: { name: 'ASC' } } },
  });
  expect(found.posts?.map(({ title, tags }) => [title, tags?.map(({ name }) => name)])).toEqual([
    ['one', ['x', 'y']],
    ['two', []],
  ]);
  found.posts = found.posts!.slice(0, 1);
  found.name = 'Anna';
  await second.getRepository(authorEntity).save(found); // The other post loses its author.
  expect(await third.getRepository(postEntity).countBy({ author: { id: made.id! } })).toBe(1);
  await third.getRepository(authorEntity).softDelete({ id: made.id! });
  expect(await first.getRepository(authorEntity).count()).toBe(0);
  await first.getRepository(authorEntity).restore({ id: made.id! });
  expect((await third.getRepository(authorEntity).findOneByOrFail({ id: made.id! })).version).toBeGreaterThan(
    1,
  );
});

test('a tree with its closure table', async () => {
  const [first, second, third] = await everyNode();
  const root = await first.getTreeRepository(folderEntity).save({ name: 'root' });
  const child = await second.getTreeRepository(folderEntity).save({ name: 'child', parent: root });
  await third.getTreeRepository(folderEntity).save({ name: 'grandchild', parent: child });
  const [tree] = await first.getTreeRepository(folderEntity).findTrees();
  expect(tree?.children?.[0]?.children?.[0]?.name).toBe('grandchild');
});

test('transactions at each isolation level, with savepoints and row locks', async () => {
  const [first, second, third] = await everyNode();
  const { id } = await first.getRepository(postEntity).save({ title: 'locked' });
  for (const level of ['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'] as const) {
    await second.transaction(level, async (manager) => {
      const post = await manager.findOneOrFail(postEntity, {
        where: { id: id! },
        lock: { mode: 'pessimistic_write' },
      });
      await manager.save(postEntity, { ...post, likes: post.likes! + 1 });
      const inner = manager.transaction(async (deeper) => {
        await deeper.update(postEntity, { id: id! }, { title: 'lost' });
        throw new Error('back to the savepoint');
      });
      await expect(inner).rejects.toThrow('savepoint');
    });
  }
  expect(await third.getRepository(postEntity).findOneBy({ id: id! })).toMatchObject({
    title: 'locked',
    likes: 3,
  });
});

test('rows in bulk, upserts, increments, RETURNING', async () => {
  const [first, second, third] = await everyNode();
  const posts = Array.from({ length: 2000 }, (_, n) => ({ title: `bulk ${n}`, likes: n }));
  const saved = await first.getRepository(postEntity).save(posts, { chunk: 300 });
  expect(new Set(saved.map(({ id }) => id)).size).toBe(2000);
  await second.getRepository(tagEntity).upsert([{ name: 'x' }, { name: 'z' }], ['name']);
  expect(await third.getRepository(tagEntity).count()).toBe(3);
  await third.getRepository(postEntity).increment({ title: 'bulk 5' }, 'likes', 100);
  const updated = await first
    .createQueryBuilder()
    .update(postEntity)
    .set({ likes: () => 'likes * 2' })
    .where('title = :title', { title: 'bulk 5' })
    .returning('likes')
    .execute();
  expect(updated.raw).toEqual([{ likes: 210 }]);
  await second
    .getRepository(postEntity)
    .clear()
    .catch(() => undefined); // It is referenced: TRUNCATE fails.
  await second.createQueryBuilder().delete().from(postEntity).where(`title LIKE 'bulk %'`).execute();
});

test('everything dropped and made again', async () => {
  const [first, second] = await everyNode();
  await first.dropDatabase();
  await equalEverywhere(cluster);
  await second.synchronize();
  expect((await first.driver.createSchemaBuilder().log()).upQueries).toEqual([]);
});
