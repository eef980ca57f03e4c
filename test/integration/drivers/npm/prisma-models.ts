/** Prisma's models: nested writes, upserts, bulk, groups, transactions of both kinds, and its own errors. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Site } from './duties.ts';
import { openPrisma, type Prisma } from './prisma.ts';

/** What `prisma migrate` makes of schema.prisma. */
const migration = [
  `CREATE TYPE "prisma_mood" AS ENUM ('good', 'bad')`,
  `CREATE TABLE "prisma_writer" ("id" SERIAL NOT NULL, "name" TEXT NOT NULL,
    "mood" "prisma_mood" NOT NULL DEFAULT 'good', "about" JSONB,
    "born" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, CONSTRAINT "prisma_writer_pkey" PRIMARY KEY ("id"))`,
  `CREATE TABLE "prisma_text" ("id" UUID NOT NULL DEFAULT gen_random_uuid(), "title" TEXT NOT NULL,
    "likes" BIGINT NOT NULL DEFAULT 0, "by" INTEGER NOT NULL, CONSTRAINT "prisma_text_pkey" PRIMARY KEY ("id"))`,
  `CREATE UNIQUE INDEX "prisma_writer_name_key" ON "prisma_writer"("name")`,
  `CREATE INDEX "prisma_text_by_likes_idx" ON "prisma_text"("by", "likes")`,
  `ALTER TABLE "prisma_text" ADD CONSTRAINT "prisma_text_by_fkey" FOREIGN KEY ("by") REFERENCES "prisma_writer"("id")
    ON DELETE CASCADE ON UPDATE CASCADE`,
];

export function prismaModels(site: Site): void {
  let [first, second] = [] as unknown as [Prisma, Prisma];
  beforeAll(async () => {
    [first, second] = [await openPrisma(site.access(1), 3), await openPrisma(site.access(2), 3)];
    for (const text of migration) await first.$queryRawUnsafe(text);
  });
  afterAll(async () => {
    await Promise.all([first?.$disconnect(), second?.$disconnect()]);
  });

  test('nested writes, read on the other node', async () => {
    await first.writer.create({
      data: {
        name: 'Ada',
        about: { a: [1, 'ä'] },
        texts: { create: [{ title: 'one' }, { title: 'two', likes: 7n }] },
      },
    });
    const found = await second.writer.findUnique({
      where: { name: 'Ada' },
      select: {
        mood: true,
        about: true,
        texts: { select: { title: true, likes: true }, orderBy: { title: 'asc' } },
      },
    });
    expect(found).toEqual({
      mood: 'good',
      about: { a: [1, 'ä'] },
      texts: [
        { title: 'one', likes: 0n },
        { title: 'two', likes: 7n },
      ],
    });
    await second.writer.update({
      where: { name: 'Ada' },
      data: { mood: 'bad', texts: { updateMany: { where: {}, data: { likes: { increment: 1 } } } } },
    });
    expect(await first.text.groupBy({ by: ['by'], _sum: { likes: true } })).toMatchObject([
      { _sum: { likes: 9n } },
    ]);
  });

  test('bulk, upserts, pages by cursor', async () => {
    const data = Array.from({ length: 300 }, (_, n) => ({ name: `w${String(n).padStart(3, '0')}` }));
    expect(await first.writer.createMany({ data })).toEqual({ count: 300 });
    expect(await second.writer.createMany({ data: [...data, { name: 'x' }], skipDuplicates: true })).toEqual({
      count: 1,
    });
    for (const db of [first, second])
      await db.writer.upsert({ where: { name: 'w007' }, create: { name: 'never' }, update: { mood: 'bad' } });
    const page = await second.writer.findMany({
      cursor: { name: 'w100' },
      skip: 1,
      take: 2,
      orderBy: { name: 'asc' },
    });
    expect(page.map(({ name }) => name)).toEqual(['w101', 'w102']);
    expect(await first.writer.deleteMany({ where: { name: { startsWith: 'w' } } })).toEqual({ count: 300 });
  });

  test('transactions of both kinds, and its own errors', async () => {
    const twice = { data: { name: 'Ada' } };
    const failed = first.$transaction([first.text.deleteMany(), first.writer.create(twice)]);
    await expect(failed).rejects.toMatchObject({ code: 'P2002' });
    await second.$transaction(async (inside) => {
      const bob = await inside.writer.create({ data: { name: 'Bob' } });
      await inside.text.create({ data: { title: 'three', by: bob['id'] } });
    });
    const titles = await first.text.findMany({ orderBy: { title: 'asc' } });
    expect(titles.map(({ title }) => title)).toEqual(['one', 'three', 'two']);
    await expect(second.text.create({ data: { title: 'x', by: 0 } })).rejects.toMatchObject({
      code: 'P2003',
    });
    await expect(first.writer.update({ where: { id: 0 }, data: {} })).rejects.toMatchObject({
      code: 'P2025',
    });
    await first.writer.deleteMany();
    expect(await second.text.findMany({})).toEqual([]);
  });
}
