/** Many sessions at once: workers that repeat what lost a conflict, as every application has to. */
import type { Client } from 'pg';

/** PostgreSQL's own advice for these two is: repeat the transaction. */
const repeatable = ['40001', '40P01'];

/** Runs `body` in a transaction until it commits; the number of attempts. Any other error is the caller's. */
export async function transaction(
  client: Client,
  body: (client: Client) => Promise<unknown>,
  begin = 'BEGIN',
): Promise<number> {
  for (let attempt = 1; ; attempt++) {
    try {
      await client.query(begin);
      await body(client);
      await client.query('COMMIT');
      return attempt;
    } catch (error) {
      await client.query('ROLLBACK');
      if (!isRepeatable(error) || attempt >= 200) throw error;
    }
  }
}

export function isRepeatable(error: unknown): boolean {
  return repeatable.includes((error as { code?: string }).code ?? '');
}

export function randomBelow(limit: number): number {
  return Math.floor(Math.random() * limit);
}

/** Ends when all have ended; throws the first failure only then, so that nothing runs on behind a failed test. */
export async function together(work: readonly Promise<unknown>[]): Promise<void> {
  const results = await Promise.allSettled(work);
  const failed = results.find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}
