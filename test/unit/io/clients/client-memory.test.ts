import { expect, test } from 'vitest';
import { ClientMemory, MemoryShare } from '../../../../src/io/clients/client-memory.ts';

const kilobyte = 1024;

class TestHolder {
  readonly share: MemoryShare;
  ended = 0;

  constructor(memory: ClientMemory) {
    this.share = new MemoryShare(memory, this);
  }

  memoryExceeded(): void {
    this.ended++;
    this.share.tell(0);
  }
}

test('above the limit the one that holds most goes, whoever asked for the last bytes', () => {
  const memory = new ClientMemory(1000 * kilobyte);
  const [small, large, last] = [new TestHolder(memory), new TestHolder(memory), new TestHolder(memory)];
  small.share.tell(200 * kilobyte);
  large.share.tell(600 * kilobyte);
  last.share.tell(200 * kilobyte);
  expect(memory.bytes).toBe(1000 * kilobyte);
  last.share.tell(300 * kilobyte);
  expect([small.ended, large.ended, last.ended]).toEqual([0, 1, 0]);
  expect(memory.bytes).toBe(500 * kilobyte);
});

test('what is given back counts no more, to the last byte', () => {
  const memory = new ClientMemory(1000 * kilobyte);
  const one = new TestHolder(memory);
  for (let round = 0; round < 100; round++) {
    one.share.tell(900 * kilobyte);
    one.share.tell(899 * kilobyte); // not worth telling
    expect(memory.bytes).toBe(900 * kilobyte);
    one.share.tell(0);
    expect(memory.bytes).toBe(0);
  }
  expect(one.ended).toBe(0);
});
