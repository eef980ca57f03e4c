/**
 * Drizzle: its migrator with a folder of SQL as drizzle-kit writes it, and its queries (relations as lateral joins,
 * nested transactions, prepared statements, upserts) through pg and through postgres.js, which pipelines.
 * Rule: nothing here knows of the cluster, except where the clients connect; afterwards all nodes are equal.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { count, eq, gt, inArray, relations, sql } from 'drizzle-orm';
import { drizzle as overPg, type NodePgDatabase } from 'drizzle-orm/node-postgres';
import { migrate } from 'drizzle-orm/node-postgres/migrator';
import {
  index,
  integer,
  jsonb,
  pgEnum,
  pgTable,
  primaryKey,
  serial,
  text,
  timestamp,
  uuid,
} from 'drizzle-orm/pg-core';
import { drizzle as overPostgres, type PostgresJsDatabase } from 'drizzle-orm/postgres-js';
import { Pool } from 'pg';
import postgres from 'postgres';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { embeddedDatabase, embeddedHost } from '../../../src/io/launcher/node-layout.ts';
import { startCluster, type Cluster } from '../../support/cluster.ts';
import { equalEverywhere, noPrepared } from '../../support/convergence.ts';

const level = pgEnum('level', ['low', 'high']);
const users = pgTable('users', {
  id: serial('id').primaryKey(),
  name: text('name').notNull().unique(),
  level: level('level').notNull().default('low'),
  profile: jsonb('profile').$type<{ readonly city: string }>(),
  created: timestamp('created', { withTimezone: true }).notNull().defaultNow(),
});
const groups = pgTable('groups', {
  id: uuid('id').primaryKey().defaultRandom(),
  name: text('name').notNull(),
});
const members = pgTable(
  'members',
  {
    user: integer('user_id')
      .notNull()
      .references(() => users.id, { onDelete: 'cascade' }),
    group: uuid('group_id')
      .notNull()
      .references(() => groups.id),
    points: integer('points').notNull().default(0),
  },
  (t) => [primaryKey({ columns: [t.user, t.group] }), index('members_points').on(t.points)],
);
const schema = {
  users,
  groups,
  members,
  userRelations: relations(users, ({ many }) => ({ members: many(members) })),
  groupRelations: relations(groups, ({ many }) => ({ members: many(members) })),
  memberRelations: relations(members, ({ one }) => ({
    user: one(users, { fields: [members.user], references: [users.id] }),
    group: one(groups, { fields: [members.group], references: [groups.id] }),
  })),
};
type Schema = typeof schema;

/** What drizzle-kit generate writes for the tables above, in two steps. */
const steps: readonly (readonly [string, readonly string[]])[] = [
  [
    '0000_first',
    [
      `CREATE TYPE "public"."level" AS ENUM('low', 'high');`,
      `CREATE TABLE "users" (\n\t"id" serial PRIMARY KEY NOT NULL,\n\t"name" text NOT NULL,
        "level" "level" DEFAULT 'low' NOT NULL,\n\tCONSTRAINT "users_name_unique" UNIQUE("name")\n);`,
      `CREATE TABLE "groups" ("id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL, "name" text NOT NULL);`,
      `CREATE TABLE "members" ("user_id" integer NOT NULL, "group_id" uuid NOT NULL,
        CONSTRAINT "members_pk" PRIMARY KEY("user_id","group_id"));`,
      `INSERT INTO "users" ("name") SELECT 'user ' || g FROM generate_series(1, 50) g;`,
    ],
  ],
  [
    '0001_second',
    [
      `ALTER TABLE "users" ADD COLUMN "profile" jsonb;`,
      `ALTER TABLE "users" ADD COLUMN "created" timestamp with time zone DEFAULT now() NOT NULL;`,
      `ALTER TABLE "members" ADD COLUMN "points" integer DEFAULT 0 NOT NULL;`,
      `ALTER TABLE "members" ADD CONSTRAINT "members_user_fk" FOREIGN KEY ("user_id")
        REFERENCES "public"."users"("id") ON DELETE cascade ON UPDATE no action;`,
      `ALTER TABLE "members" ADD CONSTRAINT "members_group_fk" FOREIGN KEY ("group_id") REFERENCES "public"."groups"("id");`,
      `CREATE INDEX "members_points" ON "members" USING btree ("points");`,
      `UPDATE "users" SET "level" = 'high' WHERE "id" % 2 = 0;`,
    ],
  ],
];

const folder = mkdtempSync(join(tmpdir(), 'mtm-drizzle-'));
let cluster: Cluster;
const endings: (() => Promise<unknown>)[] = [];

/** The folder with the first `so many` migrations. */
function migrationsFolder(many: number): string {
  const entries = steps.slice(0, many).map(([tag], idx) => {
    return { idx, version: '7', when: 1_700_000_000_000 + idx, tag, breakpoints: true };
  });
  mkdirSync(join(folder, 'meta'), { recursive: true });
  for (const [tag, statements] of steps)
    writeFileSync(join(folder, `${tag}.sql`), statements.join('\n--> statement-breakpoint\n'));
  const journal = { version: '7', dialect: 'postgresql', entries };
  writeFileSync(join(folder, 'meta', '_journal.json'), JSON.stringify(journal));
  return folder;
}

function withPg(number: number): NodePgDatabase<Schema> {
  const { gatewayPort: port } = cluster.node(number);
  const pool = new Pool({ host: embeddedHost, port, user: 'postgres', database: embeddedDatabase, max: 5 });
  endings.push(() => pool.end());
  return overPg(pool, { schema });
}

function withPostgres(number: number): PostgresJsDatabase<Schema> {
  const { gatewayPort: port } = cluster.node(number);
  const client = postgres({ host: embeddedHost, port, user: 'postgres', database: embeddedDatabase, max: 5 });
  endings.push(() => client.end());
  return overPostgres(client, { schema });
}

beforeAll(async () => {
  cluster = await startCluster({ majors: [16, 16, 16] });
});

afterEach(async () => {
  await equalEverywhere(cluster);
  await noPrepared(cluster);
});

afterAll(async () => {
  await Promise.all(endings.map((end) => end()));
  rmSync(folder, { recursive: true, force: true });
  await cluster?.stop();
});

test('migrations, step by step from different nodes', async () => {
  await migrate(withPg(1), { migrationsFolder: migrationsFolder(1) });
  await equalEverywhere(cluster);
  await migrate(withPg(2), { migrationsFolder: migrationsFolder(2) });
  await migrate(withPg(3), { migrationsFolder: migrationsFolder(2) }); // Nothing is left to do.
  const [row] = await cluster.query(3, 'SELECT count(*)::int AS n FROM drizzle.__drizzle_migrations');
  expect(row).toEqual({ n: 2 });
  expect(await withPg(3).$count(users, eq(users.level, 'high'))).toBe(25);
});

test('relations, over pg and over postgres.js', async () => {
  const first = withPg(1);
  const [group] = await first.insert(groups).values({ name: 'readers' }).returning();
  const some = await withPostgres(2).select({ id: users.id }).from(users).limit(10);
  await withPostgres(2)
    .insert(members)
    .values(some.map(({ id }, points) => ({ user: id, group: group!.id, points })));
  for (const db of [withPg(3), withPostgres(3)]) {
    const found = await db.query.groups.findFirst({
      where: eq(groups.name, 'readers'),
      with: { members: { where: gt(members.points, 7), with: { user: { columns: { name: true } } } } },
    });
    expect(found?.members.map(({ points }) => points).toSorted()).toEqual([8, 9]);
    expect(found?.members[0]?.user.name).toMatch(/^user /);
  }
});

test('transactions inside transactions, rolled back and kept', async () => {
  for (const db of [withPg(1), withPostgres(2)]) {
    await db.transaction(async (tx) => {
      await tx
        .update(users)
        .set({ profile: { city: 'Köln' } })
        .where(eq(users.id, 1));
      const inner = tx.transaction(async (deeper) => {
        await deeper.delete(members);
        deeper.rollback();
      });
      await expect(inner).rejects.toThrow(/rollback/i);
      await tx.transaction(async (deeper) => {
        await deeper.update(members).set({ points: sql`${members.points} + 1` });
      });
    });
    const failed = db.transaction(async (tx) => {
      await tx.insert(users).values({ name: 'never' });
      await tx.insert(users).values({ name: 'user 1' }); // 23505
    });
    await expect(failed).rejects.toThrow();
  }
  const third = withPg(3);
  expect(await third.$count(users, eq(users.name, 'never'))).toBe(0);
  const [sum] = await third.select({ sum: sql<number>`sum(${members.points})::int` }).from(members);
  expect(sum).toEqual({ sum: 45 + 20 });
  await third.transaction((tx) => tx.select().from(users), {
    isolationLevel: 'serializable',
    accessMode: 'read only',
  });
});

test('rows in bulk, upserts, prepared and pipelined statements', async () => {
  const [first, second, third] = [withPg(1), withPostgres(2), withPg(3)];
  const many = Array.from({ length: 3000 }, (_, n) => ({ name: `bulk ${n}`, profile: { city: `c${n}` } }));
  const made = await first.insert(users).values(many).returning({ id: users.id });
  expect(made).toHaveLength(3000);
  await second
    .insert(users)
    .values([{ name: 'bulk 1', level: 'high' }, { name: 'fresh' }])
    .onConflictDoUpdate({ target: users.name, set: { level: sql`excluded.level`, profile: null } });
  expect(await third.query.users.findFirst({ where: eq(users.name, 'bulk 1') })).toMatchObject({
    level: 'high',
    profile: null,
  });
  const byName = third
    .select({ id: users.id })
    .from(users)
    .where(eq(users.name, sql.placeholder('name')))
    .prepare('by_name');
  for (const n of [10, 11, 12]) expect(await byName.execute({ name: `bulk ${n}` })).toHaveLength(1);
  // postgres.js sends them without waiting for each other.
  await Promise.all(
    made.slice(0, 40).map(({ id }) => second.update(users).set({ level: 'high' }).where(eq(users.id, id))),
  );
  const ids = made.slice(0, 40).map(({ id }) => id);
  const [high] = await first
    .select({ n: count() })
    .from(users)
    .where(inArray(users.id, ids))
    .groupBy(users.level);
  expect(high).toEqual({ n: 40 });
  await third.delete(users).where(sql`${users.name} LIKE 'bulk %'`);
});
