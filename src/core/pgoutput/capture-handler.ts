/** What a Capture tells its owner. Rule: names what was seen, decides nothing. */
import type { Gid, Lsn } from '../identity.ts';
import type { Notifications } from './notification.ts';

export interface CapturedPiece {
  /** This piece carries DDL. */
  readonly ddl: boolean;
  /** It says what becomes of transactions that clients have prepared. */
  readonly clients?: boolean;
  /** Row changes in this piece; each relation of a TRUNCATE counts as one. */
  readonly rows: number;
  /** See piece-writer.ts. */
  readonly data: Uint8Array;
}

export interface PreparedTransaction {
  readonly gid: Gid;
  /**
   * `missing` also when it was rolled back before it was decoded: then its changes may be incomplete as well.
   */
  readonly header: 'verified' | 'forged' | 'missing';
  readonly rows: number;
  readonly ddl: boolean;
  readonly notifications?: Notifications;
  readonly endLsn: Lsn;
}

export interface UnsupervisedWrite {
  /** Unquoted schema-qualified names, at most 20, none of schema mtm. */
  readonly relations: readonly string[];
  readonly rows: number;
  readonly ddl: boolean;
  /** Set when it was prepared under a gid that is not a gateway's. */
  readonly gid: string | undefined;
  readonly endLsn: Lsn;
}

/** A transaction that a client prepared here, from a session of a gateway. */
export interface ClientTransaction {
  /** That of its header. */
  readonly id: string;
  /** The client's name. */
  readonly gid: string;
  readonly ddl: boolean;
  /** Its changes; undefined when they are more than are kept. */
  readonly body: readonly Uint8Array[] | undefined;
}

export interface CaptureHandler {
  verifyHeader(gid: Gid, hmac: string): boolean;
  /** One of our own transactions begins. It is prepared here already; its changes follow. */
  began(gid: Gid): void;
  piece(gid: Gid, piece: CapturedPiece): void;
  prepared(transaction: PreparedTransaction): void;
  /** COMMIT PREPARED or ROLLBACK PREPARED ran here for a gid of any node of the cluster. */
  finished(gid: Gid, outcome: 'committed' | 'rolled-back', endLsn: Lsn): void;
  /** COMMIT PREPARED ran here for a name that is no gid, of what was not seen as unsupervised. */
  finishedByName?(name: string, endLsn: Lsn): void;
  /** A supervised transaction that committed in one phase. */
  committedPlainly(gid: Gid, endLsn: Lsn, notifications?: Notifications): void;
  unsupervised(write: UnsupervisedWrite): void;
  /** Does any session prepare a transaction for its client just now? */
  preparesForClients?(): boolean;
  client?(transaction: ClientTransaction): void;
  /** A question to the gateway (sql/requests.sql). Anybody who may write messages can have made it. */
  request?(content: string): void;
}
