/** Messages of pgoutput about what clients prepare, made by hand. */

const int64 = (value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
};

export const int32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
};

const int16 = (value: number): Buffer => {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
};

const message = (...parts: (string | Buffer)[]): Uint8Array =>
  new Uint8Array(Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part))));

export const beginPrepare = (gid: string): Uint8Array =>
  message('b', int64(1), int64(2), int64(0), int32(7), `${gid}\0`);
export const prepare = (gid: string): Uint8Array =>
  message('P', '\0', int64(1), int64(2), int64(0), int32(7), `${gid}\0`);
export const commitPrepared = (gid: string): Uint8Array =>
  message('K', '\0', int64(1), int64(2), int64(0), int32(7), `${gid}\0`);

export const emitted = (prefix: string, content: string): Uint8Array =>
  message('M', '\x01', int64(5), `${prefix}\0`, int32(Buffer.byteLength(content)), content);
export const header = (prefix: string, gid: string, hmac = 'good'): Uint8Array =>
  emitted(prefix, JSON.stringify({ gid, hmac }));

export const relation = (oid: number, schema: string, name: string, columns: readonly string[]): Uint8Array =>
  message(
    'R',
    int32(oid),
    `${schema}\0${name}\0d`,
    int16(columns.length),
    ...columns
      .map((column, at) => message(at === 0 ? '\x01' : '\0', `${column}\0`, int32(25), int32(-1)))
      .map((bytes) => Buffer.from(bytes)),
  );

const tuple = (values: readonly (string | null)[]): Buffer =>
  Buffer.concat([
    int16(values.length),
    ...values.map((value) =>
      value === null
        ? Buffer.from('n')
        : Buffer.concat([Buffer.from('t'), int32(Buffer.byteLength(value)), Buffer.from(value)]),
    ),
  ]);

export const insert = (oid: number, values: readonly (string | null)[]): Uint8Array =>
  message('I', int32(oid), 'N', tuple(values));
export const update = (oid: number, values: readonly (string | null)[]): Uint8Array =>
  message('U', int32(oid), 'N', tuple(values));

const headColumns = ['id', 'gid', 'owner', 'prepared', 'home', 'ddl', 'proof', 'decision'];
export const headRow = (decision: string | null = null): (string | null)[] => [
  'client:1',
  "it's",
  'bob',
  '2026-01-01',
  '2',
  'f',
  'seal',
  decision,
];
export const head = relation(900, 'mtm', 'client_prepared', headColumns);
export const body = relation(901, 'mtm', 'client_body', ['id', 'part', 'data']);
