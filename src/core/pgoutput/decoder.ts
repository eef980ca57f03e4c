/**
 * Decoder of one pgoutput message. Pure; the grammar stands above each function.
 * Rule: any bytes give a value, `malformed` if they break the grammar; nothing is read beyond the message's
 * end. Transactions are never asked for in progress (`streaming` off), so no message carries a leading
 * transaction id.
 */
import { ByteReader } from './byte-reader.ts';
import type {
  DeleteMessage,
  PgoutputMessage,
  RelationColumn,
  RelationMessage,
  ReplicaIdentity,
  Tuple,
  TupleValue,
  UpdateMessage,
} from './messages.ts';

/** Decodes buffer[start…end), the type byte at `start`. */
export function decodePgoutput(buffer: Uint8Array, start = 0, end = buffer.length): PgoutputMessage {
  if (start >= end) return { kind: 'malformed', reason: 'empty message' };
  const type = String.fromCharCode(buffer[start]!);
  const reader = new ByteReader(buffer, start + 1, end);
  const message = decodeBody(type, reader);
  if (message.kind === 'malformed' || message.kind === 'stream') return message;
  if (reader.failed) return { kind: 'malformed', reason: `message ${type} is cut short` };
  if (reader.left !== 0)
    return { kind: 'malformed', reason: `message ${type} has ${reader.left} bytes too many` };
  return message;
}

function decodeBody(type: string, reader: ByteReader): PgoutputMessage {
  switch (type) {
    case 'I':
      return decodeInsert(reader);
    case 'U':
      return decodeUpdate(reader);
    case 'D':
      return decodeDelete(reader);
    case 'T':
      return decodeTruncate(reader);
    case 'R':
      return decodeRelation(reader);
    case 'M':
      return decodeLogicalMessage(reader);
    // Type: Int32 oid, String schema, String name.
    case 'Y':
      return {
        kind: 'type',
        oid: reader.uint32(),
        schema: reader.string() || 'pg_catalog',
        name: reader.string(),
      };
    // Origin: Int64 commit lsn at the origin, String name.
    case 'O':
      return { kind: 'origin', commitLsn: reader.uint64(), name: reader.string() };
    case 'S':
    case 'E':
    case 'c':
    case 'A':
    case 'p':
      return { kind: 'stream', type };
    default:
      return decodeBoundary(type, reader);
  }
}

/** Begin and end of transactions. */
function decodeBoundary(type: string, reader: ByteReader): PgoutputMessage {
  switch (type) {
    // Begin: Int64 final lsn, Int64 commit time, Int32 xid.
    case 'B':
      return { kind: 'begin', finalLsn: reader.uint64(), commitTime: reader.int64(), xid: reader.uint32() };
    // Commit: Int8 flags (0), Int64 commit lsn, Int64 end lsn, Int64 commit time.
    case 'C':
      reader.uint8();
      return {
        kind: 'commit',
        commitLsn: reader.uint64(),
        endLsn: reader.uint64(),
        commitTime: reader.int64(),
      };
    // Begin Prepare: Int64 prepare lsn, Int64 end lsn, Int64 time, Int32 xid, String gid.
    // Prepare: the same after Int8 flags (0).
    case 'b':
    case 'P':
      if (type === 'P') reader.uint8();
      return {
        kind: type === 'P' ? 'prepare' : 'begin-prepare',
        prepareLsn: reader.uint64(),
        endLsn: reader.uint64(),
        prepareTime: reader.int64(),
        xid: reader.uint32(),
        gid: reader.string(),
      };
    // Commit Prepared: Int8 flags (0), Int64 commit lsn, Int64 end lsn, Int64 time, Int32 xid, String gid.
    case 'K':
      reader.uint8();
      return {
        kind: 'commit-prepared',
        commitLsn: reader.uint64(),
        endLsn: reader.uint64(),
        commitTime: reader.int64(),
        xid: reader.uint32(),
        gid: reader.string(),
      };
    // Rollback Prepared: Int8 flags (0), Int64 end lsn of the prepare, Int64 end lsn of the rollback,
    // Int64 prepare time, Int64 rollback time, Int32 xid, String gid.
    case 'r':
      reader.uint8();
      return {
        kind: 'rollback-prepared',
        prepareEndLsn: reader.uint64(),
        endLsn: reader.uint64(),
        prepareTime: reader.int64(),
        rollbackTime: reader.int64(),
        xid: reader.uint32(),
        gid: reader.string(),
      };
    default:
      return { kind: 'malformed', reason: `unknown message type ${JSON.stringify(type)}` };
  }
}

const identities: Readonly<Record<string, ReplicaIdentity>> = {
  d: 'default',
  n: 'nothing',
  f: 'full',
  i: 'index',
};

/**
 * Relation: Int32 oid, String schema (empty for pg_catalog), String name, Int8 replica identity, Int16
 * columns, for each: Int8 flags (1: part of the key), String name, Int32 type oid, Int32 type modifier.
 */
function decodeRelation(reader: ByteReader): RelationMessage | { kind: 'malformed'; reason: string } {
  const oid = reader.uint32();
  const schema = reader.string() || 'pg_catalog';
  const name = reader.string();
  const identity = identities[String.fromCharCode(reader.uint8())];
  if (identity === undefined) return { kind: 'malformed', reason: 'unknown replica identity' };
  const count = reader.uint16();
  const columns: RelationColumn[] = [];
  for (let index = 0; index < count && !reader.failed; index++) {
    const key = (reader.uint8() & 1) === 1;
    columns.push({ key, name: reader.string(), typeOid: reader.uint32(), typmod: reader.int32() });
  }
  return { kind: 'relation', oid, schema, name, identity, columns };
}

/**
 * TupleData: Int16 columns, for each: 'n' (NULL) | 'u' (unchanged TOAST) | ('t' text | 'b' binary) Int32
 * length, bytes.
 */
function decodeTuple(reader: ByteReader): Tuple | undefined {
  const count = reader.uint16();
  const values: TupleValue[] = [];
  let binary: Set<number> | undefined;
  for (let index = 0; index < count && !reader.failed; index++) {
    const type = reader.uint8();
    if (type === 0x74 || type === 0x62) {
      values.push(reader.bytes(reader.int32()));
      if (type === 0x62) (binary ??= new Set()).add(index);
    } else if (type === 0x6e) values.push(null);
    else if (type === 0x75) values.push(undefined);
    else return undefined;
  }
  return { values, binary };
}

const badTuple = { kind: 'malformed', reason: 'a column of a row is of unknown kind' } as const;
const badPart = { kind: 'malformed', reason: 'a row is introduced by an unknown letter' } as const;

/** Insert: Int32 relation, 'N', TupleData. */
function decodeInsert(reader: ByteReader): PgoutputMessage {
  const relation = reader.uint32();
  if (reader.uint8() !== 0x4e) return badPart;
  const row = decodeTuple(reader);
  return row === undefined ? badTuple : { kind: 'insert', relation, row };
}

/**
 * Update: Int32 relation, optionally 'K' (key changed) or 'O' (identity FULL) with TupleData, then 'N',
 * TupleData.
 */
function decodeUpdate(reader: ByteReader): PgoutputMessage {
  const relation = reader.uint32();
  let letter = reader.uint8();
  let old: UpdateMessage['old'];
  if (letter === 0x4b || letter === 0x4f) {
    const row = decodeTuple(reader);
    if (row === undefined) return badTuple;
    old = { kind: letter === 0x4b ? 'key' : 'full', row };
    letter = reader.uint8();
  }
  if (letter !== 0x4e) return badPart;
  const row = decodeTuple(reader);
  return row === undefined ? badTuple : { kind: 'update', relation, old, row };
}

/** Delete: Int32 relation, 'K' or 'O', TupleData. */
function decodeDelete(reader: ByteReader): DeleteMessage | typeof badPart | typeof badTuple {
  const relation = reader.uint32();
  const letter = reader.uint8();
  if (letter !== 0x4b && letter !== 0x4f) return badPart;
  const row = decodeTuple(reader);
  if (row === undefined) return badTuple;
  return { kind: 'delete', relation, old: { kind: letter === 0x4b ? 'key' : 'full', row } };
}

/** Truncate: Int32 number of relations, Int8 options (1 CASCADE, 2 RESTART IDENTITY), Int32 oid for each. */
function decodeTruncate(reader: ByteReader): PgoutputMessage {
  const count = reader.uint32();
  const options = reader.uint8();
  const relations: number[] = [];
  for (let index = 0; index < count && !reader.failed; index++) relations.push(reader.uint32());
  const cascade = (options & 1) !== 0;
  return { kind: 'truncate', relations, cascade, restartIdentity: (options & 2) !== 0 };
}

/** Message: Int8 flags (1: transactional), Int64 lsn, String prefix, Int32 length, bytes. */
function decodeLogicalMessage(reader: ByteReader): PgoutputMessage {
  const transactional = (reader.uint8() & 1) === 1;
  const lsn = reader.uint64();
  const prefix = reader.string();
  return { kind: 'logical-message', transactional, lsn, prefix, content: reader.bytes(reader.int32()) };
}
