/** The real parser: outcomes, survival of texts that overflow it, and the bounded cache. */
import { describe, expect, test } from 'vitest';
import { contextOf, noSuspicions } from '../../../src/core/statement/context.ts';
import { loadClassifier, loadParser, newClassCache } from '../../../src/io/parser.ts';

describe('the parser', () => {
  test('gives a tree with places in bytes, or the message of PostgreSQL', async () => {
    const { parse } = await loadParser();
    const outcome = parse("select 'é'; select 2");
    expect(outcome.kind).toBe('tree');
    if (outcome.kind === 'tree') {
      expect(outcome.tree.stmts?.map((raw) => [raw.stmt_location ?? 0, raw.stmt_len ?? 0])).toEqual([
        [0, 11],
        [13, 0],
      ]);
    }
    expect(parse('')).toMatchObject({ kind: 'tree' });
    expect(parse('select 1; bad')).toEqual({
      kind: 'syntax-error',
      message: 'syntax error at or near "bad"',
      position: 10,
    });
    expect(parse('select 1\0; commit')).toMatchObject({ kind: 'syntax-error' });
  });

  test('outlives texts that overflow its stack', async () => {
    const parser = await loadParser();
    const deep = `select ${Array(30_000).fill('1').join('+')}`;
    for (let round = 0; round < 4; round++) {
      expect(parser.parse(deep)).toEqual({ kind: 'too-complex' });
      expect(parser.parse('select 1').kind).toBe('tree');
      await parser.spareReady();
    }
    // Faster than spares can be loaded: it says so instead of looping in a broken instance.
    expect(parser.parse(deep).kind).toBe('too-complex');
    expect(parser.parse(deep).kind).toBe('too-complex');
    expect(parser.parse('select 1').kind).toBe('too-complex');
    await parser.spareReady();
    expect(parser.parse('select 1').kind).toBe('tree');
  });

  test('the whole classifier: quick, cached, parsed', async () => {
    const classifier = await loadClassifier(contextOf(noSuspicions));
    expect(classifier.parse('select upper(a) from t')).toMatchObject([{ class: { kind: 'read' } }]);
    expect(classifier.parse('select a from t; vacuum')?.map((statement) => statement.class.kind)).toEqual([
      'read',
      'local',
    ]);
    expect(classifier.parse('selec 1')).toBeUndefined();
    const blind = await loadClassifier();
    expect(blind.parse('select 1')).toMatchObject([{ class: { kind: 'write' } }]);
  });
});

describe('the cache', () => {
  test('is bounded in entries and in the length of a text', () => {
    const cache = newClassCache();
    const entry = { parsed: [] };
    const long = 'x'.repeat(20_000);
    cache.set(long, entry);
    expect(cache.get(long)).toBeUndefined();
    cache.set('first', entry);
    expect(cache.get('first')).toBe(entry);
    for (let index = 0; index < 10_000; index++) cache.set(`select ${index}`, entry);
    expect(cache.get('first')).toBeUndefined();
    expect(cache.get('select 9999')).toBe(entry);
    cache.clear();
    expect(cache.get('select 9999')).toBeUndefined();
  });
});
