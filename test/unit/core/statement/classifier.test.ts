/** The order glance – cache – parser, the limits, and the context that makes everything old. */
import { describe, expect, test } from 'vitest';
import {
  Classifier,
  longestParsedCharacters,
  parseFirstCharacters,
  type ClassCache,
  type ParseOutcome,
} from '../../../../src/core/statement/classifier.ts';
import { contextOf, noSuspicions } from '../../../../src/core/statement/context.ts';
import type { ParsedText } from '../../../../src/core/statement/statement-class.ts';

const clean = contextOf(noSuspicions);

function mapCache(): ClassCache {
  const entries = new Map<string, { readonly parsed: ParsedText }>();
  return {
    get: (text) => entries.get(text),
    set: (text, entry) => void entries.set(text, entry),
    clear: () => entries.clear(),
  };
}

function classifierWith(outcome: ParseOutcome): {
  readonly classifier: Classifier;
  readonly parsed: string[];
} {
  const parsed: string[] = [];
  const parse = (text: string): ParseOutcome => {
    parsed.push(text);
    return outcome;
  };
  return { classifier: new Classifier(parse, mapCache(), clean), parsed };
}

const oneCall: ParseOutcome = {
  kind: 'tree',
  tree: {
    stmts: [
      { stmt: { SelectStmt: { targetList: [{ FuncCall: { funcname: [{ String: { sval: 'upper' } }] } }] } } },
    ],
  },
};

describe('the classifier', () => {
  test('does not parse what a glance tells, and gives its place without the semicolon', () => {
    const { classifier, parsed } = classifierWith({ kind: 'too-complex' });
    expect(classifier.parse("update t set a = 'é' ; ")).toMatchObject([
      { class: { kind: 'write' }, start: 0, end: 22 },
    ]);
    expect(classifier.parse('BEGIN;')).toMatchObject([{ class: { kind: 'begin' }, start: 0, end: 5 }]);
    expect(parsed).toEqual([]);
  });

  test('parses a text once, and again when the context changed', () => {
    const { classifier, parsed } = classifierWith(oneCall);
    expect(classifier.parse('select upper(a)')).toMatchObject([{ class: { kind: 'read' } }]);
    expect(classifier.parse('select upper(a)')).toMatchObject([{ class: { kind: 'read' } }]);
    expect(parsed.length).toBe(1);
    classifier.setContext(contextOf({ ...noSuspicions, functions: ['upper'] }));
    expect(classifier.parse('select upper(a)')).toMatchObject([{ class: { kind: 'write', certain: false } }]);
    expect(parsed.length).toBe(2);
  });

  test('remembers that a text does not parse', () => {
    const { classifier, parsed } = classifierWith({ kind: 'syntax-error', message: 'x', position: 0 });
    expect(classifier.parse('selec (1)')).toBeUndefined();
    expect(classifier.parse('selec (1)')).toBeUndefined();
    expect(parsed.length).toBe(1);
  });

  test('takes a big single statement for a write without parsing it', () => {
    const { classifier, parsed } = classifierWith({ kind: 'too-complex' });
    const rows = "('a;b'),".repeat(parseFirstCharacters / 8);
    for (const [text, certain] of [
      [`insert into t values ${rows}('x')`, true],
      [`select f('${'x'.repeat(parseFirstCharacters)};')`, false],
      [`with x as (select 1) select '${';'.repeat(longestParsedCharacters)}';`, false],
    ] as const) {
      expect(classifier.parse(text)).toMatchObject([{ class: { kind: 'write', certain }, start: 0 }]);
    }
    expect(parsed).toEqual([]);
  });

  test('parses other big texts, up to its limit', () => {
    const { classifier, parsed } = classifierWith(oneCall);
    const filler = ' '.repeat(parseFirstCharacters);
    for (const text of [
      `select f();${filler}commit`,
      `do $$${filler}$$`,
      `insert into mtm.node values ('a;')${filler}`,
      `select set_config('event_triggers', 'off', true)${filler}`,
    ]) {
      classifier.parse(text);
    }
    expect(parsed.length).toBe(4);
    const huge = `select f();${' '.repeat(longestParsedCharacters)}commit`;
    expect(classifier.parse(huge)).toMatchObject([
      { class: { kind: 'refused', sqlstate: '54000' }, end: huge.length },
    ]);
    expect(parsed.length).toBe(4);
  });

  test('a nest too deep for the parser is a write when it is one query, otherwise refused', () => {
    const { classifier } = classifierWith({ kind: 'too-complex' });
    expect(classifier.parse('select (1)')).toMatchObject([{ class: { kind: 'write', certain: false } }]);
    expect(classifier.parse('select (1); commit')).toMatchObject([
      { class: { kind: 'refused', sqlstate: '54001' } },
    ]);
    expect(classifier.parse('do $$ $$')).toMatchObject([{ class: { kind: 'refused', sqlstate: '54001' } }]);
  });
});
