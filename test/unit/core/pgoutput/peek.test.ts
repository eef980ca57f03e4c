import { expect, test } from 'vitest';
import { decodePgoutput } from '../../../../src/core/pgoutput/decoder.ts';
import { peekOid, peekPrefix, peekRelation, peekTruncated } from '../../../../src/core/pgoutput/peek.ts';
import { recorded } from './fixtures.ts';

test('a peek says what the decoder says', () => {
  for (const bytes of [...recorded(15), ...recorded(18)]) {
    const message = decodePgoutput(bytes);
    const end = bytes.length;
    expect(peekPrefix(bytes, 0, end)).toBe('prefix' in message ? message.prefix : undefined);
    if ('relation' in message) expect(peekOid(bytes, 0, end)).toBe(message.relation);
    if (message.kind === 'relation')
      expect(peekRelation(bytes, 0, end)).toEqual({ schema: message.schema, name: message.name });
    if (message.kind === 'truncate') expect(peekTruncated(bytes, 0, end)).toEqual(message.relations);
  }
});
