/** What can break, chosen from a seed; how it is broken, and how it is mended. */
import { stopNode } from '../../../src/io/launcher/embedded-cluster.ts';
import { gatewayPid } from '../../../src/io/launcher/gateway-process.ts';
import { postgresPid } from '../../../src/io/launcher/postgres-server.ts';
import type { Prng } from '../../../src/lib/prng.ts';
import { killGateway, killServer, pauseGateway, pauseServer, resumeProcesses } from './process-faults.ts';
import type { Site } from './site.ts';

/** Of one node. */
export const processFaults = [
  'kill gateway',
  'kill server',
  'kill both',
  'pause gateway',
  'pause server',
  'restart gateway',
  'restart server',
] as const;

export const networkFaults = ['cut off', 'cut link', 'lose one way'] as const;

export type FaultKind = (typeof processFaults)[number] | (typeof networkFaults)[number] | 'kill all';

export interface Fault {
  readonly kind: FaultKind;
  readonly node: number;
  /** The other end of a link. */
  readonly other: number;
  /** How long it stays broken. */
  readonly holdMs: number;
  /** In which order what was killed is started again. */
  readonly order: readonly number[];
}

export function faultText({ kind, node, other, holdMs, order }: Fault): string {
  const where = kind === 'kill all' ? `all, start order ${order.join(' ')}` : `node ${node}`;
  const link = kind === 'cut link' || kind === 'lose one way' ? ` → ${other}` : '';
  return `${kind} (${where}${link}), ${(holdMs / 1000).toFixed(1)} s`;
}

function randomFault(random: Prng, kind: FaultKind, numbers: readonly number[]): Fault {
  const order = random.shuffled(numbers);
  const [node = 1, other = 1] = random.shuffled(numbers);
  return { kind, node, other, order, holdMs: Math.round(random.between(2500, 6000)) };
}

/** Broken only for a moment. */
export function shortFault(random: Prng, kind: FaultKind, numbers: readonly number[]): Fault {
  return { ...randomFault(random, kind, numbers), holdMs: 1000 };
}

/** `count` faults: each kind comes before any comes again. */
export function randomFaults(
  random: Prng,
  kinds: readonly FaultKind[],
  numbers: readonly number[],
  count: number,
): Fault[] {
  const faults: Fault[] = [];
  while (faults.length < count) {
    for (const kind of random.shuffled(kinds)) faults.push(randomFault(random, kind, numbers));
  }
  return faults.slice(0, count);
}

/** Resolves when it is broken. A restart is over then, too. */
export async function inflict(site: Site, fault: Fault): Promise<void> {
  const node = site.node(fault.node);
  const network = site.network;
  switch (fault.kind) {
    case 'kill gateway':
      return killGateway(node);
    case 'kill server':
      return killServer(node);
    case 'kill both':
      await Promise.all([killGateway(node), killServer(node)]);
      return;
    case 'kill all':
      await Promise.all(site.nodes.flatMap((each) => [killGateway(each), killServer(each)]));
      return;
    case 'pause gateway':
      return pauseGateway(node);
    case 'pause server':
      return pauseServer(node);
    case 'restart gateway':
      await stopNode(node, ['gateway']);
      return site.startGateway(fault.node);
    case 'restart server':
      await stopNode(node, ['postgres']);
      return site.startServer(fault.node);
    case 'cut off':
      return network?.cutOff(fault.node);
    case 'cut link':
      return network?.cutLink(fault.node, fault.other);
    case 'lose one way':
      return network?.loseOneWay(fault.node, fault.other);
  }
}

/** Everything runs again and every link is open; nobody need be online yet. */
export async function mend(site: Site, order: readonly number[]): Promise<void> {
  site.network?.heal();
  resumeProcesses(site.nodes);
  for (const number of order) {
    if (postgresPid(site.node(number)) === undefined) await site.startServer(number);
    if (gatewayPid(site.node(number)) === undefined) await site.startGateway(number);
  }
}
