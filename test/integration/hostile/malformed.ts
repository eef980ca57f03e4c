/** What no client of good manners sends: before the login, and after it. */
import { randomBytes } from 'node:crypto';
import { serialize } from 'pg-protocol';
import { sslRequest, startup } from '../../../src/core/wire/messages.ts';
import { b, cp, cs, dp, e, message, p, q, s } from '../../support/frontend-messages.ts';

export interface Malformed {
  readonly name: string;
  readonly send: Uint8Array;
  /** The first answer is one byte about encryption. */
  readonly requestsEncryption?: boolean;
}

/** A packet without a type; `claimed` when its length lies. */
export function packet(body: Uint8Array, claimed = body.length + 4): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(claimed >>> 0, 0);
  return Buffer.concat([head, body]);
}

/** A message whose length lies. */
export function lying(type: string | number, claimed: number, body: Uint8Array | string = ''): Buffer {
  const head = Buffer.alloc(5);
  head[0] = typeof type === 'number' ? type : type.charCodeAt(0);
  head.writeUInt32BE(claimed >>> 0, 1);
  return Buffer.concat([head, Buffer.from(body)]);
}

const version = (code: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(code >>> 0, 0);
  return bytes;
};
const startupOf = (text: string, code = 196_608): Buffer =>
  packet(Buffer.concat([version(code), Buffer.from(text)]));
const manyParameters = Object.fromEntries(
  Array.from({ length: 800 }, (_, index) => [`p${index}`, 'x'] as const),
);
const cancel = (keyBytes: number): Buffer =>
  packet(Buffer.concat([version(80_877_102), Buffer.alloc(4 + keyBytes)]));

/** As the first bytes of a connection. */
export const beforeLogin: readonly Malformed[] = [
  ...[0, 3, 7, 10_005, 0x7fffffff, -1, -(2 ** 31)].map((length) => ({
    name: `a startup packet of ${length} bytes`,
    send: packet(version(196_608), length),
  })),
  { name: 'no terminator', send: startupOf('user\0postgres\0x') },
  { name: 'a name without a value', send: startupOf('user\0postgres\0database\0') },
  { name: 'nothing behind the version', send: startupOf('') },
  { name: 'no user', send: startupOf('database\0app\0\0') },
  { name: 'bytes behind the end', send: startupOf('user\0postgres\0\0\0\0') },
  {
    name: '800 parameters',
    send: startup(Object.entries({ user: 'postgres', database: 'app', ...manyParameters })),
  },
  { name: 'a cancel request without a key', send: cancel(0) },
  { name: 'a cancel request with a key of 257 bytes', send: cancel(257) },
  { name: 'a web browser', send: Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n') },
  { name: 'a query', send: q('SELECT 1') },
  { name: 'a password', send: serialize.password('secret') },
  { name: '64 kB of noise', send: Buffer.concat([Buffer.of(0x80), randomBytes(65_535)]) },
  {
    name: 'bytes in plain behind a request for encryption',
    requestsEncryption: true,
    send: Buffer.concat([sslRequest, startupOf('user\0postgres\0\0')]),
  },
  {
    name: 'two requests for encryption in one packet',
    requestsEncryption: true,
    send: Buffer.concat([sslRequest, sslRequest]),
  },
];

const bindOf = (...parts: readonly (string | number)[]): Uint8Array =>
  message(
    'B',
    Buffer.concat(
      parts.map((part) => {
        if (typeof part === 'string') return Buffer.from(part);
        const number = Buffer.alloc(part < 0 ? 4 : 2);
        if (part < 0) number.writeInt32BE(part, 0);
        else number.writeUInt16BE(part, 0);
        return number;
      }),
    ),
  );

/** In a session: PostgreSQL answers with an error, and the session goes on behind the Sync. */
export const survivable: readonly { readonly name: string; readonly send: readonly Uint8Array[] }[] = [
  { name: 'Bind of what was never parsed', send: [b([], 'nothing'), e(), s()] },
  { name: 'Execute of no portal', send: [e(0, 'nothing'), s()] },
  { name: 'Describe of a kind that is not there', send: [message('D', 'Xname\0'), s()] },
  { name: 'Close of a kind that is not there', send: [message('C', 'Xname\0'), s()] },
  { name: 'Describe without a kind', send: [message('D'), s()] },
  { name: 'Bind with too many values', send: [p('SELECT 1'), b(['1', '2']), e(), s()] },
  { name: 'Bind with too few values', send: [p('SELECT $1::int'), b([]), e(), s()] },
  { name: 'Bind cut off', send: [p('SELECT $1::int'), bindOf('\0\0', 1, 0, 1), s()] },
  { name: 'Bind of a value of length -2', send: [p('SELECT $1::int'), bindOf('\0\0', 0, 1, -2, 0), s()] },
  {
    name: 'Bind with more formats than values',
    send: [p('SELECT $1::int'), bindOf('\0\0', 3, 0, 0, 0, 1, -1, 0), s()],
  },
  { name: 'Bind without names', send: [message('B'), s()] },
  { name: 'Parse without an end', send: [message('P', 'name'), s()] },
  {
    name: 'Parse with types that are not there',
    send: [message('P', Buffer.from('\0SELECT 1\0\x40\0', 'latin1')), s()],
  },
  { name: 'Execute without a limit', send: [p('SELECT 1'), b(), message('E', '\0'), s()] },
  { name: 'Query without an end', send: [message('Q', 'SELECT 1')] },
  { name: 'Query with two ends', send: [message('Q', 'SELECT 1\0\0')] },
  { name: 'Query of nothing', send: [message('Q')] },
  { name: 'a function call cut off', send: [message('F', Buffer.of(0, 0, 0, 1))] },
  { name: 'a function that is not there', send: [message('F', Buffer.of(0x7f, 0, 0, 1, 0, 0, 0, 0, 0, 0))] },
  { name: 'Sync with a body', send: [message('S', 'xxx')] },
  {
    name: 'COPY data outside of COPY',
    send: [message('d', '1\t2\n'), message('c'), message('f', 'no\0'), s()],
  },
  { name: 'bytes that are no text', send: [q("SELECT '\xff\xfe'").map((byte) => byte), s()] },
  { name: 'closing what is not there', send: [cs('nothing'), cp('nothing'), dp('nothing'), s()] },
];

/** In a session: its end. PostgreSQL closes without a word where the length is wrong. */
export const fatal: readonly { readonly name: string; readonly send: Uint8Array }[] = [
  ...[0x00, 0xff, 'R', 'Z', 'T', 'v', '!', 'p'].map((type) => ({
    name: `a message of type ${type}`,
    send: lying(type, 4),
  })),
  ...['Z', 0xff].map((type) => ({ name: `1 GB of type ${type}`, send: lying(type, 0x3fffffff, 'xxxx') })),
  ...(['Q', 'P', 'B', 'S', 'X', 'd', 'F'] as const).flatMap((type) =>
    [0, 3, -1, 0x7fffffff].map((length) => ({
      name: `a length of ${length} for ${type}`,
      send: lying(type, length, 'xxxx'),
    })),
  ),
  ...['S', 'H', 'E', 'D', 'C', 'X', 'c', 'f'].map((type) => ({
    name: `a length of 10001 for ${type}`,
    send: lying(type, 10_001, 'xxxx'),
  })),
  { name: 'a startup packet', send: startup(Object.entries({ user: 'postgres' })) },
];
