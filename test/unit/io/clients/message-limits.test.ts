import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FrameScanner } from '../../../../src/core/wire/frame-scanner.ts';
import { clientMessageLimit } from '../../../../src/io/clients/message-limits.ts';

const codeOf = (type: string): number => type.charCodeAt(0);

test('the limits of PostgreSQL by type; before the login those of a password', () => {
  for (const type of 'BFd') expect(clientMessageLimit(codeOf(type), true)).toBe(0x3fffffff);
  for (const type of 'QP') expect(clientMessageLimit(codeOf(type), true)).toBe(0x07ffffff);
  for (const type of 'SHEDCXcf') expect(clientMessageLimit(codeOf(type), true)).toBe(10_000);
  for (const type of 'QPBSHEDCXdcfFp') expect(clientMessageLimit(codeOf(type), false)).toBe(65_535);
  for (const type of [0, 0xff, codeOf('R'), codeOf('Z')]) {
    expect(clientMessageLimit(type, true)).toBeUndefined();
    expect(clientMessageLimit(type, false)).toBeUndefined();
  }
});

test('any bytes in any split: no exception, and never more kept than a limit or what has come', () => {
  const chunks = fc.array(fc.uint8Array({ maxLength: 400 }), { maxLength: 30 });
  fc.assert(
    fc.property(chunks, fc.boolean(), (all, loggedIn) => {
      const types = new Set<number>();
      const scanner = new FrameScanner({
        limit: (type) => clientMessageLimit(type, loggedIn),
        streams: () => false,
        message: (type) => void types.add(type),
        part: () => undefined,
      });
      let came = 0;
      let unknown = false;
      for (const chunk of all) {
        came += chunk.length;
        if (scanner.push(chunk).kind === 'violation') break;
        expect(scanner.heldBytes).toBeLessThanOrEqual(came);
        // Behind a message of no type there is nothing.
        if (unknown) expect(scanner.heldBytes).toBe(0);
        unknown = [...types].some((type) => clientMessageLimit(type, loggedIn) === undefined);
      }
    }),
  );
});
