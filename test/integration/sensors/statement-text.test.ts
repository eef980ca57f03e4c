/** Cutting texts: where a statement ends, and what belongs to a frame of PG_CONTEXT. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { timed } from '../../support/polling.ts';
import { openLab, testedMajors, type SensorLab } from './sensor-lab.ts';

describe.each(testedMajors.filter((major) => major === 15 || major === 18))(
  'statement text on PostgreSQL %i',
  (major) => {
    let lab: SensorLab;

    beforeAll(async () => {
      lab = await openLab(major);
    });

    afterAll(async () => {
      await lab?.close();
    });

    const split = async (text: string, standard = true): Promise<unknown> => {
      const { rows } = await lab.admin.query<{ s: string[]; c: boolean }>(
        'SELECT statements AS s, complete AS c FROM mtm.split_statements($1, $2)',
        [text, standard],
      );
      return rows[0]?.c === true ? rows[0].s.map((one) => one.trim()) : 'incomplete';
    };

    test('semicolons that separate, and those that do not', async () => {
      const cases: readonly [string, readonly string[] | 'incomplete'][] = [
        ['a; b;; /* c; */ ; -- d;', ['a', 'b']],
        [`a ';' "x;""y" ; b`, [`a ';' "x;""y"`, 'b']],
        [`a 'it''s;' ; b`, [`a 'it''s;'`, 'b']],
        [String.raw`a E'\';' ; b`, [String.raw`a E'\';'`, 'b']],
        [String.raw`a e'\\' ; b`, [String.raw`a e'\\'`, 'b']],
        [String.raw`a '\' ; b`, [String.raw`a '\'`, 'b']],
        [String.raw`type '\' ; b`, [String.raw`type '\'`, 'b']],
        ['a $$;$$ ; b', ['a $$;$$', 'b']],
        ['a $t$ ; $x$ $t ; $t$ ; b', ['a $t$ ; $x$ $t ; $t$', 'b']],
        ['a $$$$ ; b', ['a $$$$', 'b']],
        ['a $x$t$ ; $x$ ; b', ['a $x$t$ ; $x$', 'b']],
        ['select $1 ; select $2 ; a$b$c ; d', ['select $1', 'select $2', 'a$b$c', 'd']],
        ['a /* x /* ; */ ; */ ; b', ['a /* x /* ; */ ; */', 'b']],
        ['a -- ; \' "\n ; b', ['a -- ; \' "', 'b']],
        ['rule (x; y) ; b', ['rule (x; y)', 'b']],
        [
          'f() BEGIN ATOMIC a; select case when 1 then 2 end; END; b',
          ['f() BEGIN ATOMIC a; select case when 1 then 2 end; END', 'b'],
        ],
        ['begin; b; end', ['begin', 'b', 'end']],
        [`a 'open`, 'incomplete'],
        ['a "open', 'incomplete'],
        ['a $q$ open', 'incomplete'],
        ['a (open', 'incomplete'],
        ['a /* open', 'incomplete'],
        ['', []],
      ];
      for (const [text, parts] of cases) expect([text, await split(text)]).toEqual([text, parts]);
      expect(await split(String.raw`a '\';' ; b`, false)).toEqual([String.raw`a '\';'`, 'b']);
    });

    test('a long text takes no time', timed, async () => {
      const begin = performance.now();
      expect(await split(`DO $$${', (a.b + c); '.repeat(20_000)}$$; SELECT 'x;'`)).toHaveLength(2);
      expect(performance.now() - begin).toBeLessThan(5000);
    });

    const spi = async (context: string): Promise<unknown> => {
      const { rows } = await lab.admin.query<{ text: string | null }>('SELECT mtm.spi_text($1) AS text', [
        context,
      ]);
      return rows[0]?.text;
    };

    test('the text of a frame ends where it is complete', async () => {
      const frame = '\nPL/pgSQL function f() line 3 at SQL statement';
      const below = `\nSQL statement "SELECT f()"\nPL/pgSQL function inline_code_block line 1 at PERFORM`;
      for (const text of [
        'CREATE TABLE a (i int)',
        `CREATE TABLE "a" (t text DEFAULT '"')`,
        `COMMENT ON TABLE a IS 'x"\nPL/perl is nice'`,
        `CREATE TABLE "a"`,
      ]) {
        expect(await spi(`SQL statement "${text}"${frame}`)).toBe(text);
        expect(await spi(`SQL statement "${text}"${frame}${below}`)).toBe(text);
        expect(await spi(`SQL statement "${text}"`)).toBe(text);
      }
    });

    test('a text that looks like frames is refused, not guessed', async () => {
      const frame = '\nPL/pgSQL function f() line 3 at SQL statement';
      expect(await spi(`SQL statement "CREATE VIEW v AS SELECT 1 "${frame}""${frame}`)).toBeNull();
      expect(await spi(`SQL statement "COMMENT ON TABLE a IS 'x"${frame}'"${frame}`)).toBe(
        `COMMENT ON TABLE a IS 'x"${frame}'`,
      );
      expect(await spi(`SQL statement "CREATE TABLE a (`)).toBeNull();
    });
  },
);
