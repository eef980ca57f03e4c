/**
 * The replies that a session still expects from the server: one entry per message that ends in
 * ReadyForQuery, in order.
 * Rule: `own` entries are the gateway's statements, of which the client hears nothing but notices; `client`
 * entries are relayed, at once or held until the outcome of the transaction is known. What a client was told
 * counts, so that a repeat tells the rest only.
 */
import { backend } from '../wire/codes.ts';

export interface Reply {
  readonly kind: 'own' | 'client';
  /** A cancel request of the client may end what this is the reply to. */
  cancellable: boolean;
  /** Hold everything until release: the client must not hear of success before the outcome. */
  hold: boolean;
  /**
   * The client reads on without a ReadyForQuery to come (Flush, COPY): an error goes out at once, not by its
   * task.
   */
  open: boolean;
  /** The Sync behind it was sent: a COPY FROM STDIN would swallow it, and nobody would ever answer. */
  synced: boolean;
  /** Replies at the beginning that belong to messages which the gateway has put in front. */
  prefix: number;
  /** Replies and notices to drop after them: the client has them from an attempt before. */
  skip: number;
  skipNotices: number;
  /** What the client has of this unit, the attempts before included. */
  told: number;
  toldNotices: number;
  held: Uint8Array[];
  heldBytes: number;
  /** Its last completion comes after the commit, as that of a simple Query. */
  endsLate: boolean;
  /** A row, a completion or copy data is among what is held. */
  holdsResult: boolean;
  /**
   * A row, a completion or copy data has reached the client: the statement can no longer be repeated unseen.
   */
  seen: boolean;
  done: boolean;
  /** Transaction status of its ReadyForQuery, and of the one before it. */
  status: number;
  statusBefore: number;
  /** The first ErrorResponse, whole, and its SQLSTATE. */
  error: Uint8Array | undefined;
  sqlstate: string;
  errorTold: boolean;
  /** The last command tag. */
  tag: string;
  /**
   * Rows that the tags count as written (INSERT, UPDATE, DELETE, MERGE, COPY), or 1 for other commands that
   * write.
   */
  written: number;
  /** What the client is told of each statement instead of the server's command tag, in their order. */
  readonly tags: (string | undefined)[];
  /** Results that have ended; so many of the tags are used. (Shifting a long array costs its length.) */
  ended: number;
  /** A command that defines something has completed: it may be in the way of decoding. */
  defined: boolean;
  /** First column of the first row of an own statement. */
  value: string | undefined;
  /** CopyInResponse messages received. */
  copies: number;
  /** Tells nothing of the data (ROLLBACK, local commands): needs no lease. */
  free: boolean;
  /** The next result needs a lease before its first byte is forwarded. */
  leaseDue: boolean;
  /**
   * Whether the result is fresh is decided by the votes of all members: no lease is needed to let rows out
   * early.
   */
  byCommit: boolean;
  /** Result bytes are dropped: the node lost its lease. */
  dropped: boolean;
}

export function newReply(kind: 'own' | 'client', hold: boolean, prefix = 0): Reply {
  return {
    kind,
    cancellable: kind === 'client',
    hold,
    open: false,
    synced: false,
    prefix,
    skip: 0,
    skipNotices: 0,
    told: 0,
    toldNotices: 0,
    held: [],
    heldBytes: 0,
    endsLate: false,
    holdsResult: false,
    seen: false,
    done: false,
    status: 0,
    statusBefore: 0,
    error: undefined,
    sqlstate: '',
    errorTold: false,
    tag: '',
    written: 0,
    tags: [],
    ended: 0,
    defined: false,
    value: undefined,
    copies: 0,
    free: false,
    leaseDue: true,
    byCommit: false,
    dropped: false,
  };
}

/** To a statement of the gateway's own. */
export function ownReply(cancellable = false): Reply {
  return { ...newReply('own', false), cancellable };
}

/** Messages after which a repeat would tell the client something twice, or something else. */
export function isResult(type: number): boolean {
  switch (type) {
    case backend.dataRow:
    case backend.commandComplete:
    case backend.portalSuspended:
    case backend.copyData:
    case backend.copyDone:
    case backend.copyInResponse:
    case backend.copyOutResponse:
    case backend.functionCallResponse:
      return true;
    default:
      return false;
  }
}

/** Messages that end the result of one statement. */
export function endsResult(type: number): boolean {
  return (
    type === backend.commandComplete ||
    type === backend.portalSuspended ||
    type === backend.emptyQueryResponse ||
    type === backend.functionCallResponse
  );
}

/**
 * Keeps of what is held what stands before the first completion: a success that did not come true must not be
 * told.
 */
export function cutAtCompletion(reply: Reply): void {
  const at = reply.held.findIndex((bytes) => bytes[0] === backend.commandComplete);
  if (at >= 0) reply.held.length = at;
}

const counted = /^(?:INSERT \d+|UPDATE|DELETE|MERGE|COPY) (\d+)$/;
const harmless = new RegExp(
  '^(?:SELECT|FETCH|MOVE|SHOW|SET|RESET|BEGIN|START TRANSACTION|SAVEPOINT|RELEASE|ROLLBACK|DECLARE CURSOR|' +
    'CLOSE CURSOR|EXPLAIN|PREPARE|DEALLOCATE|DISCARD|LISTEN|UNLISTEN|NOTIFY|LOCK TABLE|COMMIT|DO|CALL)\\b',
);
const defining = /^(?:CREATE|ALTER|DROP) /;

/**
 * How much a command tag proves to have been written: rows, 1 for a command that always writes, 0 when it
 * leaves it open.
 */
function writtenByTag(tag: string): number {
  const match = counted.exec(tag);
  if (match !== null) return Number(match[1]);
  return harmless.test(tag) ? 0 : 1;
}

export function noteTag(reply: Reply, tag: string): void {
  reply.tag = tag;
  reply.written += writtenByTag(tag);
  if (defining.test(tag)) reply.defined = true;
}
