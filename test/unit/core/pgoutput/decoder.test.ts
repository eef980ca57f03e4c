import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodePgoutput } from '../../../../src/core/pgoutput/decoder.ts';
import { recorded, text } from './fixtures.ts';

for (const major of [15, 18] as const) {
  describe(`recorded from ${major}`, () => {
    const messages = recorded(major).map((bytes) => decodePgoutput(bytes));

    test('every message is understood, in the order of the session', () => {
      expect(messages.map((message) => message.kind).join(' ')).toBe(
        'begin-prepare relation insert insert logical-message prepare commit-prepared ' +
          'begin type relation insert insert update delete commit ' +
          'begin relation insert update update delete commit ' +
          'begin relation type relation truncate commit begin-prepare prepare rollback-prepared ' +
          'begin-prepare origin relation insert prepare commit-prepared',
      );
    });

    test('a relation with its identity, columns and types', () => {
      expect(messages[1]).toMatchObject({ schema: 'public', name: 't', identity: 'default' });
      expect(messages[1]).toHaveProperty('columns', [
        { name: 'id', key: true, typeOid: 23, typmod: -1 },
        { name: 'v', key: false, typeOid: 25, typmod: -1 },
        { name: 'd', key: false, typeOid: 1700, typmod: -1 },
        { name: 'j', key: false, typeOid: 3802, typmod: -1 },
      ]);
      expect(messages[9]).toMatchObject({ name: 'f', identity: 'full' });
      expect(messages[8]).toMatchObject({ kind: 'type', schema: 'public', name: 'mood' });
    });

    test('rows: text, NULL, old rows, unchanged TOAST', () => {
      const values = (index: number, part: 'row' | 'old') => {
        const message = messages[index];
        if (message?.kind !== 'insert' && message?.kind !== 'update' && message?.kind !== 'delete')
          return undefined;
        const row =
          part === 'row'
            ? message.kind === 'delete'
              ? undefined
              : message.row
            : 'old' in message
              ? message.old?.row
              : undefined;
        return row?.values.map((value) => (value && value.length > 99 ? value.length : text(value)));
      };
      expect(values(2, 'row')).toEqual(['1', 'a', '1.5', '{"a": 1}']);
      expect(values(3, 'row')).toEqual(['2', null, null, null]);
      expect(values(12, 'old')).toEqual(['1', 'sad']);
      expect(values(12, 'row')).toEqual(['1', 'glad']);
      expect(values(13, 'old')).toEqual([null, null]);
      expect(values(17, 'row')).toEqual(['1', '1', 5000]);
      expect(values(18, 'row')).toEqual(['1', '2', undefined]);
      expect(values(19, 'old')).toEqual(['1', null, null]);
      expect(values(19, 'row')).toEqual(['3', '2', undefined]);
    });

    test('gids, flags, message content', () => {
      expect(messages[0]).toMatchObject({ gid: 'mtm:1:1:1:1' });
      expect(messages[6]).toMatchObject({ gid: 'mtm:1:1:1:1' });
      expect(messages[30]).toMatchObject({ kind: 'rollback-prepared', gid: 'user gid' });
      expect(messages[26]).toMatchObject({ cascade: true, restartIdentity: true });
      expect(messages[32]).toMatchObject({ kind: 'origin', name: 'applylab_o' });
      const header = messages[4];
      expect(
        header?.kind === 'logical-message' && [header.transactional, header.prefix, text(header.content)],
      ).toEqual([true, 'mtm', '{"gid":"mtm:1:1:1:1"}']);
    });

    test('a value is a range of the input, not a copy', () => {
      const bytes = recorded(major)[2]!;
      const message = decodePgoutput(bytes);
      expect(message.kind === 'insert' && message.row.values[1]?.buffer).toBe(bytes.buffer);
    });

    test('cut anywhere or made longer: malformed, never an exception', () => {
      for (const bytes of recorded(major)) {
        for (let end = 0; end < Math.min(bytes.length, 300); end++) {
          expect(decodePgoutput(bytes, 0, end).kind).toBe('malformed');
        }
        expect(decodePgoutput(Uint8Array.of(...bytes, 0)).kind).toBe('malformed');
      }
    });
  });
}

test('a message inside a larger buffer reads the same', () => {
  for (const bytes of recorded(18)) {
    const buffer = new Uint8Array(bytes.length + 20).fill(0x6e);
    buffer.set(bytes, 7);
    expect(decodePgoutput(buffer, 7, 7 + bytes.length)).toEqual(decodePgoutput(bytes));
  }
});

test('any bytes give a value', () => {
  const types = fc.constantFrom(...'BCbPKrpSEcAORYIUDTM?'.split('').map((letter) => letter.charCodeAt(0)));
  fc.assert(
    fc.property(types, fc.uint8Array({ maxLength: 80 }), (type, body) => {
      expect(decodePgoutput(Uint8Array.of(type, ...body))).toHaveProperty('kind');
    }),
    { numRuns: 2000 },
  );
});

test('parts of in-progress streams are recognised', () => {
  for (const type of ['S', 'E', 'c', 'A', 'p'] as const) {
    expect(decodePgoutput(Uint8Array.of(type.charCodeAt(0), 1, 2))).toEqual({ kind: 'stream', type });
  }
});

test('tuples survive encode and decode', () => {
  const value = fc.oneof(fc.constant(null), fc.constant(undefined), fc.uint8Array({ maxLength: 40 }));
  fc.assert(
    fc.property(fc.array(value, { maxLength: 8 }), (values) => {
      const bytes = [0x49, 0, 0, 1, 0, 0x4e, 0, values.length];
      for (const part of values) {
        if (part === null) bytes.push(0x6e);
        else if (part === undefined) bytes.push(0x75);
        else bytes.push(0x74, 0, 0, 0, part.length, ...part);
      }
      expect(decodePgoutput(Uint8Array.from(bytes))).toEqual({
        kind: 'insert',
        relation: 256,
        row: { values, binary: undefined },
      });
    }),
  );
});

test('binary columns are marked', () => {
  const message = decodePgoutput(Uint8Array.of(0x49, 0, 0, 0, 1, 0x4e, 0, 2, 0x62, 0, 0, 0, 1, 9, 0x6e));
  expect(message.kind === 'insert' && message.row.binary).toEqual(new Set([0]));
});
