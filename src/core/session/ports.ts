/**
 * What a session machine may ask of the world. Calls are orders that never fail and never call back into the
 * machine before they return; answers come later as calls of the machine's own methods.
 */
import type { Finish } from '../commit/event.ts';
import type { Gid } from '../identity.ts';
import type { EverywhereCommand } from '../statement/everywhere-command.ts';
import type { ParsedText } from '../statement/statement-class.ts';
import type { ErrorText } from '../wire/messages.ts';
import type { SessionTally } from './tally.ts';

/**
 * `empty`: nothing to replicate, commit at home alone. `early`: prepared, and its client is to be answered
 * before the other members have executed it.
 */
export type PrepareEnd = 'prepared' | 'early' | 'empty' | 'failed';

export interface Obstacle {
  readonly text: ErrorText;
  /** It will probably be over in a moment: an election is under way. */
  readonly passing: boolean;
}

/** A command that each node runs for itself. */
export interface EverywhereOrder {
  readonly command: EverywhereCommand;
  /** What every node runs. */
  readonly text: string;
  /** The same command as part of a transaction, for nodes that are away; empty: there is none. */
  readonly plain: string;
  /** What the server said about it: mtm.everywhere_frame(). */
  readonly frame: string;
}

export interface EverywhereResult {
  readonly notices: readonly ErrorText[];
  /** Undefined: it is done on all nodes. */
  readonly error: ErrorText | undefined;
}

/** For what concerns all nodes at once. */
export interface EverywherePorts {
  /** SQL that tells what a command for all nodes names, and under which settings it is run. */
  frameSql(command: EverywhereCommand): string;
  /** Runs a command on all nodes, one by one; the result comes in `everywhere`. Undefined: cancels it. */
  everywhere(order: EverywhereOrder | undefined): void;
  /** Nothing may be prepared for a moment: the nodes are being compared. */
  held(): boolean;
}

export interface SessionPorts extends BranchPorts, EverywherePorts {
  /** Counted here; of all sessions of the node. */
  readonly tally: SessionTally;
  /**
   * Bytes buffer[start…end) to the server or the client, in call order; neighbouring ranges travel in one
   * write.
   */
  toServer(buffer: Uint8Array, start: number, end: number): void;
  toClient(buffer: Uint8Array, start: number, end: number): void;
  /** Ends the session after what was sent to the client has left. */
  close(): void;
  /** Sends a CancelRequest for the session's server connection; `cancelDelivered()` follows. */
  cancelServer(): void;
  /** `retryDue()` follows after the time that is due for this attempt (1, 2, …). */
  waitBeforeRetry(attempt: number): void;

  classify(text: string): ParsedText;
  /** A function or rule of the database may run the command NOTIFY. */
  hiddenNotify(): boolean;
  /** A table has REPLICA IDENTITY NOTHING: rows are changed behind mtm.full_identities() only. */
  identityNothing(): boolean;

  /** Why a statement may not run on this node now; undefined: it may. */
  obstacle(write: boolean): Obstacle | undefined;
  /** What begins outside of a transaction waits until it is driven again: PAUSE of the admin console. */
  paused(): boolean;
  /** The node holds a lease at this very moment (architecture §4). */
  hasLease(): boolean;
  /** Hybrid logical clock, ms. */
  clock(): number;

  /**
   * A new gid, whose PREPARE is about to be sent; the answer comes as `answered()`. Undefined while the node
   * is in no generation: then nothing may be prepared.
   */
  newTransaction(startTime: number): Gid | undefined;
  /**
   * The SQL that marks the transaction with its header just before PREPARE. `checked`: with all checks of
   * what PREPARE cannot bear.
   */
  headerSql(gid: Gid, checked: boolean, announced: boolean): string;
  /** SQL that announces a command which no event trigger sees. */
  announceSql(command: string, tag: string): string;
  /** What the committed transaction notifies could not be told to the server's listeners. */
  deliveryFailed(reason: string): void;
  /**
   * The SQL that ends the work of a transaction that cannot be prepared; it answers with the transaction's
   * id.
   */
  openHeaderSql(gid: Gid, announced: boolean): string;
  /** It has run: the transaction stays open until `orderOpen` is called. In place of `prepareEnded`. */
  heldOpen(gid: Gid, xid: string): void;
  /** What was ordered was executed, or the COMMIT has failed. */
  openEnded(gid: Gid, end: Finish | 'failed'): void;
  /** The client does not want it any more: it is refused, unless that is decided. The answer tells. */
  giveUp(gid: Gid): void;
  /** How the PREPARE of the gid ended. */
  prepareEnded(gid: Gid, end: PrepareEnd): void;
}

/** For the client's own two-phase commit. */
export interface BranchPorts {
  /**
   * A transaction that the client prepares under its own name: the SQL that marks it just before.
   * `branchIs()` follows when the slot has shown it. Undefined while nothing may be prepared.
   */
  newBranch(announced: boolean): { readonly id: string; readonly headerSql: string } | undefined;
  /** The messages, up to Sync, that write what was captured of it in the transaction `gid`. */
  branchRows(id: string, gid: Gid): Uint8Array;
  /** Nothing may be left of it on this node; `branchIs()` follows. */
  endBranch(id: string): void;
  /** SQL that writes the decision about what was prepared under a client's name. */
  decisionSql(name: string, commit: boolean): string;
}

export interface SessionLimits {
  /** Repeats of a refused autocommit statement before its client hears of it. */
  readonly conflictRetries: number;
  /** Bytes of a result that may be held back so that the statement can still be repeated. */
  readonly holdBytes: number;
  /** Bytes of client messages that may wait while a unit runs; above it the client is not read. */
  readonly inboxBytes: number;
}
