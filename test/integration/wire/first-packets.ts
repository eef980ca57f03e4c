/** First packets of a connection, good and bad, and how the conversation ends. Grammar: manual, "Message Formats". */
import { query, startup } from '../../../src/core/wire/messages.ts';

/** `send`: packet by packet; all but the last are requests that are answered with one byte. */
export interface Exchange {
  readonly send: readonly Uint8Array[];
  /** The last one is, too. */
  readonly alsoLast?: boolean;
  readonly ends: 'closed' | 'ready';
}

function packet(code: number, body = ''): Buffer {
  const content = Buffer.from(body, 'latin1');
  const head = Buffer.alloc(8);
  head.writeInt32BE(content.length + 8, 0);
  head.writeInt32BE(code, 4);
  return Buffer.concat([head, content]);
}

const version = (major: number, minor: number): number => major * 65536 + minor;
const int32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
};

const login = 'user\0postgres\0database\0app\0';
const ssl = packet(80877103);
const gss = packet(80877104);
const good = packet(version(3, 0), `${login}\0`);
const cancel = 80877102;

export const parts = {
  query,
  startup: (parameters: readonly (readonly [string, string])[], minor = 0): Uint8Array =>
    startup([['user', 'postgres'], ['database', 'app'], ...parameters], version(3, minor)),
};

const with3 = (minor: number, more = ''): Exchange => ({
  send: [packet(version(3, minor), `${login}${more}\0`)],
  ends: 'ready',
});
const refused = (...send: Uint8Array[]): Exchange => ({ send, ends: 'closed' });
const odd = (body: string): Exchange => refused(packet(version(3, 0), body));

export const exchanges: Readonly<Record<string, Exchange>> = {
  'protocol 3.0': with3(0),
  'protocol 3.1, which never was': with3(1),
  'protocol 3.2': with3(2),
  'a version of the future': with3(3),
  'GREASE: 3.9999 and an option that nobody knows': with3(9999, '_pq_.test_protocol_negotiation\0\0'),
  'options that nobody knows': with3(0, '_pq_.a\0b\0_pq_.c\0d\0'),
  'options that nobody knows, 3.2': with3(2, '_pq_.a\0b\0'),
  'the user said twice': odd(`${login}user\0nobody\0\0`),
  'settings in three ways': with3(0, 'options\0-c work_mem=7MB --geqo=off\0TimeZone\0Asia/Tokyo\0'),
  'a read-only default': with3(0, 'Default_Transaction_Read_Only\0on\0'),
  'protocol 2.0': refused(packet(version(2, 0), `${login}\0`)),
  'protocol 1.0': refused(packet(version(1, 0))),
  'protocol 4.0': refused(packet(version(4, 0), `${login}\0`)),
  'SSLRequest, then in plain': { send: [ssl, good], ends: 'ready' },
  'GSSENCRequest, then in plain': { send: [gss, good], ends: 'ready' },
  'both, one way': { send: [gss, ssl, good], ends: 'ready' },
  'both, the other way': { send: [ssl, gss, good], ends: 'ready' },
  'SSLRequest with a body': { send: [packet(80877103, 'x'), good], ends: 'ready' },
  'SSLRequest twice': refused(ssl, ssl),
  'GSSENCRequest twice': refused(gss, gss),
  'SSLRequest twice, the other between': refused(ssl, gss, ssl),
  'SSLRequest and more in the same packet': { ...refused(Buffer.concat([ssl, good])), alsoLast: true },
  'GSSENCRequest and more in the same packet': { ...refused(Buffer.concat([gss, good])), alsoLast: true },
  'a length of 7': refused(int32(7)),
  'a length of 0': refused(int32(0)),
  'a negative length': refused(int32(-1)),
  'a length beyond the limit': refused(int32(10_005)),
  'the longest packet, badly ended': refused(
    Buffer.concat([int32(10_004), int32(version(3, 0)), Buffer.alloc(9996, 'x')]),
  ),
  'a request by HTTP': refused(Buffer.from('GET / HTTP/1.0\r\n\r\n')),
  'TLS without being asked': refused(Buffer.from([0x16, 3, 1, 2, 0, 1, 0])),
  'no user': odd('database\0app\0\0'),
  'an empty user': odd('user\0\0\0'),
  'nothing at all': odd('\0'),
  'no terminator': odd('user\0postgres'),
  'no terminator behind the last value': odd(login),
  'bytes behind the terminator': odd(`${login}\0x`),
  'a name without a value': odd(`${login}x\0\0`),
  'no body': odd(''),
  'a user in LATIN1': odd('user\0m\xfcller\0database\0app\0\0'),
  'a user of nobody': odd('user\0nobody\0database\0app\0\0'),
  'a database of nobody': odd('user\0postgres\0database\0nowhere\0\0'),
  'a setting of nobody': odd(`${login}nonsense\0x\0\0`),
  'a setting of nobody in options': odd(`${login}options\0-c nonsense=1\0\0`),
  'an option of nobody': odd(`${login}options\0-x\0\0`),
  'replication=maybe': odd(`${login}replication\0maybe\0\0`),
  'replication of nothing': odd(`${login}replication\0\0\0`),
  'a cancel request for nobody': refused(packet(cancel, 'abcdefgh')),
  'a cancel request without a key': refused(packet(cancel, 'abcd')),
  'a cancel request of nothing': refused(packet(cancel)),
  'a cancel request with the longest key': refused(packet(cancel, 'x'.repeat(260))),
  'a cancel request with a longer key': refused(packet(cancel, 'x'.repeat(261))),
};
