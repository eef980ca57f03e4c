/** What the change stream shows of own transactions, before and after their end in the server. */
import { pino } from 'pino';
import { afterEach, expect, test, vi } from 'vitest';
import { Notifications } from '../../../src/core/pgoutput/notification.ts';
import type { Applier } from '../../../src/io/postgres/applier.ts';
import type { Finisher } from '../../../src/io/postgres/finisher.ts';
import { ReplicationStream, type StreamHandler } from '../../../src/io/postgres/replication-stream.ts';
import { LocalServer } from '../../../src/node/local-server.ts';
import type { NodeParts } from '../../../src/node/node-parts.ts';

const own = 'mtm:1:1:1:1';

interface Fixture {
  readonly server: LocalServer;
  readonly stream: StreamHandler;
  /** What follows from a transaction that is noted. */
  readonly log: string[];
}

async function fixture(): Promise<Fixture> {
  const log: string[] = [];
  let stream: StreamHandler | undefined;
  vi.spyOn(ReplicationStream, 'open').mockImplementation((_options, handler) => {
    stream = handler;
    return Promise.resolve({ release: () => undefined } as unknown as ReplicationStream);
  });
  const parts = {
    config: { nodeId: 1, clusterSecret: 'x', postgres: { database: 1 }, transSpillThresholdBytes: 1 },
    log: pino({ level: 'silent' }),
    telemetry: { tally: { notificationsLost: 0 } },
    takeOver: { incarnation: 1 },
    announceKey: new Uint8Array(32),
    classifier: { setContext: () => undefined },
    control: {
      client: { query: () => Promise.resolve({ rows: [] }) },
      suspicions: () => Promise.reject(new Error('not asked in this test')),
    },
  } as unknown as NodeParts;
  const applier = { invalidate: () => void log.push('definitions') } as unknown as Applier;
  const server = new LocalServer(parts, applier, {} as Finisher, {
    event: () => undefined,
    committed: () => undefined,
    asked: () => undefined,
    sessions: () => ({
      notify: () => {
        log.push('notified');
        return true;
      },
      orderOpen: () => undefined,
    }),
    lost: () => undefined,
    generation: () => 1,
  });
  await server.openStream();
  return { server, stream: stream!, log };
}

function shows(stream: StreamHandler, gid: string, clients: boolean): void {
  const notifications = new Notifications();
  vi.spyOn(notifications, 'isEmpty', 'get').mockReturnValue(false);
  vi.spyOn(notifications, 'size', 'get').mockReturnValue(1);
  stream.piece(gid, { rows: 1, ddl: true, data: new Uint8Array(1), clients });
  stream.prepared({ gid, header: 'verified', rows: 1, ddl: true, notifications, endLsn: 1n });
}

afterEach(() => void vi.restoreAllMocks());

test('nothing stays noted of a transaction that was rolled back before the stream showed it', async () => {
  for (const clients of [true, false]) {
    const { server, stream, log } = await fixture();
    server.finished(own, 'rollback');
    shows(stream, own, clients);
    stream.finished(own, 'rolled-back', 2n);
    expect(server.branches.isConcerned(own)).toBe(false);
    server.finished(own, 'commit'); // would show what is still noted
    expect(log).toEqual([]);
  }
});

test('a branch that it brings is not forgotten before it is rolled back', async () => {
  const { server, stream } = await fixture();
  server.branches.brings(own, { id: 'c1', gid: 'x' });
  shows(stream, own, true);
  stream.finished(own, 'rolled-back', 2n);
  expect(server.branches.isConcerned(own)).toBe(true);
  await server.branches.ended(own, 'rollback');
  expect(server.branches.isConcerned(own)).toBe(false);
});

test('what a transaction of another node has changed is looked at anew when it is finished', async () => {
  const { server, stream, log } = await fixture();
  const foreign = 'mtm:2:1:1:1';
  const handle = { ddl: true, client: undefined, concernsClients: false, notifications: undefined };
  server.applied(foreign, handle as never, true);
  stream.finished(foreign, 'rolled-back', 2n);
  server.finished(foreign, 'rollback');
  expect(log).toEqual(['definitions']);
});
