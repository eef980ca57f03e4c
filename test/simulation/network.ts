/**
 * Links between gateways: one per direction, opened by the sender. Like TCP: messages arrive in order, or the
 * link breaks and what had not arrived is lost. As in src/io/peers, a new link closes the former one of that
 * direction first, so nothing said on an old link arrives after something said on a new one.
 */
import type { NodeId } from '../../src/core/identity.ts';
import type { PeerMessage } from '../../src/core/peer/message.ts';
import type { World } from './world.ts';

/** What the network wants from a gateway; every call carries the incarnation that it is meant for. */
export interface Endpoint {
  readonly id: NodeId;
  /** Undefined while the gateway is down. */
  readonly incarnation: number | undefined;
  linkUp(to: NodeId, incarnation: number): void;
  linkDown(to: NodeId): void;
  linkAccepted(from: NodeId, incarnation: number): void;
  received(from: NodeId, message: PeerMessage): void;
}

interface Sent {
  readonly message: PeerMessage;
  readonly arrivesAt: number;
  /** The process that it is meant for. */
  readonly reader: number | undefined;
}

interface Link {
  readonly from: Endpoint;
  readonly to: Endpoint;
  /** The sender believes that it can write. */
  open: boolean;
  /** It is mistaken: nothing arrives any more. */
  broken: boolean;
  /** Raised when a link is closed: what belongs to an older one is lost. */
  epoch: number;
  /** Bytes do not get through until then, ms; they wait. */
  cutUntil: number;
  /** Sent and not yet arrived, in order. */
  queue: Sent[];
  lastArrival: number;
  /** The process that sends on it. */
  incarnation: number | undefined;
  connecting: boolean;
}

export class Network {
  readonly #world: World;
  readonly #links: Link[] = [];
  readonly #byPair: Link[] = [];
  /** Messages sent so far: the places where the exhaustive exploration breaks links. */
  sent = 0;
  /** Called with every message that leaves. */
  onSend: (from: NodeId, to: NodeId, count: number) => void = () => {};
  maxDelayMs = 4;

  constructor(world: World) {
    this.#world = world;
  }

  connectAll(endpoints: readonly Endpoint[]): void {
    for (const from of endpoints) {
      for (const to of endpoints) {
        if (from === to) continue;
        const link: Link = {
          from,
          to,
          open: false,
          broken: false,
          epoch: 0,
          cutUntil: 0,
          queue: [],
          lastArrival: 0,
          incarnation: undefined,
          connecting: false,
        };
        this.#links.push(link);
        this.#byPair[from.id * 100 + to.id] = link;
      }
    }
  }

  #link(from: NodeId, to: NodeId): Link {
    return this.#byPair[from * 100 + to]!;
  }

  #delayMs(): number {
    return this.#world.random.between(0.2, this.maxDelayMs);
  }

  send(from: NodeId, to: NodeId, message: PeerMessage): void {
    const link = this.#link(from, to);
    this.sent += 1;
    this.onSend(from, to, this.sent);
    if (!link.open || link.broken) return;
    const { now } = this.#world.scheduler;
    link.lastArrival = Math.max(link.lastArrival, now + this.#delayMs());
    link.queue.push({ message, arrivesAt: link.lastArrival, reader: link.to.incarnation });
    if (link.queue.length === 1) this.#pumpAt(link, link.lastArrival);
  }

  /** One timer per link, for its first message: so the order holds whatever delays it. */
  #pumpAt(link: Link, at: number): void {
    const { scheduler } = this.#world;
    const { epoch } = link;
    scheduler.after(Math.max(0, at - scheduler.now), () => {
      if (link.epoch !== epoch) return;
      if (link.cutUntil > scheduler.now) return this.#pumpAt(link, link.cutUntil);
      const first = link.queue.shift()!;
      const second = link.queue[0];
      if (second !== undefined) this.#pumpAt(link, second.arrivesAt);
      if (link.to.incarnation === first.reader) link.to.received(link.from.id, first.message);
    });
  }

  /** Could bytes get from one to the other at this moment, on whatever connection? */
  passes(from: NodeId, to: NodeId): boolean {
    return this.#link(from, to).cutUntil <= this.#world.scheduler.now;
  }

  /** What is on its way on this link never arrives. */
  #lose(link: Link): number {
    link.queue = [];
    return (link.epoch += 1);
  }

  /** The link breaks; both ends notice at once, or the sender after a while. What was on its way is lost. */
  break(from: NodeId, to: NodeId, lose = this.#world.random.chance(0.5)): void {
    const link = this.#link(from, to);
    if (!link.open || link.broken) return;
    link.broken = true;
    // Some of it may still arrive, until a new link takes its place: then it comes twice.
    const epoch = lose ? this.#lose(link) : link.epoch;
    const incarnation = link.from.incarnation;
    this.#world.scheduler.after(
      this.#world.random.chance(0.5) ? 0 : this.#world.random.between(0, 60),
      () => {
        if (link.epoch !== epoch || link.from.incarnation !== incarnation || incarnation === undefined)
          return;
        this.#down(link);
      },
    );
  }

  #down(link: Link): void {
    link.open = false;
    link.from.linkDown(link.to.id);
    this.#connectSoon(link);
  }

  /** Nothing gets through from `from` to `to` for a while. */
  cut(from: NodeId, to: NodeId, ms: number): void {
    const link = this.#link(from, to);
    link.cutUntil = Math.max(link.cutUntil, this.#world.scheduler.now + ms);
  }

  heal(): void {
    for (const link of this.#links) link.cutUntil = 0;
  }

  /** A gateway died. What it had sent may still arrive; what was on its way to it is lost. */
  died(node: NodeId): void {
    for (const link of this.#links) {
      if (link.to.id === node) this.break(link.from.id, node, true);
      if (link.from.id === node) {
        link.open = false;
        link.connecting = false;
        if (this.#world.random.chance(0.5)) this.#lose(link);
      }
    }
  }

  started(node: NodeId): void {
    for (const link of this.#links) if (link.from.id === node) this.#connectSoon(link);
  }

  #connectSoon(link: Link): void {
    const { incarnation } = link.from;
    if (link.connecting || link.open || incarnation === undefined) return;
    link.connecting = true;
    const attempt = (): void => {
      if (link.from.incarnation !== incarnation) return;
      const { now } = this.#world.scheduler;
      const reverseCut = this.#link(link.to.id, link.from.id).cutUntil > now;
      const target = link.to.incarnation;
      if (target === undefined || link.cutUntil > now || reverseCut) {
        this.#world.scheduler.after(this.#world.random.between(5, 30), attempt);
        return;
      }
      link.connecting = false;
      link.open = true;
      link.broken = false;
      this.#lose(link);
      link.lastArrival = now;
      link.incarnation = incarnation;
      const reverse = this.#link(link.to.id, link.from.id);
      // Seen in a handshake of either direction: what a former process said counts no more.
      if (reverse.incarnation !== target) this.#lose(reverse);
      link.to.linkAccepted(link.from.id, incarnation);
      link.from.linkUp(link.to.id, target);
    };
    this.#world.scheduler.after(this.#world.random.between(1, 30), attempt);
  }
}
