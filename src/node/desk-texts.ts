/** What clients are told by the session desk, and its SQL literals. */
import type { ErrorText } from '../core/wire/messages.ts';

export const heldBack: ErrorText = {
  severity: 'ERROR',
  sqlstate: '40001',
  message: '[multimaster] commits are held back for a moment: the nodes are compared or repaired',
};

export interface Trouble {
  readonly node: number;
  readonly text: string;
}

/** What a client is told that wants something of this node now. */
export function notOnline(
  severity: 'FATAL' | 'ERROR',
  trouble: { readonly status: string; readonly reason: string },
): ErrorText {
  return {
    severity,
    sqlstate: '57P03',
    message: `[multimaster] node is not online: current status "${trouble.status}"`,
    detail: trouble.reason,
    hint:
      'Use another node, or bring the missing ones back; mtm.status() in a session with ' +
      'application_name=mtm_admin tells more.',
  };
}

export function notAllMembers(missing: readonly Trouble[]): ErrorText {
  return {
    severity: 'ERROR',
    sqlstate: '57P03',
    message: '[multimaster] a write needs all members of the generation, and not all can be reached',
    detail: missing.map(({ node, text }) => `Node ${node}: ${text}.`).join(' '),
    hint: 'Reads go on. Bring the node back; a write that was refused has left nothing behind.',
  };
}

export function notReplicated(database: string): ErrorText {
  return {
    severity: 'ERROR',
    sqlstate: '0A000',
    message: `[multimaster] the database "${database}" is not replicated: it is only read through a gateway`,
    hint:
      'Use a database of the cluster (postgres.database and postgres.more_databases of gateway.yaml), or ' +
      'application_name=mtm_admin for unsupervised work on this node.',
  };
}

export function dollarQuoted(text: string): string {
  let tag = 'mtm';
  while (text.includes(`$${tag}$`)) tag += 'x';
  return `$${tag}$${text}$${tag}$`;
}
