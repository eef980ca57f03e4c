/**
 * What the gateway can be asked, by its server's functions (mtm.ask_gateway) and by other gateways. A new
 * verb is one entry here.
 * Rule: a verb does the same when it is asked twice.
 */
import type { Configuration } from '../core/generation/configuration.ts';
import type { NodeId } from '../core/identity.ts';
import type { NodeParts } from './node-parts.ts';
import type { Answerer, PeerQuestions } from './peer-questions.ts';
import type { RequestHandler } from './request-desk.ts';
import { SequenceQuestion, sequenceStates, tellSequences } from './sequence-question.ts';

/** What verbs need of their node. */
export interface VerbNode {
  readonly parts: NodeParts;
  /** The nodes of the cluster, those that join included. */
  configuration(): Configuration;
  /** Of the generation that this node is in, itself included; empty: it is in none. */
  members(): readonly NodeId[];
  /** Peers that are heard and whose links are up. */
  contacts(): readonly NodeId[];
  /** Does a client of this gateway work in this backend, under supervision? */
  supervises(backendPid: number): boolean;
}

/** A peer that has something to look up answers within, ms. */
const peerAnswerMs = 5000;

/** Verbs of functions in the server. */
export function requestHandlers(node: VerbNode, peers: PeerQuestions): Record<string, RequestHandler> {
  const { nodeId } = node.parts.config;
  const sequences = new SequenceQuestion(node, peers);
  return {
    /** For mtm.alter_sequences(). */
    'sequence-positions': (args, asker) => sequences.answer(args, asker),
    /** Is the gateway there, and who of the others answers? */
    ping: async () => {
      const asked = node.contacts().map(async (peer) => peers.ask(peer, 'ping', {}, peerAnswerMs));
      const answers = await Promise.allSettled(asked);
      const answered = answers.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
      return { node: nodeId, answered };
    },
  };
}

/** Verbs of other gateways. */
export function peerAnswerers(node: VerbNode): Record<string, Answerer> {
  const { nodeId } = node.parts.config;
  return {
    ping: () => Promise.resolve(nodeId),
    [sequenceStates]: (args) => tellSequences(node, args),
  };
}
