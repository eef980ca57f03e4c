/**
 * What a gateway knows of one peer as long as it is one. Rule: a node that takes the id of a former one gets
 * an object of its own, so that nothing that is still on its way can be taken for the new one's.
 */
import type { Socket } from 'node:net';
import type { IncomingLink } from './incoming-link.ts';
import type { LifeLine } from './life-line.ts';
import { isMisconfiguration, type LinkReason } from './link-reason.ts';
import type { OutgoingLink, PeerAddress } from './outgoing-link.ts';

export interface Peer {
  address: PeerAddress;
  readonly outgoing: OutgoingLink;
  readonly lifeLine: LifeLine;
  incoming: IncomingLink | undefined;
  /** On incoming links that have ended. */
  receivedBefore: number;
  /** Opened by either side, for recovery or a copy: their owners', but they end when the peer is removed. */
  readonly streams: Set<Socket>;
  /** The highest seen; 0 when none was. */
  incarnation: number;
  heardAt: number | undefined;
  /** Why somebody who called himself this peer was turned away, until the peer is let in. */
  incomingReason: LinkReason | undefined;
}

/** The stream ends with the peer. */
export function tieStream(peer: Peer, socket: Socket): void {
  peer.streams.add(socket);
  socket.once('close', () => peer.streams.delete(socket));
}

/**
 * The first thing between this node and its peers that no retry cures. A node that was added at run time may
 * be unknown to a peer that has not heard of it yet; one that nobody knows was removed.
 */
export function misconfigurationOf(peers: readonly Peer[], addedAtRunTime: boolean): LinkReason | undefined {
  const known = addedAtRunTime && peers.some(({ outgoing }) => outgoing.up);
  for (const { outgoing, incomingReason } of peers) {
    const { reason } = outgoing;
    const unheard = known && reason?.kind === 'unknown-node';
    if (reason !== undefined && !unheard && isMisconfiguration(reason)) return reason;
    if (incomingReason === undefined || isAffairOfTheCaller(incomingReason)) continue;
    if (isMisconfiguration(incomingReason)) return incomingReason;
  }
  return undefined;
}

/** A former gateway of the peer, or of the node that had its id before, was refused here. */
function isAffairOfTheCaller({ kind }: LinkReason): boolean {
  return kind === 'stale-incarnation' || kind === 'replaced-node';
}
