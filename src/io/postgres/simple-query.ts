/** One simple query on a raw connection that does nothing else meanwhile. */
import { backend } from '../../core/wire/codes.ts';
import { errorFields, query } from '../../core/wire/messages.ts';
import { readRow } from './backend-message.ts';
import type { RawConnection } from './raw-connection.ts';

/** What the server refused, with its SQLSTATE. */
export class QueryError extends Error {
  override readonly name = 'QueryError';
  readonly sqlstate: string;

  constructor(sqlstate: string, message: string) {
    super(message);
    this.sqlstate = sqlstate;
  }
}

/**
 * Resolves with all rows as text; rejects with QueryError, or Error when the connection ends. Takes over the
 * handler.
 */
export function simpleQuery(connection: RawConnection, text: string): Promise<string[][]> {
  return new Promise((resolve, reject) => {
    const rows: string[][] = [];
    let failure: QueryError | undefined;
    connection.handle({
      message(type, buffer, start, end) {
        if (type === backend.dataRow) rows.push(readRow(buffer, start));
        else if (type === backend.errorResponse) {
          const fields = errorFields(buffer, start, end);
          failure = new QueryError(fields.get('C') ?? 'XX000', fields.get('M') ?? '');
        } else if (type === backend.readyForQuery) {
          if (failure === undefined) resolve(rows);
          else reject(failure);
        }
      },
      closed: (reason) => reject(failure ?? new Error(reason)),
    });
    if (connection.closed) reject(new Error('the connection is closed'));
    else connection.send(query(text));
  });
}
