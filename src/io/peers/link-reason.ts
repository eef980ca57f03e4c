/**
 * Why a link to a peer is not up: a closed list, each with one sentence for the log, mtm.status and the error
 * at start. Rule: a sentence names what differs, never a secret, and says nothing that changes while nothing
 * does.
 */
import type { NodeId } from '../../core/identity.ts';
import { anyNode } from './handshake-message.ts';

export type LinkReasonKind =
  | 'not-tried'
  | 'network'
  | 'in-the-clear'
  | 'timeout'
  | 'not-a-peer'
  | 'wrong-secret'
  | 'wrong-cluster'
  | 'wrong-version'
  | 'wrong-node'
  | 'own-id'
  | 'unknown-node'
  | 'stale-incarnation'
  | 'former-process'
  | 'replaced-node'
  | 'newer-node'
  | 'closed-by-peer'
  | 'protocol-error'
  | 'no-acknowledgement'
  | 'overflow'
  | 'replaced'
  | 'removed'
  | 'stopped';

export interface LinkReason {
  readonly kind: LinkReasonKind;
  readonly text: string;
}

export function linkReason(kind: LinkReasonKind, text: string): LinkReason {
  return { kind, text };
}

/** Reasons that no retry cures: somebody has to correct a configuration. */
export function isMisconfiguration(reason: LinkReason): boolean {
  switch (reason.kind) {
    case 'wrong-secret':
    case 'wrong-cluster':
    case 'wrong-version':
    case 'wrong-node':
    case 'own-id':
    case 'unknown-node':
    case 'stale-incarnation':
    case 'replaced-node':
    case 'not-a-peer':
    case 'in-the-clear':
      return true;
    default:
      return false;
  }
}

/** What the dialled side found wrong; the number on the wire is the place here, 0 being "accepted". */
export const rejections = [
  'accepted',
  'wrong-secret',
  'wrong-version',
  'wrong-cluster',
  'own-id',
  'wrong-node',
  'unknown-node',
  'stale-incarnation',
  'replaced-node',
  'newer-node',
] as const satisfies readonly ('accepted' | LinkReasonKind)[];

export type Rejection = Exclude<(typeof rejections)[number], 'accepted'>;

/** The two sides of a handshake, as far as each told the other. */
export interface HandshakeParties {
  readonly dialer: {
    readonly node: NodeId;
    readonly cluster: string;
    readonly versions: string;
    readonly incarnation: number;
  };
  readonly listener: { readonly node: NodeId; readonly cluster: string; readonly versions: string };
  /** Whom the dialler meant to reach; 0 (`anyNode`) for whoever listens there. */
  readonly target: NodeId;
}

/** The sentence about a rejection; it reads the same in the logs of both sides. */
export function rejectionReason(rejection: Rejection, parties: HandshakeParties): LinkReason {
  const { dialer, listener } = parties;
  const target = targetName(parties.target);
  const address = parties.target === anyNode ? 'the address that was called' : `${target}'s address`;
  switch (rejection) {
    case 'wrong-secret':
      return linkReason(rejection, differentSecrets(dialer.node, target));
    case 'wrong-version':
      return linkReason(
        rejection,
        `node ${dialer.node} speaks peer protocol ${dialer.versions}, ` +
          `${target} speaks ${listener.versions}`,
      );
    case 'wrong-cluster':
      return linkReason(
        rejection,
        `node ${dialer.node} belongs to cluster "${dialer.cluster}", ` +
          `${target} to cluster "${listener.cluster}"`,
      );
    case 'own-id':
      return linkReason(
        rejection,
        `the gateway at ${address} has node id ${listener.node}, ` +
          'that of the gateway that called it: ' +
          'either two nodes have the same id, or a node has its own address as that of a peer',
      );
    case 'wrong-node':
      return linkReason(rejection, `the gateway at ${address} is node ${listener.node}`);
    case 'unknown-node':
      return linkReason(
        rejection,
        `node ${dialer.node} is not in the configuration of node ${listener.node}: ` +
          'it was never added, or was removed from the cluster',
      );
    case 'stale-incarnation':
      return linkReason(
        rejection,
        `incarnation ${dialer.incarnation} of node ${dialer.node} is older than one that ` +
          `node ${listener.node} has seen: ` +
          'a newer gateway has taken over, or its server went back in time',
      );
    case 'replaced-node':
      return linkReason(rejection, removed(dialer.node));
    case 'newer-node':
      return linkReason(rejection, notHeardYet(listener.node, dialer.node));
  }
}

/**
 * What the dialler found: behind the id of its peer is another node than the one it expects. The one that
 * was added earlier is the one that is no longer in the cluster.
 */
export function otherNodeReason(
  own: NodeId,
  peer: { readonly id: NodeId; readonly since: number },
  found: number,
): LinkReason {
  if (found > peer.since) return linkReason('newer-node', notHeardYet(own, peer.id));
  return linkReason(
    'replaced-node',
    `a former gateway answers at node ${peer.id}'s address: ${removed(peer.id)}`,
  );
}

/** What the dialler's own socket met. */
export function dialError(
  error: Error,
  own: NodeId,
  peer: { readonly id: NodeId },
  where: string,
): LinkReason {
  return handshakeError(error, own, peer.id, where) ?? linkReason('network', `${where}: ${describe(error)}`);
}

/** What TLS said while the two met, if it was TLS; `target`: as in HandshakeParties. */
export function handshakeError(
  error: Error,
  own: NodeId,
  target: NodeId,
  where: string,
): LinkReason | undefined {
  // The code is EPROTO when something waits to be written, so OpenSSL's words tell.
  if (/alert decrypt error/.test(error.message))
    return linkReason('wrong-secret', differentSecrets(own, targetName(target)));
  if (/wrong version number|packet length too long|alert/.test(error.message))
    return linkReason('not-a-peer', `${where} does not speak TLS as gateways do`);
  return undefined;
}

const networkTexts: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset',
  EHOSTUNREACH: 'host unreachable',
  ENETUNREACH: 'network unreachable',
  ENOTFOUND: 'host name not found',
  EAI_AGAIN: 'host name lookup failed',
  EPIPE: 'connection broken',
  ETIMEDOUT: 'connection timed out',
};

/** The part of a network error that stays the same from one attempt to the next. */
function describe(error: Error): string {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  return code === undefined ? error.message : (networkTexts[code] ?? code);
}

function differentSecrets(dialer: NodeId, target: string): string {
  return (
    `the cluster secret of node ${dialer} differs from that of ${target}: ` + 'give all gateways the same one'
  );
}

function targetName(target: NodeId): string {
  return target === anyNode ? 'the node that was called' : `node ${target}`;
}

function removed(node: NodeId): string {
  return `node ${node} was removed from the cluster and its id given to another node`;
}

function notHeardYet(behind: NodeId, node: NodeId): string {
  return `node ${behind} has not heard yet that the id ${node} was given to another node`;
}
