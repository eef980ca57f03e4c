/**
 * What a coordinator says to the members about one of its transactions. Rule: it decides nothing.
 */
import type { Gid, NodeId } from '../identity.ts';
import { maxDataBytes } from '../peer/frame.ts';
import type { PeerMessage } from '../peer/message.ts';
import type { Piece } from './captured-changes.ts';
import type { CommitEffect } from './event.ts';
import type { OwnTransaction } from './own-transaction.ts';

export class MemberMessages {
  readonly #members: readonly NodeId[];
  readonly #others: readonly NodeId[];
  readonly #emit: (effect: CommitEffect) => void;

  constructor(members: readonly NodeId[], self: NodeId, emit: (effect: CommitEffect) => void) {
    this.#members = members;
    this.#others = members.filter((member) => member !== self);
    this.#emit = emit;
  }

  #send(to: NodeId, message: PeerMessage): void {
    this.#emit({ kind: 'send', to, message });
  }

  announce(transaction: OwnTransaction): void {
    for (const to of this.#others) this.#start(to, transaction);
  }

  #start(to: NodeId, transaction: OwnTransaction): void {
    const { gid, startTime, ddl, deps } = transaction;
    this.#send(to, { kind: 'transaction-start', gid, startTime, ddl, members: this.#members, deps });
  }

  piece(gid: Gid, piece: Piece): void {
    for (const to of this.#others) this.#data(to, gid, piece);
  }

  /** A large value makes a large piece; heartbeats and votes get in between its parts. */
  #data(to: NodeId, gid: Gid, { offset, data }: Piece): void {
    for (let at = 0; at < data.length; at += maxDataBytes) {
      const part = data.subarray(at, at + maxDataBytes);
      this.#send(to, { kind: 'transaction-data', gid, offset: offset + at, data: part });
    }
  }

  end(gid: Gid): void {
    for (const to of this.#others) this.#send(to, { kind: 'transaction-end', gid });
  }

  /** All that was said so far, for a member whose link was new; false when it was too large to be kept. */
  repeat(to: NodeId, transaction: OwnTransaction): boolean {
    const { gid, changes } = transaction;
    if (!changes.announced) return true;
    if (changes.pieces === undefined) return false;
    this.#start(to, transaction);
    for (const piece of changes.pieces) this.#data(to, gid, piece);
    if (changes.complete) this.#send(to, { kind: 'transaction-end', gid });
    return true;
  }

  rollback(to: NodeId, gid: Gid): void {
    this.#send(to, { kind: 'rollback-request', gid });
  }

  outcome(to: NodeId, gid: Gid, outcome: 'commit' | 'abort'): void {
    this.#send(to, { kind: 'outcome', gid, outcome });
  }

  outcomeToAll(gid: Gid, outcome: 'commit' | 'abort'): void {
    for (const to of this.#others) this.outcome(to, gid, outcome);
  }
}
