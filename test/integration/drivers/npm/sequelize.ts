/** Sequelize: statements with bound values, transactions inside of transactions. */
import { QueryTypes, Sequelize, Transaction as Inner } from 'sequelize';
import type { Access, Driver, Isolation, Row, Session, Statements, Transaction } from './driver.ts';

const asks = (on: Sequelize, transaction: Inner | null = null): Statements => ({
  rows: (text, values = []) =>
    on.query<Row>(text, {
      type: QueryTypes.SELECT,
      transaction,
      ...(values.length > 0 ? { bind: [...values] } : {}),
    }),
});

export function openSequelize({ user, password, database, host, port, ssl }: Access, max: number): Sequelize {
  return new Sequelize(database, user, password, {
    dialect: 'postgres',
    host,
    port,
    dialectOptions: { ssl },
    pool: { max },
    logging: false,
  });
}

const levels = {
  'read committed': Inner.ISOLATION_LEVELS.READ_COMMITTED,
  'repeatable read': Inner.ISOLATION_LEVELS.REPEATABLE_READ,
  serializable: Inner.ISOLATION_LEVELS.SERIALIZABLE,
};

export const sequelizeDriver: Driver = {
  name: 'sequelize',
  open: (access, max): Session => {
    const db = openSequelize(access, max);
    return {
      ...asks(db),
      transaction: <T>(work: (inside: Transaction) => Promise<T>, isolation: Isolation = 'read committed') =>
        db.transaction({ isolationLevel: levels[isolation] }, (transaction) =>
          work({
            ...asks(db, transaction),
            savepoint: (deeper) => db.transaction({ transaction }, (inner) => deeper(asks(db, inner))),
          }),
        ),
      close: () => db.close(),
    };
  },
};
