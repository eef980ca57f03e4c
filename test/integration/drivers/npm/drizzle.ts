/** Drizzle over pg: statements of its template, transactions inside of transactions. */
import { sql, type SQL } from 'drizzle-orm';
import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres';
import { Pool } from 'pg';
import type { Driver, Row, Session, Statements, Transaction } from './driver.ts';

/** The text's pieces with the values between them. */
function template(text: string, values: readonly unknown[]): SQL {
  const pieces = text.split(/\$\d+/).map((piece) => sql.raw(piece));
  return sql.join(
    pieces.flatMap((piece, index) => (index === 0 ? [piece] : [sql`${values[index - 1]}`, piece])),
  );
}

const asks = (on: Pick<NodePgDatabase, 'execute'>): Statements => ({
  rows: async (text, values = []) => (await on.execute<Row>(template(text, values))).rows,
});

export const drizzleDriver: Driver = {
  name: 'drizzle',
  open: (access, max): Session => {
    const pool = new Pool({ ...access, max });
    const db = drizzle(pool);
    return {
      ...asks(db),
      transaction: <T>(work: (inside: Transaction) => Promise<T>, isolationLevel = 'read committed') =>
        db.transaction(
          (trx) =>
            work({ ...asks(trx), savepoint: (deeper) => trx.transaction((inner) => deeper(asks(inner))) }),
          { isolationLevel: isolationLevel as 'serializable' },
        ),
      close: () => pool.end(),
    };
  },
};
