/** node-postgres with its pool: named statements, and transactions by hand. */
import { Pool, type PoolClient, type QueryResult } from 'pg';
import type { Driver, Row, Transaction } from './driver.ts';

type Asks = Pick<Pool, 'query'>;

const ask = async (on: Asks, text: string, values: readonly unknown[] = []): Promise<Row[]> => {
  // A name makes it a prepared statement, kept by each connection of the pool.
  const named = values.length > 0 ? { name: text.slice(0, 50) } : {};
  const result: QueryResult<Row> = await on.query({ ...named, text, values: [...values] });
  return result.rows;
};

const inside = (client: PoolClient): Transaction => ({
  rows: (text, values) => ask(client, text, values),
  savepoint: async (work) => {
    await client.query('SAVEPOINT deeper');
    try {
      await work({ rows: (text, values) => ask(client, text, values) });
      await client.query('RELEASE deeper');
    } catch (error) {
      await client.query('ROLLBACK TO deeper');
      throw error;
    }
  },
});

export const pgDriver: Driver = {
  name: 'pg',
  ownProtocol: true,
  open: (access, max) => {
    const pool = new Pool({ ...access, max });
    return {
      rows: (text, values) => ask(pool, text, values),
      transaction: async (work, isolation = 'read committed') => {
        const client = await pool.connect();
        try {
          await client.query(`BEGIN ISOLATION LEVEL ${isolation}`);
          const result = await work(inside(client));
          await client.query('COMMIT');
          return result;
        } catch (error) {
          await client.query('ROLLBACK');
          throw error;
        } finally {
          client.release();
        }
      },
      close: () => pool.end(),
    };
  },
};
