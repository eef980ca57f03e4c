/**
 * Servers that took the place of others (io/store/departure.ts), told from gateway to gateway: whoever knows
 * a node by its former server learns of the present one before it judges where that is.
 * Rule: a successor is believed when what is remembered is one of its predecessors and no further than where
 * that one was left; so a server that was used again since has no successor.
 */
import { z } from 'zod';
import { formatLsn, parseLsn } from '../io/postgres/lsn-text.ts';
import type { NodeId } from '../core/identity.ts';
import type { NodeParts } from './node-parts.ts';
import type { PeerQuestions } from './peer-questions.ts';
import { judgePosition, type RememberedPosition, type ServerPosition } from '../io/store/server-position.ts';

/** The verb of the question. */
export const succession = 'succession';
/** A node has not had more servers. */
const mostPredecessors = 64;

const lsn = z
  .string()
  .regex(/^[0-9A-Fa-f]{1,8}\/[0-9A-Fa-f]{1,8}$/)
  .transform(parseLsn);
const position = z.object({
  systemIdentifier: z.string().max(20),
  timeline: z.number().int(),
  flushed: lsn,
  branches: z.array(z.object({ timeline: z.number().int(), at: lsn })).max(256),
});
const message = z.object({ server: position, predecessors: z.array(position).max(mostPredecessors) });

export type Succession = z.output<typeof message>;

/** As JSON. */
export function successionOf(server: ServerPosition, predecessors: readonly ServerPosition[]): object {
  return { server: asJson(server), predecessors: predecessors.slice(-mostPredecessors).map(asJson) };
}

function asJson({ branches, flushed, ...rest }: ServerPosition): object {
  const shown = branches.slice(-256).map(({ timeline, at }) => ({ timeline, at: formatLsn(at) }));
  return { ...rest, flushed: formatLsn(flushed), branches: shown };
}

/** Throws when it is not what a gateway says. */
export function readSuccession(body: unknown): Succession {
  return message.parse(body);
}

/** Is the server the successor of the one that is remembered? */
export function isSuccessor(
  known: Omit<RememberedPosition, 'since'>,
  { server, predecessors }: Succession,
): boolean {
  if (known.systemIdentifier === server.systemIdentifier) return false;
  return predecessors.some(
    (former) =>
      former.systemIdentifier === known.systemIdentifier && judgePosition(known, former) === 'as-known',
  );
}

/** Within it a peer has answered, ms. */
const answerMs = 5000;

/** Tells a peer of the servers that this node had before; undefined: it had none. */
export function introduction(
  { positionAtStart, predecessors }: Pick<NodeParts, 'positionAtStart' | 'predecessors'>,
  ask: PeerQuestions['ask'],
): ((to: NodeId) => Promise<void>) | undefined {
  if (predecessors.length === 0) return undefined;
  const body = successionOf(positionAtStart, predecessors);
  return async (to) => void (await ask(to, succession, body, answerMs));
}
