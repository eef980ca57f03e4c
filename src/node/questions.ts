/** The questions that this node answers and asks, put together. */
import type { NodeId } from '../core/identity.ts';
import type { NodeMachine } from '../core/node/node-machine.ts';
import { cancelAnswerers, CancelQuestion } from './cancel-question.ts';
import { ComparisonDesk, comparisonAnswerers } from './comparison-desk.ts';
import { ComparisonHands } from './comparison-hands.ts';
import { ddlAnswerers, ddlHandlers } from './ddl-desk.ts';
import { everywhereAnswerers, EverywhereDesk } from './everywhere-desk.ts';
import { EverywhereHands } from './everywhere-hands.ts';
import { contacts, type Members } from './members.ts';
import type { NodeParts } from './node-parts.ts';
import { PeerQuestions, type Answerer, type PeerQuestion } from './peer-questions.ts';
import { repairAnswerers, RepairDesk } from './repair-desk.ts';
import { RepairHands } from './repair-hands.ts';
import { RequestDesk } from './request-desk.ts';
import type { SessionDesk } from './session-desk.ts';
import { SnapshotDesk, snapshotAnswerers } from './snapshot-desk.ts';
import type { ServerWitness } from './server-witness.ts';
import { introduction, succession } from './succession.ts';
import { SnapshotHands } from './snapshot-hands.ts';
import { peerAnswerers, requestHandlers, type VerbNode } from './verbs.ts';

export class Questions {
  readonly #desk: RequestDesk;
  readonly #peers: PeerQuestions;
  readonly #comparisons: ComparisonDesk;
  readonly everywhere: EverywhereDesk;
  readonly cancels: CancelQuestion;

  constructor(node: VerbNode, members: Members, desk: SessionDesk, more: Readonly<Record<string, Answerer>>) {
    const { announceKey, takeOver, log, control } = node.parts;
    const { incarnation } = takeOver;
    const hands = new EverywhereHands(node.parts);
    const snapshots = new SnapshotHands(node, desk.holds);
    const comparing = new ComparisonHands(node, snapshots);
    const repairing = new RepairHands(node, snapshots);
    this.#peers = new PeerQuestions({
      incarnation,
      answerers: {
        ...peerAnswerers(node),
        ...everywhereAnswerers(node, hands),
        ...ddlAnswerers(node),
        ...snapshotAnswerers(snapshots),
        ...comparisonAnswerers(comparing),
        ...repairAnswerers(repairing),
        ...cancelAnswerers(desk),
        ...more,
      },
      linked: (to) => members.linked(to),
      send: (to, message) => members.send(to, message),
    });
    this.cancels = new CancelQuestion(this.#peers, () => node.contacts());
    this.everywhere = new EverywhereDesk(node, this.#peers, hands);
    const points = new SnapshotDesk(node, this.#peers, snapshots);
    this.#comparisons = new ComparisonDesk(node, this.#peers, points, comparing);
    const repairs = new RepairDesk(node, this.#peers, points, comparing, repairing);
    const note = (id: string, reply: object | undefined, error: object | undefined): Promise<void> =>
      control.noteReply({ id, incarnation, reply, error });
    this.#desk = new RequestDesk(
      { incarnation, announceKey, log, note },
      {
        ...requestHandlers(node, this.#peers, points, this.#comparisons),
        ...ddlHandlers(node, this.#peers),
        'repair-rows': (args: unknown) => repairs.repair(args),
      },
    );
  }

  /** A function in the server asks. */
  asked(content: string): void {
    this.#desk.received(content);
  }

  /** A peer asks or answers. */
  received(from: NodeId, message: PeerQuestion): void {
    this.#peers.received(from, message);
  }

  /** Asks another gateway. */
  ask(...question: Parameters<PeerQuestions['ask']>): Promise<unknown> {
    return this.#peers.ask(...question);
  }

  linkDown(to: NodeId, reason: string): void {
    this.#peers.linkDown(to, reason);
  }

  stop(): void {
    this.everywhere.stop();
    this.#comparisons.stop();
    this.#desk.stop();
    this.#peers.stop();
  }
}

export function newQuestions(
  parts: NodeParts,
  members: Members,
  machine: NodeMachine,
  desk: SessionDesk,
  witness: ServerWitness,
  event: VerbNode['event'],
): Questions {
  const node = {
    parts,
    machine,
    event,
    contacts: () => contacts(members, machine),
    supervises: (pid: number) => desk.supervises(pid),
  };
  const questions = new Questions(node, members, desk, {
    [succession]: (body, from) => witness.succeeded(from, body),
  });
  witness.introduce = introduction(parts, (...question) => questions.ask(...question));
  desk.everywhere = questions.everywhere;
  desk.cancels = questions.cancels;
  return questions;
}
