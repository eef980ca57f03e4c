import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { anyText, bytesOfText } from '../../../../src/core/wire/any-text.ts';
import { cancelRequest, startup } from '../../../../src/core/wire/messages.ts';
import { maxStartupBytes, readStartupPacket } from '../../../../src/core/wire/startup-packet.ts';

describe('readStartupPacket', () => {
  test('random bytes never throw and never take more than there is', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const packet = readStartupPacket(bytes);
        if ('bytes' in packet) expect(packet.bytes).toBeLessThanOrEqual(bytes.length);
      }),
    );
  });

  test('a correct length and random content never throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 4, maxLength: 100 }), fc.boolean(), (content, known) => {
        const bytes = Buffer.concat([Buffer.alloc(4), content]);
        bytes.writeUInt32BE(bytes.length, 0);
        if (known) bytes.writeUInt32BE(196608, 4);
        expect(readStartupPacket(bytes).kind).not.toBe('incomplete');
      }),
    );
  });

  const text = fc
    .string({ minLength: 1, maxLength: 20, unit: 'binary' })
    .filter((value) => !value.includes('\0'));

  test('what was written is read again; every beginning of it is incomplete', () => {
    fc.assert(
      fc.property(fc.dictionary(text, text, { maxKeys: 6 }), fc.nat({ max: 0xffff }), (values, minor) => {
        const parameters = new Map(Object.entries(values));
        const bytes = startup(parameters, (3 << 16) | minor);
        const packet = readStartupPacket(Buffer.concat([bytes, Buffer.from('rest')]));
        expect(packet).toEqual({ kind: 'startup', bytes: bytes.length, major: 3, minor, parameters });
        for (let length = 0; length < bytes.length; length++) {
          expect(readStartupPacket(bytes.subarray(0, length)).kind).toBe('incomplete');
        }
      }),
      { numRuns: 50 },
    );
  });

  test('cancel requests: keys of 4 bytes (3.0) up to 256 (3.2)', () => {
    for (const length of [4, 32, 256]) {
      const key = new Uint8Array(length).fill(7);
      expect(readStartupPacket(cancelRequest(4711, key))).toMatchObject({
        kind: 'cancel',
        processId: 4711,
        key,
      });
    }
    expect(readStartupPacket(cancelRequest(1, new Uint8Array(257))).kind).toBe('alien');
    expect(readStartupPacket(cancelRequest(1, new Uint8Array(0))).kind).toBe('alien');
  });

  test.each([
    ['alien', 'too short', [0, 0, 0, 7]],
    [
      'alien',
      'longer than PostgreSQL accepts',
      [0, 0, (maxStartupBytes + 1) >> 8, (maxStartupBytes + 1) & 255],
    ],
    ['alien', 'negative', [0xff, 0, 0, 0]],
    ['unsupported', 'protocol 2', [0, 0, 0, 9, 0, 2, 0, 0, 0]],
    ['violation', 'no terminator', [0, 0, 0, 12, 0, 3, 0, 0, 0x61, 0, 0x62, 0]],
    ['violation', 'bytes behind the terminator', [0, 0, 0, 10, 0, 3, 0, 0, 0, 0]],
  ])('%s: %s', (kind, _, bytes) => {
    expect(readStartupPacket(Uint8Array.from(bytes)).kind).toBe(kind);
  });

  test('bytes of any encoding come out as they went in', () => {
    const bytes = fc
      .uint8Array({ minLength: 1, maxLength: 30 })
      .map((all) => all.filter((byte) => byte !== 0));
    fc.assert(
      fc.property(bytes, (value) => {
        expect(bytesOfText(anyText(value))).toEqual(Uint8Array.from(value));
      }),
    );
    const latin1 = Uint8Array.from(Buffer.from('m\xfcller', 'latin1'));
    const packet = readStartupPacket(startup([['user', anyText(latin1)]]));
    if (packet.kind !== 'startup') throw new Error(packet.kind);
    expect(bytesOfText(packet.parameters.get('user')!)).toEqual(latin1);
    for (const text of ['\ufeffmtm_admin', '\ud83d\ude00', 'müller'])
      expect(anyText(bytesOfText(text))).toBe(text);
  });
});
