/**
 * What PostgreSQL's output plugin `pgoutput` says about a transaction, as values.
 * Rule: a value of a row stays a range of the bytes that came in (no copy), so it lives as long as they do.
 * Source: manual, "Logical Replication Message Formats" (protocol versions 3 on 15, 4 on 16 and later).
 */
import type { Lsn } from '../identity.ts';

/** Text bytes of a column; null is SQL's NULL; undefined is a TOAST value that an UPDATE left unchanged. */
export type TupleValue = Uint8Array | null | undefined;

export interface Tuple {
  readonly values: readonly TupleValue[];
  /** Columns that came in binary format; undefined when none did (the usual case: `binary` is off). */
  readonly binary: ReadonlySet<number> | undefined;
}

export interface RelationColumn {
  readonly name: string;
  /** Part of the replica identity. */
  readonly key: boolean;
  /** Type OID at the origin: means nothing on another node for types that users made. */
  readonly typeOid: number;
  readonly typmod: number;
}

export type ReplicaIdentity = 'default' | 'nothing' | 'full' | 'index';

export interface RelationMessage {
  readonly kind: 'relation';
  readonly oid: number;
  /** Never empty: pgoutput writes nothing for pg_catalog, the decoder puts the name back. */
  readonly schema: string;
  readonly name: string;
  readonly identity: ReplicaIdentity;
  readonly columns: readonly RelationColumn[];
}

export interface PreparedFields {
  readonly gid: string;
  readonly xid: number;
}

export interface InsertMessage {
  readonly kind: 'insert';
  readonly relation: number;
  readonly row: Tuple;
}

export interface UpdateMessage {
  readonly kind: 'update';
  readonly relation: number;
  /**
   * `key`: only the columns of the replica identity have values, and it changed. `full`: the whole old row.
   */
  readonly old: { readonly kind: 'key' | 'full'; readonly row: Tuple } | undefined;
  readonly row: Tuple;
}

export interface DeleteMessage {
  readonly kind: 'delete';
  readonly relation: number;
  readonly old: { readonly kind: 'key' | 'full'; readonly row: Tuple };
}

export interface TruncateMessage {
  readonly kind: 'truncate';
  readonly relations: readonly number[];
  readonly cascade: boolean;
  readonly restartIdentity: boolean;
}

/** Times are PostgreSQL's: microseconds since 2000-01-01 00:00 UTC. */
export type PgoutputMessage =
  | { readonly kind: 'begin'; readonly finalLsn: Lsn; readonly commitTime: bigint; readonly xid: number }
  | { readonly kind: 'commit'; readonly commitLsn: Lsn; readonly endLsn: Lsn; readonly commitTime: bigint }
  | ({
      readonly kind: 'begin-prepare' | 'prepare';
      readonly prepareLsn: Lsn;
      readonly endLsn: Lsn;
      readonly prepareTime: bigint;
    } & PreparedFields)
  | ({
      readonly kind: 'commit-prepared';
      readonly commitLsn: Lsn;
      readonly endLsn: Lsn;
      readonly commitTime: bigint;
    } & PreparedFields)
  | ({
      readonly kind: 'rollback-prepared';
      readonly prepareEndLsn: Lsn;
      readonly endLsn: Lsn;
      readonly prepareTime: bigint;
      readonly rollbackTime: bigint;
    } & PreparedFields)
  | { readonly kind: 'origin'; readonly commitLsn: Lsn; readonly name: string }
  | RelationMessage
  | { readonly kind: 'type'; readonly oid: number; readonly schema: string; readonly name: string }
  | InsertMessage
  | UpdateMessage
  | DeleteMessage
  | TruncateMessage
  | {
      readonly kind: 'logical-message';
      readonly transactional: boolean;
      readonly lsn: Lsn;
      readonly prefix: string;
      readonly content: Uint8Array;
    }
  /** A part of the protocol of in-progress streams (`streaming=on`), which this gateway does not ask for. */
  | { readonly kind: 'stream'; readonly type: 'S' | 'E' | 'c' | 'A' | 'p' }
  /** The bytes break the grammar; `reason` says where. */
  | { readonly kind: 'malformed'; readonly reason: string };
