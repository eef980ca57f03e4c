/** What client sessions are told of their node, and what they tell it. */
import type { HybridClock } from '../core/generation/hybrid-clock.ts';
import type { Gid } from '../core/identity.ts';
import type { PrepareEnd } from '../core/session/ports.ts';
import type { NodeMachine } from '../core/node/node-machine.ts';
import type { Drain } from './drain.ts';
import type { LocalServer } from './local-server.ts';
import type { NodeParts } from './node-parts.ts';
import type { Patience } from './patience.ts';
import type { DeskNode } from './session-desk.ts';

export interface DeskNodeParts {
  readonly parts: NodeParts;
  readonly machine: NodeMachine;
  readonly drain: Drain;
  readonly server: LocalServer;
  readonly patience: Patience;
  readonly clock: HybridClock;
  /** New transactions are stamped with it; undefined: none may begin. */
  generation(): number | undefined;
}

const nothing = new Uint8Array(0);

export function deskNode(node: DeskNodeParts): DeskNode {
  const { machine, drain, patience, clock } = node;
  const { classifier, announceKey, takeOver, control, config } = node.parts;
  const { liveness } = machine;
  return {
    classifier,
    incarnation: takeOver.incarnation,
    branches: node.server.branchDesk,
    announceKey,
    newestMinor: takeOver.serverVersion >= 180_000 ? 2 : 0,
    generation: () => node.generation(),
    clock: () => clock.read(Date.now()),
    notOnline: () => {
      const now = performance.now();
      if (liveness.hasLease(now)) return undefined;
      return { ...machine.status(now), passing: patience.forService(now) };
    },
    unreachable: () => {
      const now = performance.now();
      if (liveness.membersReachable(now)) return undefined;
      return { members: liveness.unreachableMembers(now), passing: patience.forMembers(now) };
    },
    prepareSent: (gid, startTime) => drain.push({ kind: 'prepare-sent', gid, startTime }),
    prepareEnded: (gid, end) => prepareEnded(drain, gid, end),
    heldOpen: (gid, xid, pid) => node.server.open.heldOpen(gid, xid, pid),
    openEnded: (gid, end) => {
      if (end === 'failed') void node.server.open.failed(gid);
      else node.server.open.ended(gid, end);
    },
    prepareLost: (gid, pid) => {
      void (node.server.open.holds(gid)
        ? node.server.open.sessionLost(gid)
        : node.server.prepareLost(gid, pid));
    },
    giveUp: (gid) => drain.push({ kind: 'client-cancelled', gid }),
    deliveryFailed: (reason) => node.server.notifier.lost(1, reason),
    mayBypass: (user) => control.mayBypass(user, config.adminRole),
    consoleRights: (user) => control.consoleRights(user, config.adminRole),
    scramVerifier: (user) => control.scramVerifier(user),
  };
}

function prepareEnded(drain: Drain, gid: Gid, end: PrepareEnd): void {
  if (end === 'failed') return drain.push({ kind: 'prepare-failed', gid });
  drain.push({ kind: 'prepare-returned', gid, early: end === 'early' });
  // Without a transaction id there is nothing that the slot could show.
  if (end === 'empty') drain.push({ kind: 'captured', gid, ddl: false, data: nothing, last: true });
}
