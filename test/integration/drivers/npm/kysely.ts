/** Kysely over pg, with pg-cursor for its streams: raw statements, controlled transactions and savepoints. */
import { CompiledQuery, Kysely, PostgresDialect, type ControlledTransaction } from 'kysely';
import { Pool } from 'pg';
import Cursor from 'pg-cursor';
import type { Access, Driver, Row, Session, Statements, Transaction } from './driver.ts';

const asks = <D>(on: Pick<Kysely<D>, 'executeQuery'>): Statements => ({
  rows: async (text, values = []) => (await on.executeQuery<Row>(CompiledQuery.raw(text, [...values]))).rows,
});

export function openKysely<D>(access: Access, max: number): Kysely<D> {
  return new Kysely<D>({
    dialect: new PostgresDialect({ pool: new Pool({ ...access, max }), cursor: Cursor }),
  });
}

const inside = <D>(trx: ControlledTransaction<D>): Transaction => ({
  ...asks(trx),
  savepoint: async (work) => {
    const point = await trx.savepoint('deeper').execute();
    try {
      await work(asks(point));
      await point.releaseSavepoint('deeper').execute();
    } catch (error) {
      await point.rollbackToSavepoint('deeper').execute();
      throw error;
    }
  },
});

export const kyselyDriver: Driver = {
  name: 'kysely',
  open: (access, max): Session => {
    const db = openKysely<unknown>(access, max);
    return {
      ...asks(db),
      transaction: async (work, isolation = 'read committed') => {
        const trx = await db.startTransaction().setIsolationLevel(isolation).execute();
        try {
          const result = await work(inside(trx));
          await trx.commit().execute();
          return result;
        } catch (error) {
          await trx.rollback().execute();
          throw error;
        }
      },
      close: () => db.destroy(),
    };
  },
};
