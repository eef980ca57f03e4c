/** postgres.js: every statement is prepared, and those of one connection are sent without waiting for each other. */
import postgres, { type ISql } from 'postgres';
import type { Driver, Row, Session, Statements, Transaction } from './driver.ts';

const asks = (on: ISql): Statements => ({
  rows: async (text, values = []) => [
    ...(await on.unsafe<Row[]>(text, [...values] as never[], { prepare: true })),
  ],
});

export const postgresDriver: Driver = {
  name: 'postgres',
  ownProtocol: true,
  open: (access, max): Session => {
    const sql = postgres({ ...access, max, onnotice: () => undefined });
    return {
      ...asks(sql),
      transaction: async <T>(work: (inside: Transaction) => Promise<T>, isolation = 'read committed') => {
        const done = await sql.begin(`isolation level ${isolation}`, async (inner) => {
          const savepoint: Transaction['savepoint'] = (deeper) => inner.savepoint((sp) => deeper(asks(sp)));
          return { result: await work({ ...asks(inner), savepoint }) };
        });
        return done.result;
      },
      close: () => sql.end(),
    };
  },
};
