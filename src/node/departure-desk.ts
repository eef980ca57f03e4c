/**
 * A node that is about to leave its server for another one (`mtm-gateway prepare-upgrade`): it takes part in
 * nothing, until the others are online in a generation without it.
 *
 * Rules: it never votes, because it is unhealthy. It has departed when it has rolled back what was prepared
 * here, by the same rule as a node that begins to replay (core/node/execution.ts), and when every other node
 * is online: until it is back, its history is only on them.
 */
import { nodesOf } from '../core/generation/configuration.ts';
import type { Gid, NodeId } from '../core/identity.ts';
import type { NodeMachine } from '../core/node/node-machine.ts';
import type { ClientBranches } from '../io/postgres/client-branches.ts';
import type { OutcomeNotes } from './outcome-notes.ts';

interface DepartingNode {
  readonly self: NodeId;
  readonly machine: NodeMachine;
  readonly branches: Pick<ClientBranches, 'clear'>;
  readonly outcomes: Pick<OutcomeNotes, 'flush'>;
}

const lookMs = 100;
const preparing = 'it is prepared for an upgrade of its PostgreSQL';

export class DepartureDesk {
  /** Why the node does not take part. */
  readonly waiting = preparing;
  #node: DepartingNode | undefined;
  #rolledBack = false;
  #timer: NodeJS.Timeout | undefined;
  #resolve: (gids: readonly Gid[]) => void = () => undefined;
  #reject: (error: Error) => void = () => undefined;
  /** What is committed here and not known to be finished everywhere. */
  readonly departed: Promise<readonly Gid[]>;

  constructor() {
    this.departed = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.departed.catch(() => undefined); // whoever waits for it hears of it
  }

  begin(
    self: NodeId,
    machine: NodeMachine,
    branches: DepartingNode['branches'],
    outcomes: DepartingNode['outcomes'],
  ): void {
    this.#node = { self, machine, branches, outcomes };
    this.#timer = setInterval(() => this.#look(performance.now()), lookMs);
  }

  /** A donor is there, and nothing of this node's is prepared any more. */
  rolledBack(): void {
    this.#rolledBack = true;
  }

  /** Why it has not departed yet. */
  obstacle(now: number): string {
    const record = this.#node?.machine.generation;
    if (this.#node === undefined || record === undefined) return 'the gateway is starting';
    const { self, machine } = this.#node;
    if (record.joining.length > 0) return `node ${record.joining.join(', ')} is being added`;
    const online = machine.liveness.contacts(now).filter(({ onlineIn }) => onlineIn === record.number);
    const others = nodesOf(record).filter((node) => node !== self);
    const missing = others.filter((each) => !online.some(({ node }) => node === each));
    if (others.length === 0) return 'it is the only node of its cluster';
    if (record.members.includes(self) || missing.length === others.length)
      return 'the others are not online in a generation without it';
    if (missing.length > 0) return `node ${missing.join(', ')} is not online`;
    return this.#rolledBack ? '' : 'transactions are being finished here';
  }

  /** Nothing is looked at any more. */
  end(): void {
    clearInterval(this.#timer);
  }

  #look(now: number): void {
    if (this.#node === undefined || this.obstacle(now) !== '') return;
    this.end();
    this.#leave(this.#node).then(this.#resolve, this.#reject);
  }

  async #leave(node: DepartingNode): Promise<readonly Gid[]> {
    // What clients have prepared is prepared again from its rows.
    await node.branches.clear();
    await node.outcomes.flush();
    return [...node.machine.memory.gids()];
  }
}
