import { describe, expect, test } from 'vitest';
import { catalogConflict } from '../../../../src/core/wire/catalog-conflict.ts';

function conflict(sqlstate: string, message: string, schema?: string): unknown {
  const fields = new Map([
    ['C', sqlstate],
    ['M', message],
    ...(schema === undefined ? [] : [['s', schema] as const]),
  ]);
  return catalogConflict(fields);
}

describe('an error of two that change one definition', () => {
  test('is told as a conflict, with the words of the server', () => {
    for (const message of ['tuple concurrently updated', 'tuple concurrently deleted'])
      expect(conflict('XX000', message)).toMatchObject({ sqlstate: '40001', detail: `${message} (XX000)` });
    const twice = 'duplicate key value violates unique constraint "pg_type_typname_nsp_index"';
    expect(conflict('23505', twice, 'pg_catalog')).toMatchObject({ sqlstate: '40001' });
  });

  test('is nothing else: broken constraints of tables and other internal errors stay what they are', () => {
    expect(conflict('23505', 'duplicate key value', 'public')).toBeUndefined();
    expect(conflict('23505', 'duplicate key value')).toBeUndefined();
    expect(conflict('XX000', 'cache lookup failed for relation 1')).toBeUndefined();
    expect(conflict('XX000', 'tuple already updated by self')).toBeUndefined();
    expect(conflict('P0001', 'tuple concurrently updated')).toBeUndefined();
  });
});
