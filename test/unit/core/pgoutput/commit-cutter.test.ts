import { describe, expect, test } from 'vitest';
import { decodePgoutput } from '../../../../src/core/pgoutput/decoder.ts';
import { CommitCutter } from '../../../../src/core/pgoutput/commit-cutter.ts';
import { recorded } from './fixtures.ts';
import { visitPiece } from './pieces.ts';

const lsn = (value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
};
const int32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
};
const message = (...parts: (string | Buffer)[]): Buffer =>
  Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part)));

const begin = message('B', lsn(1), lsn(0), int32(7));
const commit = (end: number): Buffer => message('C', '\0', lsn(end - 1), lsn(end), lsn(0));
const origin = (name: string): Buffer => message('O', lsn(0), `${name}\0`);
const relation = (oid: number, schema = 'public'): Buffer =>
  message('R', int32(oid), `${schema}\0t${oid}\0d`, '\0\x01\x01', 'id\0', int32(23), int32(-1));
const insert = (oid: number, value: string): Buffer =>
  message('I', int32(oid), 'N\0\x01t', int32(value.length), value);
const emitted = (prefix: string, content: string, transactional = 1): Buffer =>
  message('M', Buffer.of(transactional), lsn(5), `${prefix}\0`, int32(content.length), content);
const header = (gid: string, prefix = 'mtm', hmac = 'good'): Buffer =>
  emitted(prefix, JSON.stringify({ gid, hmac }));
const replayed = (gid: string, hmac = 'good'): Buffer => header(gid, 'mtm-replayed', hmac);

/** What the cutter says about the messages, one line each, ending with what it found wrong. */
function cut(messages: readonly Uint8Array[], holdBytes = 1000): string[] {
  const log: string[] = [];
  const contents = (data: Uint8Array): string => {
    const kinds: string[] = [];
    visitPiece(data, (buffer, start, end) => {
      const found = decodePgoutput(buffer, start, end);
      if (found.kind === 'insert')
        kinds.push(`${found.relation}=${String(new TextDecoder().decode(found.row.values[0] ?? undefined))}`);
      else kinds.push(found.kind);
    });
    return kinds.join(' ');
  };
  const cutter = new CommitCutter(
    {
      verifyHeader: (_, hmac) => hmac === 'good',
      unit: (gid, ddl, data, at) => log.push(`unit ${gid}${ddl ? ' ddl' : ''} at ${at}: ${contents(data)}`),
      begin: () => log.push('begin'),
      piece: (data) => log.push(`piece ${contents(data)}`),
      end: (gid, ddl, at) => log.push(`end ${gid}${ddl ? ' ddl' : ''} at ${at}`),
      mark: (generation) => log.push(`mark ${generation}`),
      committed: (at) => log.push(`committed ${at}`),
      unsupervised: () => log.push('unsupervised'),
    },
    { holdBytes, recoveryOrigin: 'mtm_recovery', replayedPrefix: 'mtm-replayed' },
  );
  for (const bytes of messages) {
    const problem = cutter.message(bytes, 0, bytes.length);
    if (problem !== undefined) return [...log, problem];
  }
  return log;
}

describe('what clients have prepared', () => {
  const head = message('R', int32(9), 'mtm\0client_prepared\0d', '\0\x01\x01', 'id\0', int32(23), int32(-1));

  test('is left out at its own commit: it comes with the decision', () => {
    const own = [begin, relation(1), insert(1, 'a'), header('client:1', 'mtm-client'), commit(9)];
    expect(cut(own)).toEqual(['committed 9']);
    expect(cut(own, 1)).toEqual(['begin', 'piece relation 1=a', 'end undefined at 9', 'committed 9']);
  });

  test('but for a forged header', () => {
    const forged = [
      begin,
      relation(1),
      insert(1, 'a'),
      header('client:1', 'mtm-client', 'forged'),
      commit(9),
    ];
    expect(cut(forged)).toEqual(['unsupervised', 'committed 9']);
  });

  test('rows about it are those of their transaction; what a node forgets by itself is nothing', () => {
    const rows = [begin, head, insert(9, 'c'), header('mtm:1:1:1:3'), commit(9)];
    expect(cut(rows)).toEqual(['unit mtm:1:1:1:3 at 9: relation 9=c', 'committed 9']);
    expect(cut([begin, head, insert(9, 'c'), commit(9)])).toEqual(['committed 9']);
  });
});

describe('an ordinary commit', () => {
  test('is one transaction, whose gid is in its last verified header', () => {
    const messages = [
      begin,
      relation(1),
      insert(1, 'a'),
      header('mtm:1:1:1:8'),
      header('mtm:1:1:1:9'),
      header('mtm:1:1:1:7', 'mtm', 'forged'),
      header('not a gid'),
      emitted('mtm', 'not json'),
      // A deferred trigger of the user writes behind the header.
      insert(1, 'b'),
      commit(100),
    ];
    expect(cut(messages)).toEqual(['unit mtm:1:1:1:9 at 100: relation 1=a 1=b', 'committed 100']);
  });

  test('introduces its relations, also when they were described before', () => {
    const one = [begin, insert(1, 'a'), header('mtm:1:1:1:1'), commit(100)];
    expect(cut([begin, relation(1), ...one.slice(1), ...one])).toEqual([
      'unit mtm:1:1:1:1 at 100: relation 1=a',
      'committed 100',
      'unit mtm:1:1:1:1 at 100: relation 1=a',
      'committed 100',
    ]);
  });

  test('cannot be cut by a user, whatever he writes', () => {
    const messages = [
      begin,
      relation(1),
      insert(1, 'a'),
      replayed('mtm:1:1:1:1'),
      insert(1, 'b'),
      header('mtm:1:1:1:2'),
      commit(100),
    ];
    const whole = ['unit mtm:1:1:1:2 at 100: relation 1=a 1=b', 'committed 100'];
    expect(cut(messages)).toEqual(whole);
    expect(cut([begin, origin('mtm_apply_1'), ...messages.slice(1)])).toEqual(whole);
  });

  test('without a verified header is left out and counted, if it changed anything', () => {
    expect(cut([begin, relation(1), insert(1, 'a'), commit(100)])).toEqual(['unsupervised', 'committed 100']);
    for (const prefix of ['mtm-ddl', 'mtm-follow'])
      expect(cut([begin, emitted(prefix, '{}'), commit(100)])).toEqual(['unsupervised', 'committed 100']);
    expect(cut([begin, relation(1, 'mtm'), insert(1, 'a'), commit(100)])).toEqual(['committed 100']);
    expect(cut([begin, commit(100)])).toEqual(['committed 100']);
  });

  test('without rows still has a gid; commands are kept at their place', () => {
    expect(cut([begin, header('mtm:1:1:1:1'), commit(100)])).toEqual([
      'unit mtm:1:1:1:1 at 100: ',
      'committed 100',
    ]);
    const commands = [begin, emitted('mtm-ddl', '{}'), relation(1), insert(1, 'a'), header('mtm:1:1:1:1')];
    expect(cut([...commands, commit(100)])).toEqual([
      'unit mtm:1:1:1:1 ddl at 100: logical-message relation 1=a',
      'committed 100',
    ]);
    expect(cut([begin, emitted('mtm-follow', '{}'), header('mtm:1:1:1:1'), commit(100)])).toEqual([
      'unit mtm:1:1:1:1 at 100: logical-message',
      'committed 100',
    ]);
  });

  test('carries marks, which come behind it', () => {
    expect(cut([begin, relation(1, 'mtm'), insert(1, 'a'), emitted('mtm-mark', '7'), commit(100)])).toEqual([
      'mark 7',
      'committed 100',
    ]);
    expect(cut([emitted('mtm-mark', '7', 0)])).toEqual([]);
  });
});

describe('a big commit', () => {
  const rows = [begin, relation(1), insert(1, 'a'.repeat(50)), insert(1, 'b'), insert(1, 'c')];
  const a = 'a'.repeat(50);
  test('is handed on as it comes, and named at its end', () => {
    expect(cut([...rows, header('mtm:1:1:1:1'), commit(100)], 60)).toEqual([
      'begin',
      `piece relation 1=${a}`,
      'piece 1=b 1=c',
      'end mtm:1:1:1:1 at 100',
      'committed 100',
    ]);
  });
  test('is nobody’s when it has no header', () => {
    expect(cut([...rows, commit(100)], 60).slice(2)).toEqual([
      'piece 1=b 1=c',
      'end undefined at 100',
      'unsupervised',
      'committed 100',
    ]);
  });
});

describe('a commit of a node that caught up itself', () => {
  const start = [begin, origin('mtm_recovery'), relation(1), relation(2)];
  test('is cut into its transactions, each self-contained', () => {
    const messages = [
      ...start,
      insert(1, 'a'),
      replayed('mtm:1:1:1:1'),
      insert(1, 'b'),
      insert(2, 'c'),
      emitted('mtm-ddl', '{}'),
      replayed('mtm:2:1:1:1'),
      replayed('mtm:3:1:1:1'),
      commit(100),
    ];
    expect(cut(messages)).toEqual([
      'unit mtm:1:1:1:1 at 0: relation 1=a',
      'unit mtm:2:1:1:1 ddl at 0: relation 1=b relation 2=c logical-message',
      'unit mtm:3:1:1:1 at 0: ',
      'committed 100',
    ]);
  });
  test('with a big one among them', () => {
    const messages = [...start, insert(1, 'a'.repeat(50)), replayed('mtm:1:1:1:1'), insert(1, 'b')];
    expect(cut([...messages, replayed('mtm:1:1:1:2'), commit(100)], 60).slice(2)).toEqual([
      'end mtm:1:1:1:1 at 0',
      'unit mtm:1:1:1:2 at 0: relation 1=b',
      'committed 100',
    ]);
  });
  test('is not believed when a header is forged', () => {
    expect(cut([...start, insert(1, 'a'), replayed('mtm:1:1:1:1', 'forged')])).toEqual([
      'the header of a replayed transaction is forged',
    ]);
  });
});

describe('what does not fit', () => {
  const cases: readonly (readonly [string, readonly Uint8Array[]])[] = [
    ['a transaction begins inside another', [begin, begin]],
    ['a commit without a beginning', [commit(100)]],
    ['a row outside of a transaction', [insert(1, 'a')]],
    ['a row of a relation (oid 1) that was never described', [begin, insert(1, 'a')]],
    ['unexpected message begin-prepare in a stream of whole commits', recorded(18).slice(0, 1)],
  ];
  test.each(cases)('%s', (problem, messages) => {
    expect(cut(messages)).toEqual([problem]);
  });
});
