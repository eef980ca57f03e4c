/** A note that the server refuses is not lost, and no floor rises over it. */
import type pg from 'pg';
import type { LogFn } from 'pino';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { OutcomeNotes } from '../../../src/node/outcome-notes.ts';

const gid = (counter: number): string => `mtm:1:1:1:${counter}`;

/** What the server was told: the ranges, and the generation below which that is complete. */
let told: string[];
/** Answers of the server that are still owed, in the order of the questions. */
let answers: { readonly resolve: () => void; readonly reject: (error: Error) => void }[];
let warn: ReturnType<typeof vi.fn<() => void>>;
let notes: OutcomeNotes;

beforeEach(() => {
  told = [];
  answers = [];
  warn = vi.fn<() => void>();
  const client = {
    query: ({ values: [rows, below] }: { values: [string, number] }) => {
      const ranges = (JSON.parse(rows) as { committed: string }[]).map(({ committed }) => committed);
      told.push(`${ranges.join()} below ${below}`);
      return new Promise<void>((resolve, reject) => answers.push({ resolve, reject }));
    },
  };
  notes = new OutcomeNotes({ client: client as unknown as pg.Client }, { warn: warn as LogFn });
});

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function answer(error?: Error): Promise<void> {
  await settled();
  const { resolve, reject } = answers.shift()!;
  if (error === undefined) resolve();
  else reject(error);
  await settled();
}

const full = new Error('disk full');

describe('a note that fails', () => {
  test('is written with the next ones, and logged once', async () => {
    notes.committed([gid(1)]);
    notes.write();
    await settled();
    notes.committed([gid(2)]);
    await answer(full);
    notes.write();
    await answer(full);
    notes.write();
    await answer();
    notes.write();
    await settled();
    expect(told).toEqual(['{[1,2)} below 0', '{[1,3)} below 0', '{[1,3)} below 0']);
    expect(warn).toHaveBeenCalledTimes(1);
  });

  test('is tried again also when it says only that older generations are complete', async () => {
    notes.online(5);
    notes.write();
    await answer(full);
    notes.write();
    await answer();
    expect(told).toEqual([' below 5', ' below 5']);
  });

  test('is heard of by who flushes, and does not fail the flush after it', async () => {
    notes.committed([gid(1)]);
    const first = notes.flush();
    const second = notes.flush();
    first.catch(() => undefined);
    await answer(full);
    await expect(first).rejects.toThrow('disk full');
    await answer();
    await second;
    expect(told).toEqual(['{[1,2)} below 0', '{[1,2)} below 0']);
  });
});

test('a flush waits for all that were asked for before', async () => {
  notes.committed([gid(1)]);
  const first = notes.flush();
  await settled();
  notes.committed([gid(2)]);
  const second = notes.flush();
  await answer();
  await first;
  await settled();
  let done = false;
  const third = notes.flush().then(() => (done = true));
  await settled();
  expect(done).toBe(false);
  await answer();
  await Promise.all([second, third]);
  expect(told).toEqual(['{[1,2)} below 0', '{[2,3)} below 0']);
});
