/**
 * Two sessions or nodes have changed the same definition at once. PostgreSQL tells who comes second by an
 * internal error or by a unique index of a catalog: nothing that an application knows how to repeat.
 * Rule: only what goes away by itself when the statement runs again, or becomes a clear error then.
 */
import type { ErrorFields } from './messages.ts';

export interface CatalogConflict {
  readonly severity: 'ERROR';
  readonly sqlstate: '40001';
  readonly message: string;
  readonly detail: string;
  readonly hint: string;
}

/** elog() texts of heapam.c, which are never translated. */
const overtaken = new Set(['tuple concurrently updated', 'tuple concurrently deleted']);

/** The same as 40001, with the server's own words in the detail; undefined: it is another error. */
export function catalogConflict(fields: ErrorFields): CatalogConflict | undefined {
  const sqlstate = fields.get('C') ?? '';
  const message = fields.get('M') ?? '';
  const internal = sqlstate === 'XX000' && overtaken.has(message);
  const sameName = sqlstate === '23505' && fields.get('s') === 'pg_catalog';
  if (!internal && !sameName) return undefined;
  return {
    severity: 'ERROR',
    sqlstate: '40001',
    message:
      '[multimaster] could not serialize access: the same definition was changed by somebody else just now',
    detail: `${message} (${sqlstate})`,
    hint: 'Repeat the transaction.',
  };
}
