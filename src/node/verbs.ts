/**
 * What the gateway can be asked, by its server's functions (mtm.ask_gateway) and by other gateways. A new
 * verb is one entry here.
 * Rule: a verb does the same when it is asked twice.
 */
import type { NodeId } from '../core/identity.ts';
import type { NodeMachine } from '../core/node/node-machine.ts';
import type { ComparisonDesk } from './comparison-desk.ts';
import type { Happening } from './drain.ts';
import { copyEnd, MembershipDesk } from './membership-desk.ts';
import type { NodeParts } from './node-parts.ts';
import type { Answerer, PeerQuestions } from './peer-questions.ts';
import type { SnapshotDesk } from './snapshot-desk.ts';
import type { RequestHandler } from './request-desk.ts';
import { SequenceQuestion, sequenceStates, tellSequences } from './sequence-question.ts';

/** What verbs need of their node. */
export interface VerbNode {
  readonly parts: NodeParts;
  /** Peers that are heard and whose links are up. */
  contacts(): readonly NodeId[];
  /** Does a client of this gateway work in this backend, under supervision? */
  supervises(backendPid: number): boolean;
  readonly machine: NodeMachine;
  event(event: Happening): void;
}

/** A peer that has something to look up answers within, ms. */
const peerAnswerMs = 5000;

/** Verbs of functions in the server. */
export function requestHandlers(
  node: VerbNode,
  peers: PeerQuestions,
  snapshots: SnapshotDesk,
  comparisons: ComparisonDesk,
): Record<string, RequestHandler> {
  const { config } = node.parts;
  const { nodeId } = config;
  const membership = new MembershipDesk({
    config,
    machine: node.machine,
    event: (event) => node.event(event),
    ask: (to, verb, args, timeoutMs) => peers.ask(to, verb, args, timeoutMs),
  });
  const sequences = new SequenceQuestion(node, peers);
  return {
    /** For mtm.alter_sequences(). */
    'sequence-positions': (args, asker) => sequences.answer(args, asker),
    'check-query': (args) => snapshots.check(args),
    'get-snapshots': (args, asker) => snapshots.get(args, asker),
    'free-snapshots': (args, asker) => snapshots.release(args, asker),
    'begin-comparison': (args, asker) => comparisons.begin(args, asker),
    'comparison-news': (args, asker) => comparisons.news(args, asker),
    'add-node': (args) => membership.add(args),
    'join-node': (args) => membership.join(args),
    'drop-node': (args) => membership.drop(args),
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
    'copy-end': () => Promise.resolve(copyEnd(node.parts.seed)),
  };
}
