import type pg from 'pg';
import { expect, test, vi } from 'vitest';
import type { ApplyHandle } from '../../../../src/io/postgres/applier.ts';
import { ClientBranches } from '../../../../src/io/postgres/client-branches.ts';
import type { FinishResult } from '../../../../src/io/postgres/finisher.ts';

interface Row {
  readonly id: string | null;
  readonly gid: string;
  readonly decision?: 'commit' | 'rollback';
  readonly is_prepared: boolean;
}

/** A server with these rows and branches; the log tells what was done to it. */
function fixture(rows: readonly Row[], prepares: 'prepared' | 'refused' = 'prepared') {
  const log: string[] = [];
  const answers: FinishResult[] = [];
  const query = (text: string | { text: string; values: unknown[] }, more: unknown[] = []) => {
    const sql = typeof text === 'string' ? text : text.text;
    const values = typeof text === 'string' ? more : text.values;
    if (sql.includes('client_state')) {
      log.push(`look without ${String(values[0])}`);
      return Promise.resolve({ rows: rows.map((row) => ({ decision: null, ...row })) });
    }
    if (sql.includes('client_gid'))
      return Promise.resolve({ rows: [{ gid: `name of ${String(values[0])}` }] });
    if (sql.includes('client_body')) return Promise.resolve({ rows: [{ body: null }] });
    log.push(`forget ${String(values[0])}`);
    return Promise.resolve({ rows: [] });
  };
  const branches = new ClientBranches({
    client: () => ({ query }) as unknown as pg.Client,
    finisher: {
      finish: (gid, outcome, done) => {
        log.push(`${outcome} ${gid}`);
        done(answers.shift() ?? 'done');
      },
    },
    applier: {
      openBranch: ({ gid }) => {
        log.push(`prepare ${gid}`);
        const handle = { onDone: () => undefined, cancel: () => undefined } as unknown as ApplyHandle;
        const refusal = { sqlstate: '55P03', message: 'in the way', node: 1, retryable: true };
        queueMicrotask(() =>
          handle.onDone(prepares === 'prepared' ? { kind: 'prepared' } : { kind: 'refused', refusal }),
        );
        return handle;
      },
    },
    step: () => undefined,
  });
  return { log, answers, branches };
}

const rows: readonly Row[] = [
  { id: 'c1', gid: 'a', decision: 'commit', is_prepared: true },
  { id: 'c2', gid: 'b', decision: 'rollback', is_prepared: false },
  { id: 'c3', gid: 'c', is_prepared: true },
  { id: 'c4', gid: 'd', is_prepared: false },
  { id: null, gid: 'e', is_prepared: true },
];

test('before the node is online: finished what is decided, prepared what should be, no orphan', async () => {
  const { log, branches } = fixture(rows);
  await branches.level();
  expect(log).toEqual(['look without ', 'commit a', 'forget c1', 'forget c2', 'prepare d', 'rollback e']);
});

test('before a replay: finished what is decided, and nothing stays prepared', async () => {
  const { log, branches } = fixture(rows);
  await branches.clear();
  expect(log).toEqual(['look without ', 'commit a', 'forget c1', 'forget c2', 'rollback c', 'rollback e']);
});

test('what cannot be prepared again is told', async () => {
  const { branches } = fixture([{ id: 'c4', gid: 'd', is_prepared: false }], 'refused');
  await expect(branches.level()).rejects.toThrow(/"d".*cannot be prepared here: in the way/);
});

test('a branch shares the fate of its rows; a decision is carried out when its transaction has committed', async () => {
  const { log, branches } = fixture([rows[0]!]);
  branches.begin('c9');
  branches.brings('mtm:1:1:1:1', { id: 'c9', gid: 'z' });
  expect(branches.bringerOf('z')).toBe('mtm:1:1:1:1');
  expect(branches.isConcerned('mtm:1:1:1:1')).toBe(true);
  await branches.ended('mtm:1:1:1:1', 'rollback');
  expect(log.splice(0)).toEqual(['rollback name of c9']);
  expect(branches.isConcerned('mtm:1:1:1:1')).toBe(false);
  expect(branches.bringerOf('z')).toBeUndefined();
  branches.concerns('mtm:1:1:1:2');
  await branches.ended('mtm:1:1:1:2', 'commit');
  expect(log.splice(0)).toEqual(['look without ', 'commit a', 'forget c1']);
  branches.concerns('mtm:1:1:1:3');
  await branches.ended('mtm:1:1:1:3', 'rollback');
  expect(log).toEqual([]);
});

test('what a session is about to prepare is passed over until it is brought or ended', async () => {
  const { log, branches } = fixture([]);
  branches.begin('c1');
  branches.begin('c2');
  await branches.level();
  branches.brings('mtm:1:1:1:1', { id: 'c1', gid: 'a' });
  branches.forget('mtm:1:1:1:1'); // it was never prepared: the branch is the session's again
  await branches.end('c2');
  await branches.level();
  expect(log).toEqual(['look without c1,c2', 'rollback name of c2', 'look without c1']);
});

test('finishing is tried again, one thing after the other, until the node ends its part', async () => {
  vi.useFakeTimers();
  const { log, answers, branches } = fixture([]);
  answers.push({ error: 'lost' }, { missing: true });
  const both = Promise.all([branches.end('c1'), branches.end('c2')]);
  await vi.advanceTimersByTimeAsync(300);
  await both;
  expect(log).toEqual(['rollback name of c1', 'rollback name of c1', 'rollback name of c2']);
  answers.push({ error: 'lost' });
  const last = branches.end('c3');
  last.catch(() => undefined);
  branches.stop();
  await vi.advanceTimersByTimeAsync(300);
  await expect(last).rejects.toThrow('ends its part');
  vi.useRealTimers();
});
