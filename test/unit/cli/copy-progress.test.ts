import { expect, test } from 'vitest';
import { CopyProgressLine, sizeText, timeText } from '../../../src/cli/copy-progress.ts';

/** What is written for a copy of 1 GB at 10 MB a second, of which 1.1 GB come. */
function written(isTTY: boolean, stepMs: number): string[] {
  let now = 0;
  const out: string[] = [];
  const output = { isTTY, columns: 80, write: (text: string) => void out.push(text) };
  const line = new CopyProgressLine(output, () => now);
  line.show({ received: 60, expected: 0, waitsFor: 'the checkpoint that a copy begins with' });
  for (; now <= 110_000; now += stepMs) {
    line.show({ received: now * 10_000, expected: 1_000_000_000, waitsFor: undefined });
  }
  line.done(1_100_000_000);
  return out;
}

test('lines every few seconds where nobody can draw', () => {
  const lines = written(false, 50);
  expect(lines.length).toBeLessThan(30);
  expect(lines[0]).toBe('copying: waiting for the checkpoint that a copy begins with\n');
  expect(lines[6]).toBe('copying  30 %, 300 MB of 1.0 GB, 10 MB/s, about 70 s left\n');
  expect(lines.at(-2)).toBe('copying and WAL, 1.1 GB of 1.0 GB, 10 MB/s\n');
  expect(lines.at(-1)).toBe('copied 1.1 GB in 2 min (10 MB/s)\n');
});

test('a bar on a terminal, drawn anew a few times a second and never wider than it', () => {
  const drawn = written(true, 20);
  expect(drawn.length).toBeLessThan(5 * 111 + 5);
  const middle = drawn.find((text) => text.includes(' 50 %'));
  expect(middle).toBe(
    '\r\u001B[Kcopying [########........]  50 %, 500 MB of 1.0 GB, 10 MB/s, about 50 s left',
  );
  for (const text of drawn) expect(text.replace('\r\u001B[K', '').length).toBeLessThan(80);
  expect(drawn.slice(-2)).toEqual(['\r\u001B[K', 'copied 1.1 GB in 2 min (10 MB/s)\n']);
});

test('sizes and times as people say them', () => {
  expect([0, 999, 1500, 25_000_000, 3_400_000_000_000].map(sizeText)).toEqual([
    '0 B',
    '999 B',
    '1.5 kB',
    '25 MB',
    '3400 GB',
  ]);
  expect([0.2, 59, 600, 7_900].map(timeText)).toEqual(['1 s', '59 s', '10 min', '2 h 12 min']);
});
