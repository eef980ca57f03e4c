import { expect, test } from 'vitest';
import { Capture } from '../../../../src/core/pgoutput/capture.ts';
import { decodePgoutput } from '../../../../src/core/pgoutput/decoder.ts';
import { beginPrepare, commitPrepared, head, header, headRow, insert as row } from './client-messages.ts';
import { prepare as prepareOf, relation as relationOf } from './client-messages.ts';
import { recorded } from './fixtures.ts';
import { visitPiece } from './pieces.ts';

function run(
  node: number,
  messages: readonly Uint8Array[],
  forClients = false,
): { log: string[]; problem: string | undefined } {
  const log: string[] = [];
  const capture = new Capture(node, {
    verifyHeader: (_, hmac) => hmac !== 'forged',
    preparesForClients: () => forClients,
    client: ({ id, gid, ddl, body }) => {
      const kinds: string[] = [];
      for (const piece of body ?? [])
        visitPiece(piece, (buffer, start, end) => kinds.push(decodePgoutput(buffer, start, end).kind));
      log.push(`client ${id} as ${gid} ddl ${ddl}: ${body === undefined ? 'too big' : kinds.join(' ')}`);
    },
    began: (gid) => log.push(`began ${gid}`),
    piece: (gid, piece) => {
      const kinds: string[] = [];
      visitPiece(piece.data, (buffer, start, end) => kinds.push(decodePgoutput(buffer, start, end).kind));
      const clients = piece.clients === true ? ' clients' : '';
      log.push(`piece ${gid} rows ${piece.rows} ddl ${piece.ddl}${clients}: ${kinds.join(' ')}`);
    },
    prepared: ({ gid, header, rows }) => log.push(`prepared ${gid} header ${header} rows ${rows}`),
    finished: (gid, outcome) => log.push(`${outcome} ${gid}`),
    finishedByName: (name) => log.push(`committed by name ${name}`),
    committedPlainly: (gid) => log.push(`plain ${gid}`),
    unsupervised: ({ relations, rows, gid }) =>
      log.push(`unsupervised ${relations.join()} rows ${rows} gid ${gid}`),
  });
  for (const bytes of messages) {
    const problem = capture.message(bytes, 0, bytes.length);
    if (problem !== undefined) return { log, problem };
  }
  return { log, problem: undefined };
}

const unsupervised = [
  'unsupervised public.f rows 4 gid undefined',
  'unsupervised public.big rows 4 gid undefined',
  'unsupervised public.t,public.f rows 2 gid undefined',
];

for (const major of [15, 18] as const) {
  test(`the recorded session of ${major}, as node 1 sees it`, () => {
    // The header of the recording has no hmac, so it is none. 'user gid' was rolled back: nobody's write.
    expect(run(1, recorded(major))).toEqual({
      log: [
        'began mtm:1:1:1:1',
        'piece mtm:1:1:1:1 rows 2 ddl false: relation insert insert',
        'prepared mtm:1:1:1:1 header missing rows 2',
        'committed mtm:1:1:1:1',
        ...unsupervised,
        'committed mtm:2:1:1:1',
      ],
      problem: undefined,
    });
  });
}

test('node 2 takes its own gid and skips that of node 1', () => {
  const { log } = run(2, recorded(18));
  expect(log).toContain('piece mtm:2:1:1:1 rows 1 ddl false: relation insert');
  expect(log).not.toContain('began mtm:1:1:1:1');
});

test('a relation that was described before is introduced again in each transaction', () => {
  const [begin, relation, insert, , message, prepare] = recorded(18);
  const { log } = run(1, [
    begin!,
    relation!,
    insert!,
    prepare!,
    begin!,
    insert!,
    message!,
    insert!,
    prepare!,
  ]);
  expect(log.filter((line) => line.startsWith('piece'))).toEqual([
    'piece mtm:1:1:1:1 rows 1 ddl false: relation insert',
    'piece mtm:1:1:1:1 rows 2 ddl false: relation insert insert',
  ]);
});

test('rows of schema mtm stay here', () => {
  const [begin, relation, insert, , , prepare] = recorded(18);
  // "public" becomes "mtm": the same message, shorter.
  const own = Uint8Array.from([...relation!.subarray(0, 5), 0x6d, 0x74, 0x6d, ...relation!.subarray(11)]);
  expect(run(1, [begin!, own, insert!, prepare!]).log).toEqual([
    'began mtm:1:1:1:1',
    'prepared mtm:1:1:1:1 header missing rows 0',
  ]);
});

test('a large transaction leaves in pieces', () => {
  const [begin, relation, insert, , , prepare] = recorded(18);
  const { log } = run(1, [begin!, relation!, ...Array.from({ length: 5000 }, () => insert!), prepare!]);
  const pieces = log.filter((line) => line.startsWith('piece'));
  expect(pieces.length).toBeGreaterThan(2);
  expect(log.at(-1)).toBe('prepared mtm:1:1:1:1 header missing rows 5000');
});

test('what cannot be is reported, not guessed', () => {
  const [begin, relation, insert, , , prepare, commit] = recorded(18);
  expect(run(1, [insert!]).problem).toContain('outside of a transaction');
  expect(run(1, [begin!, insert!]).problem).toContain('never described');
  expect(run(1, [begin!, begin!]).problem).toContain('inside another');
  expect(run(1, [begin!, commit!]).problem).toContain('inside a transaction');
  expect(run(1, [prepare!]).problem).toContain('without its beginning');
  expect(run(1, [begin!, relation!.subarray(0, 3)]).problem).toContain('cut short');
  expect(run(1, [Uint8Array.of(0x53, 0)]).problem).toContain('in-progress stream');
});

test('notifications travel with our own transaction and are told with its end; repeated ones once', () => {
  const [begin, , , , , prepare] = recorded(18);
  const content = (channel: string): Buffer => Buffer.from(JSON.stringify({ channel, payload: 'p' }));
  const emitted = (prefix: string, body: Buffer, transactional = 1): Buffer => {
    const head = Buffer.alloc(10);
    head.write('M');
    head[1] = transactional;
    const length = Buffer.alloc(4);
    length.writeInt32BE(body.length);
    return Buffer.concat([head, Buffer.from(`${prefix}\0`), length, body]);
  };
  const messages = [
    begin!,
    emitted('mtm-notify', content('a')),
    emitted('mtm-notify', Buffer.from('forged')),
    emitted('mtm-notify', content('never'), 0),
    emitted('mtm-notify', content('b')),
    emitted('mtm-notify', content('a')),
    prepare!,
  ];
  for (const node of [1, 2]) {
    const told: unknown[] = [];
    let pieces = 0;
    const capture = new Capture(node, {
      verifyHeader: () => true,
      began: () => undefined,
      piece: (_gid, { data }) => visitPiece(data, () => pieces++),
      prepared: ({ notifications }) => told.push(notifications?.list.map(({ channel }) => channel)),
      finished: () => undefined,
      committedPlainly: () => undefined,
      unsupervised: () => undefined,
    });
    for (const bytes of messages) expect(capture.message(bytes, 0, bytes.length)).toBeUndefined();
    expect([told, pieces]).toEqual(node === 1 ? [[['a', 'b']], 4] : [[], 0]);
  }
});

const table = relationOf(1, 'public', 't', ['id']);

test('what a client prepares is collected whole, by its header, and is no unsupervised write', () => {
  const own = [
    beginPrepare('x'),
    table,
    row(1, ['a']),
    header('mtm-client', 'client:1'),
    row(1, ['b']),
    prepareOf('x'),
  ];
  expect(run(1, [...own, commitPrepared('x')], true).log).toEqual([
    'client client:1 as x ddl false: relation insert insert',
    'committed by name x',
  ]);
  // Nobody waits for it any more.
  expect(run(1, [...own, commitPrepared('x')]).log).toEqual(['committed by name x']);
});

test('what others prepare meanwhile is judged as always, and so is a forged header', () => {
  for (const mark of [[], [header('mtm-client', 'client:1', 'forged')], [header('mtm', 'client:1')]])
    expect(
      run(1, [beginPrepare('y'), table, row(1, ['a']), ...mark, prepareOf('y'), commitPrepared('y')], true)
        .log,
    ).toEqual(['unsupervised public.t rows 1 gid y']);
});

test('one that is more than is kept is told as such', () => {
  const long = row(1, ['x'.repeat(1_000_000)]);
  const rows = Array.from({ length: 40 }, () => long);
  const { log } = run(
    1,
    [beginPrepare('x'), table, ...rows, header('mtm-client', 'client:1'), prepareOf('x')],
    true,
  );
  expect(log).toEqual(['client client:1 as x ddl false: too big']);
});

test('rows about them go to the peers from a supervised transaction, and from no other', () => {
  const gid = 'mtm:1:1:1:5';
  const { log } = run(1, [beginPrepare(gid), head, row(900, headRow()), header('mtm', gid), prepareOf(gid)]);
  expect(log).toEqual([
    `began ${gid}`,
    `piece ${gid} rows 1 ddl false clients: relation insert`,
    `prepared ${gid} header verified rows 1`,
  ]);
  expect(
    run(1, [beginPrepare('z'), head, row(900, headRow()), prepareOf('z'), commitPrepared('z')]).log,
  ).toEqual([]);
});
