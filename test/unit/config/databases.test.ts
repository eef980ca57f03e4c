import { describe, expect, test } from 'vitest';
import { configsByDatabase, databaseNumber, databaseProblems } from '../../../src/config/databases.ts';
import { loadConfig } from '../../../src/config/loading.ts';

function load(more: string): ReturnType<typeof loadConfig> {
  return loadConfig({
    environment: {},
    flags: {
      'node-id': '1',
      'cluster-name': 'shop',
      'cluster-secret': 'sixteen characters',
      'postgres-database': 'app',
      'postgres-more-databases': more,
    },
  });
}

describe('databases of a gateway', () => {
  test('one: the configuration as it is', () => {
    const config = load('');
    expect(configsByDatabase(config)).toEqual([config]);
    expect(config.postgres.number).toBe(0);
  });

  test('each further one has a cluster name and a number of its own', () => {
    const [first, second, third] = configsByDatabase(load('stock,people'));
    expect(first.clusterName).toBe('shop');
    expect(second?.clusterName).toBe('shop/stock');
    expect(second?.postgres).toMatchObject({ database: 'stock', number: databaseNumber('stock') });
    expect(third?.postgres.database).toBe('people');
    const numbers = [first, second, third].map((config) => config!.postgres.number);
    expect(new Set(numbers).size).toBe(3);
  });

  test('the number comes from the name alone', () => {
    expect([databaseNumber('stock'), databaseNumber('people'), databaseNumber('ünd')]).toMatchInlineSnapshot(`
      [
        210,
        106,
        135,
      ]
    `);
    for (let n = 0; n < 5000; n++) {
      const number = databaseNumber(`database ${n}`);
      expect(number).toBeGreaterThanOrEqual(1);
      expect(number).toBeLessThanOrEqual(997);
    }
  });

  test('what cannot be told apart is refused', () => {
    expect(() => load('stock,app')).toThrow('postgres.more_databases: "app" is there twice');
    expect(() => load('stock,stock')).toThrow('"stock" is there twice');
    expect(databaseProblems('a/b', 'app', ['x'])).toEqual(['cluster_name must not contain a slash']);
    expect(databaseProblems('a/b', 'app', [])).toEqual([]);
    expect(databaseProblems('mtm', 'app', ['x'.repeat(60)])).toEqual([
      `cluster_name and the name of database "${'x'.repeat(60)}" are longer than 63 bytes together`,
    ]);
    const first = databaseNumber('database 0');
    const twin = Array.from({ length: 20_000 }, (_, n) => `database ${n + 1}`).find(
      (name) => databaseNumber(name) === first,
    )!;
    expect(databaseProblems('mtm', 'app', ['database 0', twin])).toEqual([
      `postgres.more_databases: "${twin}" and "database 0" need the same number: rename one`,
    ]);
  });
});
