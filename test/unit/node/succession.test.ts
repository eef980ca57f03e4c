/** Who is believed to be the successor of a server. */
import { expect, test } from 'vitest';
import { isSuccessor, readSuccession, successionOf } from '../../../src/node/succession.ts';

const at = (systemIdentifier: string, timeline: number, flushed: bigint) => ({
  systemIdentifier,
  timeline,
  flushed,
  branches: timeline > 1 ? [{ timeline: 1, at: 80n }] : [],
});

/** As it arrives at a peer. */
function told(...predecessors: ReturnType<typeof at>[]) {
  return readSuccession(JSON.parse(JSON.stringify(successionOf(at('9', 1, 500n), predecessors))));
}

test('what is remembered is where the predecessor was left, or before', () => {
  expect(isSuccessor({ systemIdentifier: '7', timeline: 1, flushed: 100n }, told(at('7', 1, 100n)))).toBe(
    true,
  );
  expect(isSuccessor({ systemIdentifier: '7', timeline: 1, flushed: 60n }, told(at('7', 2, 100n)))).toBe(
    true,
  );
  expect(
    isSuccessor({ systemIdentifier: '7', timeline: 1, flushed: 60n }, told(at('7', 1, 90n), at('8', 1, 10n))),
  ).toBe(true);
});

test('a server that was used again since has no successor', () => {
  expect(isSuccessor({ systemIdentifier: '7', timeline: 1, flushed: 101n }, told(at('7', 1, 100n)))).toBe(
    false,
  );
  expect(isSuccessor({ systemIdentifier: '7', timeline: 1, flushed: 90n }, told(at('7', 2, 100n)))).toBe(
    false,
  );
  expect(isSuccessor({ systemIdentifier: '7', timeline: 3, flushed: 90n }, told(at('7', 2, 100n)))).toBe(
    false,
  );
});

test('another server, and the same one, are no successors', () => {
  expect(isSuccessor({ systemIdentifier: '6', timeline: 1, flushed: 1n }, told(at('7', 1, 100n)))).toBe(
    false,
  );
  expect(isSuccessor({ systemIdentifier: '9', timeline: 1, flushed: 1n }, told(at('9', 1, 100n)))).toBe(
    false,
  );
  expect(isSuccessor({ systemIdentifier: '7', timeline: 1, flushed: 1n }, told())).toBe(false);
});

test.each([
  null,
  {},
  { server: at('9', 1, 5n).systemIdentifier, predecessors: [] },
  { server: 1, predecessors: 'x' },
])('what no gateway says is refused: %j', (body) => expect(() => readSuccession(body)).toThrow());
