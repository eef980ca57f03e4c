/**
 * Prisma's client with its adapter for pg. The client is generated from schema.prisma by the generator itself: the
 * command `prisma` would load an engine from outside npm, which neither generator nor client need. Rule: what is
 * generated stands in a temporary folder, and goes with it.
 */
import { copyFileSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PrismaPg } from '@prisma/adapter-pg';
import type * as ClientGenerator from '@prisma/client-generator-ts';
import type * as Internals from '@prisma/internals';
import type { Access, Driver, Fault, Row, Session, Statements, Transaction } from './driver.ts';

interface Asks {
  $queryRawUnsafe(text: string, ...values: readonly unknown[]): Promise<Row[]>;
}

type Where = Readonly<Record<string, unknown>>;

/** As much of a model as the tests use. */
interface Model {
  create(what: Where): Promise<Row>;
  createMany(what: Where): Promise<{ count: number }>;
  findMany(what: Where): Promise<Row[]>;
  findUnique(what: Where): Promise<Row | null>;
  update(what: Where): Promise<Row>;
  upsert(what: Where): Promise<Row>;
  deleteMany(what?: Where): Promise<{ count: number }>;
  groupBy(what: Where): Promise<Row[]>;
}

export interface Prisma extends Asks {
  readonly writer: Model;
  readonly text: Model;
  $transaction<T>(work: (inside: Omit<Prisma, '$transaction'>) => Promise<T>, options?: Where): Promise<T>;
  $transaction(all: readonly Promise<unknown>[]): Promise<unknown[]>;
  $disconnect(): Promise<void>;
}

type MakeClient = new (options: { readonly adapter: PrismaPg }) => Prisma;

let made: Promise<{ readonly folder: string; readonly Client: MakeClient }> | undefined;

async function generate(): Promise<{ folder: string; Client: MakeClient }> {
  const folder = mkdtempSync(join(tmpdir(), 'mtm-prisma-'));
  const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
  symlinkSync(here('../../../../node_modules'), join(folder, 'node_modules'));
  copyFileSync(here('schema.prisma'), join(folder, 'schema.prisma'));
  // Their modules for import do not load in Node.js.
  const require = createRequire(import.meta.url);
  const { getGenerators } = require('@prisma/internals') as typeof Internals;
  const { PrismaClientTsGenerator } = require('@prisma/client-generator-ts') as typeof ClientGenerator;
  const generator = { type: 'in-process' as const, generator: new PrismaClientTsGenerator() };
  const generators = await getGenerators({
    schemaPath: join(folder, 'schema.prisma'),
    cliCommand: 'generate',
    registry: { 'prisma-client': generator },
  });
  for (const one of generators) {
    await one.generate();
    one.stop();
  }
  const client = (await import(join(folder, 'client', 'client.ts'))) as { PrismaClient: MakeClient };
  return { folder, Client: client.PrismaClient };
}

export async function openPrisma(access: Access, max: number): Promise<Prisma> {
  const { Client } = await (made ??= generate());
  return new Client({ adapter: new PrismaPg({ ...access, max }) });
}

/** What was generated goes. */
export async function forgetPrisma(): Promise<void> {
  if (made !== undefined) rmSync((await made).folder, { recursive: true });
  made = undefined;
}

const asks = (on: Asks): Statements => ({
  rows: (text, values = []) => on.$queryRawUnsafe(text, ...values),
});

const levels = {
  'read committed': 'ReadCommitted',
  'repeatable read': 'RepeatableRead',
  serializable: 'Serializable',
} as const;

/** It has no savepoints of its own. */
async function savepoint(inner: Asks, work: (deeper: Statements) => Promise<unknown>): Promise<void> {
  await inner.$queryRawUnsafe('SAVEPOINT deeper');
  try {
    await work(asks(inner));
    await inner.$queryRawUnsafe('RELEASE deeper');
  } catch (error) {
    await inner.$queryRawUnsafe('ROLLBACK TO deeper');
    throw error;
  }
}

/** It tells the code only. */
function fault(error: unknown): Fault {
  const { code, meta } = error as { code?: string; meta?: { driverAdapterError?: { cause?: unknown } } };
  const cause = meta?.driverAdapterError?.cause as { originalCode?: string } | undefined;
  const original = cause?.originalCode ?? (code === 'P2034' ? '40001' : undefined);
  if (original === undefined) throw error;
  return { code: original, constraint: undefined, table: undefined, position: undefined };
}

export const prismaDriver: Driver = {
  name: 'prisma',
  fault,
  open: async (access, max): Promise<Session> => {
    const db = await openPrisma(access, max);
    return {
      ...asks(db),
      transaction: <T>(work: (inside: Transaction) => Promise<T>, isolation = 'read committed') =>
        db.$transaction(
          (inner) => work({ ...asks(inner), savepoint: (deeper) => savepoint(inner, deeper) }),
          {
            isolationLevel: levels[isolation as keyof typeof levels],
            // The usual ones are a few seconds, too short for a machine that does much else.
            maxWait: 60_000,
            timeout: 60_000,
          },
        ),
      close: () => db.$disconnect(),
    };
  },
};
