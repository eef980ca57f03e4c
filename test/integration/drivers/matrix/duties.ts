/**
 * What every driver has to do, and what it must say of it: the same through a gateway as at a server. The programs are in the
 * folders beside this file; each writes a line of JSON for each duty, `{"duty": …, "answer": …}`.
 */
import { createHash } from 'node:crypto';

const copied = Array.from({ length: 1000 }, (_, index) => `${index + 1}\tcopied ${index + 1}\n`).join('');

export type Answer = Readonly<Record<string, unknown>>;

export type Duties = Readonly<Record<string, Answer>>;

export const duties: Duties = {
  /** Encrypted and in the clear; the certificate is for localhost only. */
  tls: { modes: [1, 1], otherName: 'refused' },
  /** SCRAM with a wrong password; all others are with the right one. */
  login: { wrong: 'refused' },
  /** The second of two hosts answers; target_session_attrs or what the driver has instead. */
  hosts: { readOnly: 'off', otherwise: 'refused' },
  /** Written from values of the language and read into them. */
  values: {
    row: [
      -7,
      '9223372036854775807',
      '12345678901234567890.123',
      0.1,
      'it\'s "ä€😀" \\ %',
      true,
      null,
      '2024-02-29',
      '0001ff5c27',
    ],
  },
  /** Three statements, executed 20 times, over a change of their table: SELECT * cannot go on, the others do. */
  prepared: { count: 21, before: ['name 7', 2], after: ['name 7', '0A000'] },
  /** Several statements at a time, or pipelined: all or, behind an error, none. */
  pipeline: { count: 10, error: '23505', after: 10 },
  /** In, out, and with a line that is wrong. */
  copy: { out: createHash('md5').update(copied).digest('hex'), error: '22P02', count: 1000 },
  cancel: { error: '57014', after: 1 },
  errors: {
    syntax: '42601',
    position: 10,
    unique: '23505',
    constraint: 'items_name_key',
    detail: 'Key (name)=(one) already exists.',
    division: '22012',
    failed: '25P02',
  },
  /** Notified on another node. */
  notify: { told: ['news', 'ä from another'] },
  /** 10 MB of bytes, 5 MB of text. */
  large: { data: true, text: true },
  /** Savepoint, rollback, isolation levels, a write in a transaction that is read only. */
  transactions: {
    kept: [301, 302],
    levels: ['read committed', 'repeatable read', 'serializable'],
    readOnly: '25006',
  },
  /** Another node has changed the row: 40001, and the second attempt succeeds. */
  conflict: { codes: ['40001'], value: 2 },
  /** Rows in portions, with a write in between. */
  cursor: { sum: 3126250 },
  /** What was written is seen on another node at once. */
  elsewhere: { seen: 20 },
};

/** What was written; of random data only the length. */
export const written = ['items', 'kinds', 'prepared', 'copied', 'counter']
  .map((table) => `SELECT '${table}' AS name, (SELECT json_agg(t ORDER BY id) FROM ${table} t) AS rows`)
  .concat(`SELECT 'big', (SELECT json_agg(json_build_array(id, length(data), length(text))) FROM big)`)
  .join(' UNION ALL ');
