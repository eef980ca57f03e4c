/**
 * The replies that a session still expects from the server: one entry per message that ends in ReadyForQuery, in order.
 * Rule: `own` entries are the gateway's statements, of which the client hears nothing but notices; `client` entries are relayed,
 * at once or held until the outcome of the transaction is known.
 */
export interface Reply {
  readonly kind: 'own' | 'client';
  /** Hold everything until release: the client must not hear of success before the outcome. */
  hold: boolean;
  /** Replies at the beginning that belong to messages which the gateway has put in front. */
  prefix: number;
  /** Replies to drop after them: the client has them from an attempt before. */
  skip: number;
  /** Relayed so far, asynchronous messages not counted. */
  relayed: number;
  held: Uint8Array[];
  heldBytes: number;
  /** A row, a completion or copy data has reached the client: the statement can no longer be repeated unseen. */
  seen: boolean;
  done: boolean;
  /** Transaction status of its ReadyForQuery. */
  status: number;
  /** The first ErrorResponse, whole, and its SQLSTATE. */
  error: Uint8Array | undefined;
  sqlstate: string;
  /** The last command tag. */
  tag: string;
  /** Rows that the tags count as written (INSERT, UPDATE, DELETE, MERGE, COPY), or 1 for other commands that write. */
  written: number;
  /** First column of the first row of an own statement. */
  value: string | undefined;
  /** ParseComplete messages received. */
  parsed: number;
  /** Tells nothing of the data (ROLLBACK): needs no lease. */
  free: boolean;
  /** Result bytes are dropped: the node lost its lease. */
  dropped: boolean;
}

export function newReply(kind: 'own' | 'client', hold: boolean, prefix = 0, skip = 0): Reply {
  return {
    kind,
    hold,
    prefix,
    skip,
    relayed: 0,
    held: [],
    heldBytes: 0,
    seen: false,
    done: false,
    status: 0,
    error: undefined,
    sqlstate: '',
    tag: '',
    written: 0,
    value: undefined,
    parsed: 0,
    free: false,
    dropped: false,
  };
}

const counted = /^(?:INSERT \d+|UPDATE|DELETE|MERGE|COPY) (\d+)$/;
const harmless =
  /^(?:SELECT|FETCH|MOVE|SHOW|SET|RESET|BEGIN|START TRANSACTION|SAVEPOINT|RELEASE|ROLLBACK|DECLARE CURSOR|CLOSE CURSOR|EXPLAIN|PREPARE|DEALLOCATE|DISCARD|LISTEN|UNLISTEN|NOTIFY|LOCK TABLE|COMMIT|DO|CALL)/;

/** How much a command tag proves to have been written: rows, 1 for a command that always writes, 0 when it leaves it open. */
export function writtenByTag(tag: string): number {
  const match = counted.exec(tag);
  if (match !== null) return Number(match[1]);
  return harmless.test(tag) ? 0 : 1;
}
