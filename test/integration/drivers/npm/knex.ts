/** knex: raw statements with bindings in its pool, transactions inside of transactions; streams by pg-query-stream. */
import knexModule, { type Knex } from 'knex';
import type { Access, Driver, Row, Session, Statements, Transaction } from './driver.ts';

const asks = (on: Knex): Statements => ({
  rows: async (text, values = []) => {
    // Its own places are question marks; those of the text itself are escaped.
    const own = text.replaceAll('?', '\\?').replaceAll(/\$\d+/g, '?');
    return (await on.raw<{ rows: Row[] }>(own, [...values] as Knex.RawBinding[])).rows;
  },
});

export function openKnex(access: Access, max: number): Knex {
  return knexModule.knex({ client: 'pg', connection: { ...access }, pool: { min: 0, max } });
}

export const knexDriver: Driver = {
  name: 'knex',
  open: (access, max): Session => {
    const db = openKnex(access, max);
    return {
      ...asks(db),
      transaction: <T>(work: (inside: Transaction) => Promise<T>, isolationLevel = 'read committed') =>
        db.transaction(
          (trx) =>
            work({ ...asks(trx), savepoint: (deeper) => trx.transaction((inner) => deeper(asks(inner))) }),
          { isolationLevel: isolationLevel as Knex.IsolationLevels },
        ),
      close: () => db.destroy(),
    };
  },
};
