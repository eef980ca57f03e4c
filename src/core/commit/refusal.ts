/**
 * Refusals that the gateway itself pronounces about a transaction (surface: Errors). Their node is 0 or the
 * one that said so.
 */
import type { Gid, NodeId, Refusal } from '../identity.ts';

/** A refusal without a particular node. */
export function gatewayRefusal(sqlstate: string, message: string, retryable: boolean): Refusal {
  return { sqlstate, message: `[multimaster] ${message}`, node: 0, retryable };
}

/**
 * The generation ended first, and its successor's record does not list the transaction: it can be repeated.
 */
export const generationEnded: Refusal = {
  ...gatewayRefusal('40001', 'the generation ended before the transaction was decided', true),
  hint: 'Repeat the transaction.',
};

/** The change stream waits for a lock of the transaction itself: it will never show it. */
export const undecodable: Refusal = {
  ...gatewayRefusal('0A000', 'the transaction locks what its own decoding needs', false),
  hint: 'Do not use a row type in the transaction that makes it, and do not LOCK system catalogs.',
};

/** 40001 for the loser of a conflict. */
export function conflictRefusal(loser: Gid, winner: Gid, node: NodeId): Refusal {
  return {
    sqlstate: '40001',
    message: '[multimaster] could not serialize access: conflict with a transaction of another node',
    detail: `Transaction ${loser} gave way to ${winner} on node ${node}.`,
    hint: 'Repeat the transaction.',
    node,
    retryable: true,
  };
}

/** In the words of PostgreSQL. */
export function cancelRefusal(node: NodeId): Refusal {
  return {
    sqlstate: '57014',
    message: 'canceling statement due to user request',
    node,
    retryable: false,
  };
}

/** A lock that nobody here can take away was not released in time. */
export function lockRefusal(gid: Gid, node: NodeId, holder: { pid: number } | { prepared: string }): Refusal {
  const who =
    'pid' in holder
      ? `a session on node ${node} that is not supervised (process ${holder.pid})`
      : `the prepared transaction "${holder.prepared}" on node ${node}`;
  return {
    ...gatewayRefusal('40001', `${who} holds a lock that transaction ${gid} needs`, true),
    hint: `End that ${'pid' in holder ? 'session' : 'transaction'}, or repeat the transaction later.`,
    node,
  };
}

/** The waiter gives way to a session that is stuck itself. */
export function chainRefusal(gid: Gid, node: NodeId): Refusal {
  return {
    sqlstate: '40001',
    message: '[multimaster] could not serialize access: conflict with a session of another node',
    detail: `Transaction ${gid} waited on node ${node} for an older session that waits for a lock itself.`,
    hint: 'Repeat the transaction.',
    node,
    retryable: true,
  };
}
