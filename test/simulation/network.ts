/**
 * Links between gateways: one per direction, opened by the sender. Like TCP: messages arrive in order, or the
 * link breaks and what had not arrived is lost. As in src/io/peers, a new link closes the former one of that
 * direction first, so nothing said on an old link arrives after something said on a new one.
 */
import type { NodeId } from '../../src/core/identity.ts';
import type { PeerMessage } from '../../src/core/peer/message.ts';
import type { Identity } from './server-record.ts';
import type { World } from './world.ts';

/** Whom a gateway takes for one of its peers. */
export interface Peer {
  readonly since: number;
  readonly address: string;
}

/** What the network wants from a gateway; every call carries the incarnation that it is meant for. */
export interface Endpoint {
  readonly identity: Identity;
  readonly id: NodeId;
  readonly place: number;
  /** By id: whom it dials and lets in. */
  readonly peers: ReadonlyMap<NodeId, Peer>;
  /** Undefined while the gateway is down. */
  readonly incarnation: number | undefined;
  linkUp(to: NodeId, incarnation: number): void;
  linkDown(to: NodeId): void;
  peerStopped(from: NodeId): void;
  linkAccepted(from: NodeId, incarnation: number): void;
  received(from: NodeId, message: PeerMessage): void;
}

const maxPlaces = 1000;

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
  readonly #endpoints: Endpoint[] = [];
  /** By sender's place and id of the receiver: the link that was opened last. */
  readonly #routes: (Link | undefined)[] = [];
  /** Messages sent so far: the places where the exhaustive exploration breaks links. */
  sent = 0;
  /** Called with every message that leaves. */
  onSend: (from: number, to: NodeId, count: number) => void = () => {};
  maxDelayMs = 4;

  /** Whoever has a link to a gateway hears of its end at once, as the life lines of src/io/peers tell it. */
  lifeLines = false;

  constructor(world: World) {
    this.#world = world;
  }

  connectAll(endpoints: readonly Endpoint[]): void {
    for (const from of endpoints) for (const to of endpoints) if (from !== to) this.#makeLink(from, to);
    this.#endpoints.push(...endpoints);
  }

  /** One more machine, which nobody need know. */
  add(endpoint: Endpoint): void {
    for (const other of this.#endpoints) {
      this.#makeLink(other, endpoint);
      this.#makeLink(endpoint, other);
    }
    this.#endpoints.push(endpoint);
    // Whoever was told of it has been calling all the time.
    for (const link of this.#links) if (link.to === endpoint) this.#connectSoon(link);
  }

  #makeLink(from: Endpoint, to: Endpoint): void {
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
    this.#byPair[from.place * maxPlaces + to.place] = link;
  }

  /** By their places. */
  #link(from: number, to: number): Link {
    return this.#byPair[from * maxPlaces + to]!;
  }

  /** As PeerLinks: the address and the id fit; another `since` is another node. */
  #dials({ from, to }: Link): boolean {
    const peer = from.peers.get(to.id);
    return peer !== undefined && peer.address === to.identity.address && this.#isSame(peer, to);
  }

  #admits({ from, to }: Link): boolean {
    const peer = to.peers.get(from.id);
    return peer !== undefined && this.#isSame(peer, from);
  }

  #isSame(peer: Peer, { identity }: Endpoint): boolean {
    return peer.since === identity.since || this.#world.sabotage.takesSinceForGranted === true;
  }

  /** The endpoint has other peers from now on: links with those that are none any more are closed. */
  configured(endpoint: Endpoint): void {
    for (const link of this.#links) {
      if (link.from === endpoint) {
        if (this.#dials(link)) this.#connectSoon(link);
        else if (link.open) {
          link.open = false;
          this.#lose(link);
        }
      } else if (link.to === endpoint && !this.#admits(link)) {
        this.break(link.from.place, endpoint.place, true);
      }
    }
  }

  /** A stream beside the links, with the same handshake: who answers as that node. */
  streamTo(from: Endpoint, to: NodeId): Endpoint | undefined {
    const there = this.#endpoints.filter((other) => {
      if (other.id !== to || other === from) return false;
      const link = this.#link(from.place, other.place);
      return this.#dials(link) && this.#admits(link);
    });
    return there.find(({ incarnation }) => incarnation !== undefined) ?? there[0];
  }

  #delayMs(): number {
    return this.#world.random.between(0.2, this.maxDelayMs);
  }

  send(from: Endpoint, to: NodeId, message: PeerMessage): void {
    this.sent += 1;
    this.onSend(from.place, to, this.sent);
    const link = this.#routes[from.place * maxPlaces + to];
    if (link === undefined || !link.open || link.broken) return;
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
  passes(from: number, to: number): boolean {
    return this.#link(from, to).cutUntil <= this.#world.scheduler.now;
  }

  /** What is on its way on this link never arrives. */
  #lose(link: Link): number {
    link.queue = [];
    return (link.epoch += 1);
  }

  /** The link breaks; both ends notice at once, or the sender after a while. What was on its way is lost. */
  break(from: number, to: number, lose = this.#world.random.chance(0.5)): void {
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
  cut(from: number, to: number, ms: number): void {
    const link = this.#link(from, to);
    link.cutUntil = Math.max(link.cutUntil, this.#world.scheduler.now + ms);
  }

  heal(): void {
    for (const link of this.#links) link.cutUntil = 0;
  }

  /** A gateway died. What it had sent may still arrive; what was on its way to it is lost. */
  died(place: number): void {
    for (const link of this.#links) {
      if (link.to.place === place) {
        this.#tellEnd(link);
        this.break(link.from.place, place, true);
      }
      if (link.from.place === place) {
        link.open = false;
        link.connecting = false;
        if (this.#world.random.chance(0.5)) this.#lose(link);
      }
    }
  }

  #tellEnd(link: Link): void {
    const { from, to } = link;
    const { incarnation } = from;
    if (!this.lifeLines || !link.open || link.broken || incarnation === undefined) return;
    if (!this.passes(from.place, to.place) || !this.passes(to.place, from.place)) return;
    this.#world.scheduler.after(this.#delayMs(), () => {
      // A newer process is known by then.
      if (from.incarnation === incarnation && to.incarnation === undefined) from.peerStopped(to.id);
    });
  }

  started(place: number): void {
    for (const link of this.#links) if (link.from.place === place) this.#connectSoon(link);
  }

  #connectSoon(link: Link): void {
    const { incarnation } = link.from;
    if (link.connecting || link.open || incarnation === undefined || !this.#dials(link)) return;
    link.connecting = true;
    const attempt = (): void => {
      if (link.from.incarnation !== incarnation) return;
      const { now } = this.#world.scheduler;
      const reverseCut = this.#link(link.to.place, link.from.place).cutUntil > now;
      const target = link.to.incarnation;
      if (!this.#dials(link)) {
        link.connecting = false;
        return;
      }
      if (target === undefined || link.cutUntil > now || reverseCut || !this.#admits(link)) {
        this.#world.scheduler.after(this.#world.random.between(5, 30), attempt);
        return;
      }
      link.connecting = false;
      link.open = true;
      link.broken = false;
      this.#lose(link);
      this.#routes[link.from.place * maxPlaces + link.to.id] = link;
      link.lastArrival = now;
      link.incarnation = incarnation;
      const reverse = this.#link(link.to.place, link.from.place);
      // Seen in a handshake of either direction: what a former process said counts no more.
      if (reverse.incarnation !== target) this.#lose(reverse);
      link.to.linkAccepted(link.from.id, incarnation);
      link.from.linkUp(link.to.id, target);
    };
    this.#world.scheduler.after(this.#world.random.between(1, 30), attempt);
  }
}
