/** TypeORM: statements of its DataSource and managers, transactions inside of transactions. */
import { DataSource, type EntityManager } from 'typeorm';
import type { Driver, Isolation, Row, Session, Statements, Transaction } from './driver.ts';

const asks = (on: { query: EntityManager['query'] }): Statements => ({
  rows: async (text, values = []) => {
    const result: unknown = await on.query(text, [...values]);
    // Of what changes rows it gives [rows, count].
    const rows = /^(UPDATE|DELETE)/.test(text) ? (result as [Row[], number])[0] : (result as Row[]);
    return rows;
  },
});

const levels = {
  'read committed': 'READ COMMITTED',
  'repeatable read': 'REPEATABLE READ',
  serializable: 'SERIALIZABLE',
} as const;

export const typeormDriver: Driver = {
  name: 'typeorm',
  open: async ({ user, ...access }, max): Promise<Session> => {
    const source = new DataSource({ type: 'postgres', username: user, ...access, extra: { max } });
    await source.initialize();
    return {
      rows: (text, values) => asks(source).rows(text, values),
      transaction: <T>(work: (inside: Transaction) => Promise<T>, isolation: Isolation = 'read committed') =>
        source.transaction(levels[isolation], (manager) =>
          work({
            rows: (text, values) => asks(manager).rows(text, values),
            savepoint: (deeper) => manager.transaction((inner) => deeper(asks(inner))),
          }),
        ),
      close: () => source.destroy(),
    };
  },
};
