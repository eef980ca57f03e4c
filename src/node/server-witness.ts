/**
 * Peers are witnesses for each other's servers: one that went back in time (a restored backup, another data
 * folder) may have forgotten votes and commits, so it must not take part again.
 *
 * Each node tells where its server is, when a link comes up and every ten seconds; whoever hears it compares
 * it with what it remembers durably, and answers. A refusal ends the gateway.
 * Rule: a node that has just started is unhealthy, so it does not vote, until everybody that it hears has
 * answered, and at least one; if nobody is heard for a while, there is nobody who could know better.
 */
import type { Logger } from 'pino';
import type { NodeId } from '../core/identity.ts';
import type { PeerMessage } from '../core/peer/message.ts';
import { formatLsn } from '../io/postgres/lsn-text.ts';
import type { Control } from '../io/postgres/control.ts';
import {
  judgePosition,
  notePeerPosition,
  readPosition,
  type RememberedPosition,
  type ServerPosition,
} from '../io/store/server-position.ts';
import type { ServerPositionMessage } from './members.ts';
import { isSuccessor, readSuccession } from './succession.ts';

const tellMs = 10_000;
/** Until somebody has answered it is told more often. */
const urgeMs = 1000;
/** More timelines than a server will ever have left. */
const mostBranches = 256;

export interface WitnessNode {
  readonly self: NodeId;
  peers(): readonly NodeId[];
  /** Since when the id means this node (core/generation/configuration.ts). */
  since(peer: NodeId): number;
  /** How long a node that hears nobody waits for a word: then it is on its own, ms. */
  readonly aloneMs: number;
  send(to: NodeId, message: PeerMessage): void;
  /** Heard lately, and their links are up. */
  contacts(): readonly NodeId[];
  /** A peer remembers another server. */
  refused(reason: string): void;
  /** Something was answered: the health may have changed. */
  answered(): void;
}

export interface WitnessMemory {
  /** Where the own server was before this process had written anything. */
  readonly atStart: ServerPosition;
  /** What loadPeerPositions gave. */
  readonly known: Map<NodeId, RememberedPosition>;
}

export class ServerWitness {
  readonly #control: Control;
  readonly #atStart: ServerPosition;
  readonly #known: Map<NodeId, RememberedPosition>;
  readonly #node: WitnessNode;
  readonly #log: Logger;
  readonly #notedAt = new Map<NodeId, number>();
  /** They have nothing against this node's server. */
  readonly #content = new Set<NodeId>();
  /** They know of the servers that this node had before, as far as the link reaches back. */
  readonly #introduced = new Set<NodeId>();
  #startedAt: number | undefined;
  /** Once it may take part it is not stopped for a peer that comes later, unless that one refuses. */
  #admitted = false;
  #toldAt = -Infinity;
  /** Resolves when a peer knows of the servers that this node had before; undefined: it had none. */
  introduce: ((to: NodeId) => Promise<void>) | undefined;
  /** Positions are read one at a time, so that they arrive in their order. */
  #telling: Promise<void> = Promise.resolve();

  constructor(control: Control, memory: WitnessMemory, log: Logger, node: WitnessNode) {
    this.#control = control;
    this.#atStart = memory.atStart;
    this.#known = memory.known;
    this.#log = log;
    this.#node = node;
  }

  /** Why this node must not take part yet. */
  trouble(now: number): string | undefined {
    if (this.#admitted) return undefined;
    this.#startedAt ??= now;
    const contacts = this.#node.contacts();
    const silent = contacts.filter((node) => !this.#content.has(node));
    if (this.#node.peers().length > 0) {
      if (silent.length > 0) return `it waits for the word of node ${silent.join(', ')} on its PostgreSQL`;
      if (this.#content.size === 0 && now - this.#startedAt < this.#node.aloneMs)
        return 'it waits for what the other nodes remember of its PostgreSQL';
    }
    this.#admitted = true;
    return undefined;
  }

  linkUp(to: NodeId): void {
    // Behind the new link may be a former server of theirs, which has slept through an upgrade of ours.
    this.#introduced.delete(to);
    this.#tell([to]);
  }

  /** To be called often. */
  look(now: number): void {
    if (now - this.#toldAt < (this.#admitted ? tellMs : urgeMs)) return;
    this.#toldAt = now;
    this.#tell(this.#node.peers());
  }

  received(from: NodeId, message: ServerPositionMessage): void {
    if (message.kind === 'server-position') return this.#judge(from, message);
    if (message.refusal !== '') return this.#node.refused(message.refusal);
    this.#content.add(from);
    if (!this.#admitted) this.#node.answered();
  }

  /** Who has not answered is told where the server was at the start: what it was since proves nothing. */
  #tell(nodes: readonly NodeId[]): void {
    const content = nodes.filter((node) => this.#content.has(node) && this.#introduced.has(node));
    for (const node of nodes) if (!content.includes(node)) this.#introduce(node);
    if (content.length === 0) return;
    this.#telling = this.#telling.then(async () => {
      try {
        const now = await readPosition(this.#control.client);
        for (const node of content) this.#send(node, now);
      } catch {
        // The connection reports its own end; until then it is asked again.
      }
    });
  }

  #introduce(to: NodeId): void {
    const tell = (): void => {
      this.#introduced.add(to);
      // Behind a later position that of the start would look like a server that went back.
      if (this.#content.has(to)) this.#tell([to]);
      else this.#send(to, this.#atStart);
    };
    // One that cannot be told refuses the server, and says so.
    if (this.introduce === undefined) tell();
    else void this.introduce(to).then(tell, tell);
  }

  /** Answers the question `succession`: from now on the node is known by its present server, durably. */
  async succeeded(from: NodeId, body: unknown): Promise<boolean> {
    const said = readSuccession(body);
    const since = this.#node.since(from);
    const known = this.#known.get(from);
    if (known?.since !== since || !isSuccessor(known, said)) return false;
    const { systemIdentifier, timeline, flushed } = said.server;
    const position = { systemIdentifier, timeline, flushed, since };
    await notePeerPosition(this.#control.client, from, position);
    this.#known.set(from, position);
    this.#log.warn(
      { node: from, system: systemIdentifier },
      'a node has another PostgreSQL: it was upgraded',
    );
    return true;
  }

  #send(to: NodeId, { branches, ...position }: ServerPosition): void {
    const message = { ...position, branches: branches.slice(-mostBranches) };
    this.#node.send(to, { kind: 'server-position', ...message });
  }

  #judge(from: NodeId, position: ServerPosition): void {
    const since = this.#node.since(from);
    // What is remembered of another node that had this id says nothing.
    const remembered = this.#known.get(from);
    const known = remembered?.since === since ? remembered : undefined;
    const verdict = judgePosition(known, position);
    let refusal = '';
    if (verdict !== 'as-known' && known !== undefined) {
      refusal = sentence(this.#node.self, from, known, position, verdict);
      this.#log.error(
        { node: from, reason: refusal },
        'the server of a peer is not what it was: it is refused',
      );
    } else this.#remember(from, position);
    this.#node.send(from, { kind: 'server-position-verdict', refusal });
  }

  #remember(from: NodeId, { systemIdentifier, timeline, flushed }: ServerPosition): void {
    const position = { systemIdentifier, timeline, flushed, since: this.#node.since(from) };
    this.#known.set(from, position);
    const now = performance.now();
    if (now - (this.#notedAt.get(from) ?? -Infinity) < tellMs) return;
    this.#notedAt.set(from, now);
    // Not waited for: an older position only recognises less, and the connection reports its own end.
    notePeerPosition(this.#control.client, from, position).catch(() => undefined);
  }
}

function sentence(
  self: NodeId,
  from: NodeId,
  known: RememberedPosition,
  now: ServerPosition,
  verdict: 'other-server' | 'went-back',
): string {
  if (verdict === 'other-server') {
    const ids = `system identifier ${known.systemIdentifier}, now ${now.systemIdentifier}`;
    return `node ${self} knows another PostgreSQL as that of node ${from} (${ids})`;
  }
  const then = `${formatLsn(known.flushed)} on timeline ${known.timeline}`;
  const here = `${formatLsn(now.flushed)} on timeline ${now.timeline}`;
  const past = `node ${self} remembers it at ${then}, now it is at ${here}`;
  return `the PostgreSQL of node ${from} went back in time: ${past}`;
}
