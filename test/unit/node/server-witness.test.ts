import { pino } from 'pino';
import { expect, test } from 'vitest';
import { successionOf } from '../../../src/node/succession.ts';
import type { NodeId } from '../../../src/core/identity.ts';
import type { PeerMessage } from '../../../src/core/peer/message.ts';
import type { Control } from '../../../src/io/postgres/control.ts';
import type { RememberedPosition, ServerPosition } from '../../../src/io/store/server-position.ts';
import { ServerWitness } from '../../../src/node/server-witness.ts';

const atStart: ServerPosition = { systemIdentifier: '7', timeline: 1, flushed: 100n, branches: [] };

interface Scene {
  readonly witness: ServerWitness;
  readonly sent: [NodeId, PeerMessage][];
  readonly refusals: string[];
  readonly noted: unknown[][];
  contacts: NodeId[];
}

function scene(
  known: [NodeId, RememberedPosition][] = [],
  peers: readonly NodeId[] = [1, 2],
  since = 0,
): Scene {
  const sent: [NodeId, PeerMessage][] = [];
  const refusals: string[] = [];
  const noted: unknown[][] = [];
  const client = {
    query: (_text: string, values?: unknown[]) => {
      if (values !== undefined) noted.push(values);
      const row = { system: '7', timeline: 1, flushed: '0/c8', history: null };
      return Promise.resolve({ rows: [row] });
    },
  };
  const all = { sent, refusals, noted, contacts: [] as NodeId[] };
  const log = pino({ level: 'silent' });
  const witness = new ServerWitness(
    { client } as unknown as Control,
    { atStart, known: new Map(known) },
    log,
    {
      self: 3,
      peers: () => peers,
      since: () => since,
      aloneMs: 2000,
      send: (to, message) => void sent.push([to, message]),
      contacts: () => all.contacts,
      refused: (reason) => void refusals.push(reason),
      answered: () => undefined,
    },
  );
  return Object.assign(all, { witness });
}

const fine: PeerMessage & { kind: 'server-position-verdict' } = {
  kind: 'server-position-verdict',
  refusal: '',
};
const told = { kind: 'server-position', ...atStart } as const;

test('it takes part when everybody that it hears has answered', () => {
  const all = scene();
  expect(all.witness.trouble(0)).toMatch(/what the other nodes remember/);
  all.contacts = [1, 2];
  expect(all.witness.trouble(10)).toMatch(/the word of node 1, 2/);
  all.witness.received(1, fine);
  expect(all.witness.trouble(5000), 'however long it takes').toMatch(/the word of node 2/);
  all.witness.received(2, fine);
  expect(all.witness.trouble(5001)).toBeUndefined();
});

test('a peer that comes later does not stop it, unless it refuses', () => {
  const all = scene();
  all.contacts = [1];
  all.witness.received(1, fine);
  expect(all.witness.trouble(0)).toBeUndefined();
  all.contacts = [1, 2];
  expect(all.witness.trouble(10)).toBeUndefined();
  all.witness.received(2, { ...fine, refusal: 'it went back' });
  expect(all.refusals).toEqual(['it went back']);
});

test('who hears nobody goes on alone after a while; a cluster of one at once', () => {
  const { witness } = scene();
  expect(witness.trouble(1000)).not.toBeUndefined();
  expect(witness.trouble(2999)).not.toBeUndefined();
  expect(witness.trouble(3000)).toBeUndefined();
  expect(scene([], []).witness.trouble(0)).toBeUndefined();
});

test('who has not answered hears of the start, who has of now', async () => {
  const { witness, sent } = scene();
  witness.linkUp(1);
  expect(sent).toEqual([[1, told]]);
  witness.received(1, fine);
  witness.look(0);
  await new Promise((resolve) => setTimeout(resolve, 1));
  expect(sent.slice(1)).toEqual([
    [2, told],
    [1, { ...told, flushed: 200n }],
  ]);
});

test('of a peer it remembers what it heard, durably now and then, and refuses what is behind it', () => {
  const { witness, sent, noted } = scene();
  const hear = (flushed: bigint, systemIdentifier = '9'): string => {
    witness.received(1, { ...told, systemIdentifier, flushed });
    const [to, message] = sent.at(-1)!;
    expect(to).toBe(1);
    return message.kind === 'server-position-verdict' ? message.refusal : 'no verdict';
  };
  expect(hear(500n)).toBe('');
  expect(hear(600n)).toBe('');
  expect(noted).toEqual([[1, '9', 1, '0/1f4', 0]]);
  expect(hear(599n)).toBe(
    'the PostgreSQL of node 1 went back in time: node 3 remembers it at 0/258 on timeline 1, ' +
      'now it is at 0/257 on timeline 1',
  );
  expect(hear(700n, '8')).toBe(
    'node 3 knows another PostgreSQL as that of node 1 (system identifier 9, now 8)',
  );
  expect(hear(600n), 'what was refused is not remembered').toBe('');
});

test('what it remembers of another node that had the id before says nothing', () => {
  const before = { systemIdentifier: '9', timeline: 3, flushed: 900n, since: 0 };
  const all = scene([[1, before]], [1, 2], 12);
  all.witness.received(1, told);
  expect(all.sent.at(-1)).toEqual([1, { kind: 'server-position-verdict', refusal: '' }]);
  expect(all.noted).toEqual([[1, '7', 1, '0/64', 12]]);
});

test('a node that was upgraded is known by its present server from then on, at once and durably', async () => {
  const former = { systemIdentifier: '7', timeline: 1, flushed: 100n, since: 0 };
  const all = scene([[1, former]]);
  const successor = { systemIdentifier: '9', timeline: 1, flushed: 500n, branches: [] };
  const body = successionOf(successor, [{ ...former, flushed: 100n, branches: [] }]);
  const said = JSON.parse(JSON.stringify(body)) as unknown;
  expect(await all.witness.succeeded(1, said)).toBe(true);
  expect(all.noted.at(-1)).toContain('9');
  all.witness.received(1, { kind: 'server-position', ...successor });
  expect(all.sent.at(-1)).toEqual([1, { kind: 'server-position-verdict', refusal: '' }]);
  // The former one, started by mistake.
  all.witness.received(1, { kind: 'server-position', ...former, flushed: 120n, branches: [] });
  expect(all.sent.at(-1)?.[1]).toMatchObject({
    refusal: expect.stringMatching(/another PostgreSQL/) as unknown,
  });
  expect(await all.witness.succeeded(1, said), 'again').toBe(false);
});

test('behind a new link is perhaps somebody who has not heard of an upgrade: no position before that', async () => {
  const all = scene([], [1]);
  const introduced: NodeId[] = [];
  let done = (): void => undefined;
  all.witness.introduce = (to) => {
    introduced.push(to);
    return new Promise((resolve) => (done = resolve));
  };
  all.witness.linkUp(1);
  done();
  await Promise.resolve();
  all.witness.received(1, fine);
  expect(all.sent).toEqual([[1, told]]);
  all.witness.linkUp(1);
  all.witness.look(20_000);
  await new Promise((resolve) => setImmediate(resolve));
  expect(introduced.slice(0, 2)).toEqual([1, 1]);
  expect(all.sent).toHaveLength(1);
  done();
  await new Promise((resolve) => setImmediate(resolve));
  expect(all.sent.length).toBeGreaterThan(1);
  for (const [to, { kind }] of all.sent) expect([to, kind]).toEqual([1, 'server-position']);
});
