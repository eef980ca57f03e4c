/** Kysely's migrator from both nodes, its typed queries, and its streams by pg-cursor. */
import { sql, type Generated, type Kysely } from 'kysely';
import { Migrator, type Migration } from 'kysely/migration';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Site } from './duties.ts';
import { openKysely } from './kysely.ts';

interface Tables {
  kysely_pet: { id: Generated<number>; name: string; kind: 'cat' | 'dog'; owner: string | null };
}

const migrations: Record<string, Migration> = {
  '1_pets': {
    up: async (db: Kysely<unknown>) => {
      await db.schema.createType('pet_kind').asEnum(['cat', 'dog']).execute();
      await db.schema
        .createTable('kysely_pet')
        .addColumn('id', 'serial', (column) => column.primaryKey())
        .addColumn('name', 'text', (column) => column.notNull().unique())
        .addColumn('kind', sql`pet_kind`, (column) => column.notNull())
        .execute();
    },
    down: async (db: Kysely<unknown>) => {
      await db.schema.dropTable('kysely_pet').execute();
      await db.schema.dropType('pet_kind').execute();
    },
  },
  '2_owners': {
    up: async (db: Kysely<unknown>) => {
      await db.schema.alterTable('kysely_pet').addColumn('owner', 'text').execute();
      await db.schema.createIndex('pet_owner').on('kysely_pet').column('owner').execute();
    },
    down: async (db: Kysely<unknown>) => {
      await db.schema.alterTable('kysely_pet').dropColumn('owner').execute();
    },
  },
};

export function kyselyMigrations(site: Site): void {
  let [first, second] = [] as unknown as [Kysely<Tables>, Kysely<Tables>];
  beforeAll(() => {
    [first, second] = [openKysely<Tables>(site.access(1), 3), openKysely<Tables>(site.access(2), 3)];
  });
  afterAll(async () => {
    await Promise.all([first?.destroy(), second?.destroy()]);
  });

  const migrator = (db: Kysely<Tables>) =>
    new Migrator({ db, provider: { getMigrations: () => Promise.resolve(migrations) } });

  test('migrations: up, down and up again from different nodes', async () => {
    const steps = [
      await migrator(first).migrateUp(),
      await migrator(second).migrateToLatest(),
      await migrator(first).migrateDown(),
      await migrator(second).migrateToLatest(),
      await migrator(first).migrateToLatest(),
    ];
    expect(steps.map(({ error }) => error)).toEqual(steps.map(() => undefined));
    expect(steps.map(({ results }) => results?.map(({ migrationName }) => migrationName))).toEqual([
      ['1_pets'],
      ['2_owners'],
      ['2_owners'],
      ['2_owners'],
      [],
    ]);
  });

  test('inserts, upserts, a query with a common table, a stream given up', async () => {
    const pets = Array.from({ length: 500 }, (_, n) => ({ name: `pet ${n}`, kind: 'cat' as const }));
    const made = await first.insertInto('kysely_pet').values(pets).returning('id').execute();
    expect(made).toHaveLength(500);
    const merged = await second
      .insertInto('kysely_pet')
      .values({ name: 'pet 7', kind: 'dog', owner: 'Ada' })
      .onConflict((oc) => oc.column('name').doUpdateSet({ kind: 'dog', owner: 'Ada' }))
      .executeTakeFirst();
    expect(merged.numInsertedOrUpdatedRows).toBe(1n);
    const dogs = await first
      .with('gone', (db) =>
        db.deleteFrom('kysely_pet').where('kind', '=', 'dog').returning(['name', 'owner']),
      )
      .selectFrom('gone')
      .selectAll()
      .execute();
    expect(dogs).toEqual([{ name: 'pet 7', owner: 'Ada' }]);
    const names: string[] = [];
    for await (const { name } of second.selectFrom('kysely_pet').select('name').orderBy('id').stream(20))
      if (names.push(name) === 30) break;
    expect(names.slice(-1)).toEqual(['pet 30']);
    const { numUpdatedRows } = await second
      .updateTable('kysely_pet')
      .set({ owner: 'Bob' })
      .where('id', '<=', made[9]!.id)
      .executeTakeFirst();
    expect(numUpdatedRows).toBe(9n);
  });
}
