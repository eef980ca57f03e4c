/** What the server notes of an applied transaction is forgotten when it is finished here. */
import { expect, test } from 'vitest';
import type { Gid } from '../../../src/core/identity.ts';
import type { Applier, ApplyHandle, ApplyResult } from '../../../src/io/postgres/applier.ts';
import { ApplyDesk, type ApplyDeskNode } from '../../../src/node/apply-desk.ts';
import type { NodeParts } from '../../../src/node/node-parts.ts';

test('a refused transaction, which nobody finishes, is not noted; one that may be prepared is', () => {
  const handles = new Map<Gid, { onDone: (result: ApplyResult) => void }>();
  const noted: [Gid, boolean][] = [];
  const events: unknown[] = [];
  const applier = {
    open: (gid: Gid) => {
      const handle = { gid, buffered: 0, onDone: () => undefined };
      handles.set(gid, handle);
      return handle as unknown as ApplyHandle;
    },
    stop: () => undefined,
  } as unknown as Applier;
  const server: Partial<ApplyDeskNode['server']> = {
    applied: (gid, _handle, prepared) => void noted.push([gid, prepared]),
  };
  const desk = new ApplyDesk(
    { config: { clusterSecret: 'x' }, observer: {} } as unknown as NodeParts,
    applier,
    {
      event: (event) => void events.push(event),
      startTimeOf: () => undefined,
      server: server as ApplyDeskNode['server'],
    },
  );
  const results: ApplyResult[] = [
    { kind: 'prepared' },
    { kind: 'refused', refusal: { sqlstate: '23505', message: 'twice', node: 1, retryable: false } },
    { kind: 'lost', reason: 'gone' },
  ];
  for (const result of results) {
    const gid = `mtm:2:1:1:${result.kind}`;
    desk.open(gid);
    handles.get(gid)!.onDone(result);
  }
  desk.stop();
  expect(noted).toEqual([
    ['mtm:2:1:1:prepared', true],
    ['mtm:2:1:1:lost', false],
  ]);
  expect(events).toHaveLength(3);
});
