import fc from 'fast-check';
import { expect, test } from 'vitest';
import { listenLater, waitingCommands } from '../../../../src/core/session/listening.ts';
import { notifySql } from '../../../../src/core/session/notify-sql.ts';
import { loadClassifier } from '../../../../src/io/parser.ts';
import { contextOf, noSuspicions } from '../../../../src/core/statement/context.ts';

const classifier = await loadClassifier(contextOf(noSuspicions));
/** What a text of PostgreSQL can be. */
const text = fc
  .string({ unit: 'binary', minLength: 1 })
  .filter((value) => !/[\0\ufffd\p{Surrogate}]/u.test(value));

test('rows in order, in ASCII', () => {
  const list = [
    { channel: 'a', payload: '' },
    { channel: `it's`, payload: '\\ ж𝄞' },
  ];
  expect(notifySql(list, 'pg_notify')).toBe(
    `SELECT pg_catalog.pg_notify(channel, payload) FROM ` +
      `(VALUES (E'a', E''), (E'it''s', E'\\\\ \\u0436\\U0001d11e')) AS n (channel, payload)`,
  );
});

test('whatever the texts are, it is one query in ASCII', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ channel: text, payload: text }), { minLength: 1, maxLength: 3 }),
      (list) => {
        const sql = notifySql(list, 'pg_notify_local');
        expect(sql).toMatch(/^\p{ASCII}*$/u);
        expect(classifier.parse(sql)?.length).toBe(1);
      },
    ),
  );
});

test('what waits is the command again, whatever the channel', () => {
  fc.assert(
    fc.property(text, fc.constantFrom('+', '-'), (channel, sign) => {
      const later = listenLater(sign + channel)!;
      expect(later).toMatch(/^\p{ASCII}*$/u);
      const literal = /^CALL mtm\.listen_later\(E?'(.*)'\)$/su.exec(later)![1]!.replaceAll("''", "'");
      const waiting = later.includes("(E'") ? literal.replaceAll('\\\\', '\\') : literal;
      const commands = waitingCommands(waiting);
      expect(commands).toHaveLength(1);
      // The parser cuts names at 63 bytes.
      if (new TextEncoder().encode(channel).length < 64)
        expect(classifier.parse(commands[0]!)).toMatchObject([
          { class: { kind: 'listen', entry: sign + channel } },
        ]);
    }),
  );
});

test('the order is kept, and what a client has written into the setting does nothing', () => {
  const value = ['"+a"', '"*"', '', 'DROP TABLE t', '"x', '7', 'null', '"+"', '"+c\\u0000"', '"-b"'].join(
    '\n',
  );
  expect(waitingCommands(value)).toEqual(['LISTEN U&"a"', 'UNLISTEN *', 'UNLISTEN U&"b"']);
  expect(listenLater('+\ufffd')).toBeUndefined();
});
