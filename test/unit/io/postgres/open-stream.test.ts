/** The connections that read open transactions: which are used again, and until when. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { backend } from '../../../../src/core/wire/codes.ts';
import { OpenStream } from '../../../../src/io/postgres/open-stream.ts';
import { RawConnection, type RawHandler } from '../../../../src/io/postgres/raw-connection.ts';

/** Its server answers every query with nothing. */
class EmptyConnection {
  readonly pid = 1;
  closed = false;
  #handler: RawHandler | undefined;

  handle(handler: RawHandler): void {
    this.#handler = handler;
  }

  send(): void {
    queueMicrotask(() => this.#handler?.message(backend.readyForQuery, new Uint8Array(6), 0, 6));
  }

  destroy(): void {
    this.closed = true;
  }
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

test('an idle connection that the server has closed takes no other one with it', async () => {
  const opened: EmptyConnection[] = [];
  vi.spyOn(RawConnection, 'open').mockImplementation(() => {
    const connection = new EmptyConnection();
    opened.push(connection);
    return Promise.resolve(connection as unknown as RawConnection);
  });
  const stream = new OpenStream({
    login: {} as never,
    slot: 'mtm_live',
    publication: 'mtm',
    verifyHeader: () => true,
  });
  const read = () => stream.read({ gid: 'mtm:1:1:1:1', xid: '700', piece: () => undefined });
  await Promise.all([read(), read()]);
  expect(opened).toHaveLength(2);
  opened[1]!.closed = true;
  await vi.advanceTimersByTimeAsync(30_000);
  await read();
  expect(opened, 'another one in its place').toHaveLength(3);
  await vi.advanceTimersByTimeAsync(30_001);
  expect(opened.map(({ closed }) => closed)).toEqual([true, true, false]);
  await read();
  expect(opened, 'the one that is left is used again').toHaveLength(3);
  stream.close();
  expect(opened[2]!.closed).toBe(true);
});
