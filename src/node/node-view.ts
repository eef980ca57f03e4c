/**
 * What the status page and the metrics show of a node, read from its parts when somebody asks.
 * Rule: it changes nothing and asks the server nothing.
 */
import type { ClientsReport, DatabaseReport, NodeReport, NodeState } from '../admin/status-report.ts';
import type { GatewayConfig } from '../config/schema.ts';
import { nodesOf } from '../core/generation/configuration.ts';
import type { Contact } from '../core/generation/liveness-event.ts';
import { majoritySize } from '../core/generation/quorum.ts';
import type { NodeId } from '../core/identity.ts';
import type { NodeMachine } from '../core/node/node-machine.ts';
import type { ClientSession } from '../io/clients/client-session.ts';
import type { PeerLinks } from '../io/peers/peer-links.ts';
import type { Applier } from '../io/postgres/applier.ts';
import type { ApplyDesk } from './apply-desk.ts';
import type { RecoveryDesk } from './recovery-desk.ts';
import type { SessionDesk } from './session-desk.ts';

export interface ViewedNode {
  readonly config: GatewayConfig;
  readonly machine: NodeMachine;
  readonly links: PeerLinks;
  readonly desk: SessionDesk;
  readonly apply: ApplyDesk;
  readonly applier: Applier;
  readonly recovery: RecoveryDesk;
  /** WAL that the server keeps for others, bytes. */
  retained(): number;
}

export class NodeView {
  readonly #node: ViewedNode;

  constructor(node: ViewedNode) {
    this.#node = node;
  }

  /** It serves clients. */
  get ready(): boolean {
    const { desk, machine } = this.#node;
    return !desk.draining && machine.liveness.hasLease(performance.now());
  }

  /** It serves them writes, too. */
  get writable(): boolean {
    return this.ready && this.#node.machine.liveness.membersReachable(performance.now());
  }

  get report(): DatabaseReport {
    const { config, machine, desk, apply, applier, recovery, links } = this.#node;
    const now = performance.now();
    const { status, reason } = machine.status(now);
    return {
      database: config.postgres.database,
      status,
      reason,
      ready: this.ready,
      writable: this.writable,
      draining: desk.draining,
      generation: generationReport(machine, now),
      nodes: nodesOf(machine.configuration).map((id) => nodeReport(this.#node, id, now, { status, reason })),
      catchUp: recovery.progress,
      clients: clientsReport(desk.sessions, config.maxConnections),
      clientMemoryBytes: desk.memoryBytes,
      clientMemoryLimitBytes: config.maxClientMemoryBytes,
      open: openOf(machine),
      apply: {
        transactions: apply.size,
        connections: applier.connections,
        unappliedBytes: apply.unappliedBytes + machine.openTransactions.keptBytes,
      },
      retainedWalBytes: this.#node.retained(),
      retainedWalLimitBytes: config.maxRetainedWalBytes,
      refusedPeers: Object.fromEntries(links.refusals.counts),
      referee: config.referee !== undefined,
    };
  }
}

function generationReport(machine: NodeMachine, now: number): DatabaseReport['generation'] {
  const { liveness, generation, configuration } = machine;
  const members = generation?.members ?? [];
  const troubled = liveness.unreachableMembers(now).map(({ node }) => node);
  return {
    number: generation?.number ?? 0,
    members,
    membersOnline: liveness.onlineIn === 0 ? [] : members.filter((member) => !troubled.includes(member)),
    configured: configuration.configured,
    joining: configuration.joining,
    majority: majoritySize(configuration.configured.length),
    inMajority: liveness.inMajority(now),
  };
}

function openOf({ openTransactions: { own, foreign } }: NodeMachine): DatabaseReport['open'] {
  return { own, foreign };
}

interface OwnWords {
  readonly status: NodeState;
  readonly reason: string;
}

function nodeReport(node: ViewedNode, id: NodeId, now: number, own: OwnWords): NodeReport {
  const { config, machine, links, recovery } = node;
  const { generation, configuration, liveness } = machine;
  const isSelf = id === config.nodeId;
  const contact = liveness.contacts(now).find((one) => one.node === id);
  const link = links.linkStatus().find((one) => one.node === id);
  const lagBytes = recovery.given.find(({ to }) => to === id)?.lagBytes;
  const shown = isSelf ? own : peerWords(node, id, contact, now, lagBytes !== undefined);
  const { host, port } = isSelf ? config.listen : (link?.address ?? { host: '', port: 0 });
  return {
    id,
    isSelf,
    state: shown.status,
    reason: shown.reason,
    isMember: generation?.members.includes(id) === true,
    isConfigured: configuration.configured.includes(id),
    hears: isSelf ? liveness.connected(now) : (contact?.connected ?? []),
    address: host === '' ? '' : `${host}:${port}`,
    link:
      link === undefined
        ? null
        : {
            outgoing: link.connected,
            incoming: link.incoming,
            reason: link.reason?.text ?? '',
            silenceSeconds: link.lastHeardMs === undefined ? null : Math.round(link.lastHeardMs) / 1000,
            sentBytes: link.sentBytes,
            receivedBytes: link.receivedBytes,
          },
    lagBytes: lagBytes ?? null,
  };
}

function peerWords(
  { machine }: ViewedNode,
  id: NodeId,
  contact: Contact | undefined,
  now: number,
  catchesUp: boolean,
): OwnWords {
  const { generation, configuration, liveness } = machine;
  const trouble = liveness.missing(now).find(({ node }) => node === id)?.text ?? '';
  if (contact === undefined) return { status: 'away', reason: trouble === '' ? 'not heard yet' : trouble };
  if (!contact.healthy) return { status: 'disabled', reason: trouble };
  if (contact.onlineIn !== 0 && contact.onlineIn === generation?.number)
    return { status: 'online', reason: '' };
  if (catchesUp) return { status: 'catchup', reason: 'replays what it missed from this node' };
  if (configuration.joining.includes(id)) return { status: 'joining', reason: 'was added and gets level' };
  return { status: 'getting online', reason: 'in contact, not online yet' };
}

function clientsReport(sessions: Iterable<ClientSession>, most: number): ClientsReport {
  const counts = { idle: 0, active: 0, inTransaction: 0, committing: 0, loggingIn: 0, unsupervised: 0 };
  let total = 0;
  for (const session of sessions) {
    total++;
    counts[stateOf(session)]++;
  }
  return { total, most, ...counts };
}

function stateOf({
  machine,
  loggedIn,
  supervised,
}: ClientSession): keyof Omit<ClientsReport, 'total' | 'most'> {
  if (!loggedIn) return 'loggingIn';
  if (!supervised) return 'unsupervised';
  if (machine.preparing) return 'committing';
  if (machine.idle) return 'idle';
  return machine.awaitsServer || machine.block === undefined ? 'active' : 'inTransaction';
}
