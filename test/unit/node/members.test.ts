/** For whom the change stream pauses: nobody who cannot be reached, and nobody who is gone. */
import { pino } from 'pino';
import { expect, test } from 'vitest';
import type { GatewayConfig } from '../../../src/config/schema.ts';
import { initialConfiguration } from '../../../src/core/generation/configuration.ts';
import { Members, type MembersHandler } from '../../../src/node/members.ts';

const data = { kind: 'transaction-data', gid: 'mtm:1:1:1:1', offset: 0, data: new Uint8Array(9) } as const;

function members(): { members: Members; full: [number, boolean][] } {
  const full: [number, boolean][] = [];
  const handler: Partial<MembersHandler> = {
    linkFull: (to, isFull) => void full.push([to, isFull]),
  };
  const config: Partial<GatewayConfig> = {
    clusterName: 'c',
    clusterSecret: 'x',
    peerTls: 'off',
    nodeId: 1,
    peerListen: { host: '127.0.0.1', port: 0 },
    peers: [2, 3].map((id) => ({ id, host: '127.0.0.1', port: id, conninfo: undefined })),
  };
  const made = new Members(
    config as GatewayConfig,
    1,
    initialConfiguration([1, 2, 3]),
    pino({ level: 'silent' }),
    undefined,
    handler as MembersHandler,
  );
  return { members: made, full };
}

test('changes for a member whose link is not up pause nothing: it may never come up', () => {
  const { members: made, full } = members();
  expect(made.linked(2)).toBe(false);
  made.send(2, data);
  expect(full).toEqual([]);
});

test('the full link of a node that is removed holds nobody up any more', () => {
  const { members: made, full } = members();
  made.configure(initialConfiguration([1, 2]));
  expect(full).toContainEqual([3, false]);
});
