/**
 * Several election machines in a world that loses, delays and doubles messages, crashes nodes before their
 * stores have written, and changes who hears whom. Around them a minimal commit protocol: ballot 0 as in
 * architecture §3. What is checked stands in `Checker`: it sees everything and is as dumb as possible.
 */
import { Election } from '../../../../src/core/generation/election.ts';
import type { ElectionEffect } from '../../../../src/core/generation/election-event.ts';
import { Exclusion } from '../../../../src/core/generation/exclusion.ts';
import type { Contact } from '../../../../src/core/generation/liveness-event.ts';
import { blockingSize, majoritySize } from '../../../../src/core/generation/quorum.ts';
import { freshState } from '../../../../src/core/generation/record.ts';
import type {
  DurableChange,
  DurableState,
  GenerationRecord,
} from '../../../../src/core/generation/record.ts';
import { parseGid, type Gid, type NodeId } from '../../../../src/core/identity.ts';
import type { ElectionMessage } from '../../../../src/core/peer/message.ts';
import { Prng } from '../../../../src/lib/prng.ts';

const sendTimeoutMs = 40;
const recvTimeoutMs = 1200;

/** Switches that break the rule, to see that the checker sees it. */
export type Mutant =
  | 'promise-forgotten'
  | 'vote-while-preparing'
  | 'behind-counts'
  | 'silence-does-not-bind'
  | 'decides-after-the-vote'
  | 'told-before-durable'
  | 'forgotten-early'
  | 'nothing-carried';

type TransactionMessage = {
  readonly kind: 'begin' | 'yes' | 'no' | 'undo' | 'undone' | 'commit';
  readonly gid: Gid;
};
interface Message {
  readonly from: NodeId;
  readonly to: NodeId;
  readonly body: { readonly election: ElectionMessage } | { readonly transaction: TransactionMessage };
}

class Violation extends Error {}

/** What nobody in the world knows: everything. */
class Checker {
  readonly records = new Map<number, string>();
  /** Committed on some node, or told to a client. */
  readonly committed = new Set<Gid>();
  /** Aborted for good: announced, or rolled back by a complete node. */
  readonly aborted = new Set<Gid>();
  online = 0;

  chosen(record: GenerationRecord): void {
    const text = JSON.stringify(record);
    const known = this.records.get(record.number);
    if (known !== undefined && known !== text)
      throw new Violation(`two records are chosen with number ${record.number}: ${known} ${text}`);
    this.records.set(record.number, text);
    if (record.members.length < majoritySize(record.configured.length))
      throw new Violation(`generation ${record.number} has no majority`);
  }

  commit(gid: Gid): void {
    if (this.aborted.has(gid)) throw new Violation(`${gid} was aborted and commits`);
    this.committed.add(gid);
  }

  abort(gid: Gid): void {
    if (this.committed.has(gid)) throw new Violation(`${gid} was committed and aborts`);
    this.aborted.add(gid);
  }

  /** The node is online in the generation: it has everything that was committed before. */
  nowOnline(node: Peer, number: number): void {
    this.online += 1;
    for (const gid of this.committed) {
      if (parseGid(gid)!.generation < number && !node.committed.has(gid))
        throw new Violation(`node ${node.id} is online in ${number} without ${gid}`);
    }
    for (const gid of node.prepared) {
      if (parseGid(gid)!.generation < number)
        throw new Violation(`node ${node.id} is online in ${number} and still holds ${gid}`);
    }
  }
}

interface Own {
  readonly votes: Set<NodeId>;
  readonly gone: Set<NodeId>;
  aborting: boolean;
}

/** One node: its disk, and while it is up its process. */
class Peer {
  readonly id: NodeId;
  state: DurableState = freshState();
  readonly prepared = new Set<Gid>();
  readonly committed = new Set<Gid>();
  election: Election | undefined;
  writes: { readonly token: number; readonly change: DurableChange }[] = [];
  online = 0;
  taking = false;
  /** PREPAREs on their way. */
  readonly preparing = new Set<Gid>();
  readonly own = new Map<Gid, Own>();
  /** Refused by this process. */
  readonly refused = new Set<Gid>();
  /** Prepared by this process, so that a late outcome is for it. */
  readonly known = new Set<Gid>();
  /** Committed, and known to this process to be finished everywhere: told no more. */
  readonly forgotten = new Set<Gid>();
  /** All members of this generation were seen online in it. */
  releasedIn = 0;
  incarnation = 0;
  noting = 0;

  constructor(id: NodeId) {
    this.id = id;
  }
}

export class Network {
  readonly #random: Prng;
  readonly #mutant: Mutant | undefined;
  readonly #peers: readonly Peer[];
  readonly #ids: readonly NodeId[];
  readonly checker = new Checker();
  /** Told what happens, for whoever wants to read it. */
  story: ((text: string) => void) | undefined;
  #links = new Set<string>();
  #messages: Message[] = [];
  #now = 0;
  #counter = 0;

  constructor(seed: number, mutant?: Mutant) {
    this.#random = new Prng(seed);
    this.#mutant = mutant;
    const size = this.#random.pick([3, 3, 3, 4, 5]);
    this.#ids = Array.from({ length: size }, (_, index) => index + 1);
    this.#peers = this.#ids.map((id) => new Peer(id));
    for (const peer of this.#peers) this.#start(peer);
    this.#relink(1);
  }

  /** Throws what the checker has seen. */
  run(steps: number): Checker {
    for (let step = 0; step < steps; step += 1) this.#step();
    return this.checker;
  }

  #step(): void {
    const random = this.#random;
    this.#now += random.between(0, 10);
    const peer = random.pick(this.#peers);
    const dice = random.next();
    if (dice < 0.5) this.#deliver();
    else if (dice < 0.62) this.#tick(peer);
    else if (dice < 0.82) this.#write(peer);
    else if (dice < 0.89) this.#begin(peer);
    else if (dice < 0.92) this.#prepareEnds(peer);
    else if (dice < 0.94) this.#forget(peer);
    else if (dice < 0.95) this.#giveUp(peer);
    else if (dice < 0.97) this.#relink(0.8);
    else if (dice < 0.98) this.#crash(peer);
    else this.#start(peer);
    for (const each of this.#peers) this.#look(each);
  }

  // ---- the world

  #relink(chance: number): void {
    this.#links = new Set();
    for (const a of this.#ids) {
      for (const b of this.#ids) {
        if (a < b && this.#random.chance(chance)) this.#links.add(`${a} ${b}`).add(`${b} ${a}`);
      }
    }
  }

  #contacts(peer: Peer): Contact[] {
    const heard = (id: NodeId): NodeId[] =>
      this.#ids.filter((other) => other === id || this.#links.has(`${id} ${other}`));
    const contacts: Contact[] = [];
    for (const { id, election, online, taking } of this.#peers) {
      if (election === undefined || !heard(peer.id).includes(id)) continue;
      const { chosen, promised, lastOnline } = election;
      const inChosen = taking && chosen !== undefined && promised.generation === chosen.number;
      contacts.push({
        node: id,
        healthy: true,
        connected: heard(id),
        generation: inChosen ? chosen.number : 0,
        maxVoted: promised.generation,
        lastOnline,
        onlineIn: online,
        level: this.#random.chance(0.5),
      });
    }
    return contacts.sort((a, b) => Number(b.node === peer.id) - Number(a.node === peer.id));
  }

  #send(from: NodeId, to: NodeId, body: Message['body']): void {
    if (!this.#random.chance(0.93)) return;
    this.#messages.push({ from, to, body });
    if (this.#random.chance(0.08)) this.#messages.push({ from, to, body });
  }

  #deliver(): void {
    if (this.#messages.length === 0) return;
    const [message] = this.#messages.splice(Math.floor(this.#random.next() * this.#messages.length), 1);
    const { from, to, body } = message!;
    this.story?.(`${from}→${to} ${JSON.stringify('election' in body ? body.election : body.transaction)}`);
    const peer = this.#peers[to - 1]!;
    if (peer.election === undefined) return;
    if ('election' in body) this.#execute(peer, peer.election.received(from, body.election, this.#now));
    else this.#transaction(peer, from, body.transaction);
  }

  #tick(peer: Peer): void {
    const { election } = peer;
    if (election === undefined) return;
    const inChosen = peer.taking && election.promised.generation === election.chosen?.number;
    this.#execute(peer, election.tick(this.#now, this.#random.next(), inChosen));
  }

  #crash(peer: Peer): void {
    if (peer.election === undefined) return;
    this.story?.(`${peer.id} crashes`);
    peer.election = undefined;
    peer.writes = [];
    peer.online = 0;
    for (const gid of peer.preparing) if (this.#random.chance(0.5)) peer.prepared.add(gid);
    peer.preparing.clear();
    peer.own.clear();
    peer.refused.clear();
    peer.known.clear();
    peer.forgotten.clear();
    peer.releasedIn = 0;
  }

  #start(peer: Peer): void {
    if (peer.election !== undefined) return;
    this.story?.(`${peer.id} starts`);
    peer.incarnation += 1;
    peer.taking = false;
    peer.noting = 0;
    const exclusion = new Exclusion({
      peers: this.#ids.filter((id) => id !== peer.id),
      sendTimeoutMs,
      recvTimeoutMs,
      now: -1e9,
    });
    peer.election = new Election(
      {
        self: peer.id,
        configured: this.#ids,
        incarnation: peer.incarnation,
        sendTimeoutMs,
        recvTimeoutMs,
      },
      {
        exclusion,
        contacts: () => this.#contacts(peer),
        quiet: () => peer.preparing.size === 0 || this.#mutant === 'vote-while-preparing',
        holdings: () => this.#holdings(peer),
      },
      this.#mutant === 'promise-forgotten'
        ? { ...peer.state, promised: { generation: peer.state.chosen?.number ?? 0, proposer: 1 } }
        : peer.state,
      this.#now,
    );
    for (const other of this.#peers) other.election?.peerRestarted(peer.id, this.#now);
  }

  /** As core/node/node-machine.ts: what is finished everywhere is not told, what a record carries is. */
  #holdings(peer: Peer): { prepared: Gid[]; committed: Gid[] } {
    const { chosen, lastOnline } = peer.election!;
    const executed =
      chosen !== undefined && lastOnline >= chosen.number && this.#mutant !== 'nothing-carried';
    const carried = executed && peer.releasedIn !== chosen.number ? chosen.commits : [];
    const told = [...peer.committed].filter((gid) => !peer.forgotten.has(gid));
    return { prepared: [...peer.prepared], committed: [...new Set([...told, ...carried])] };
  }

  /** The node hears that others have finished; it need not hear of all. */
  #forget(peer: Peer): void {
    const members = peer.election?.chosen?.members ?? [];
    if (peer.online !== 0 && members.every((id) => this.#peers[id - 1]!.online === peer.online))
      peer.releasedIn = peer.online;
    for (const gid of peer.committed) {
      const everywhere =
        this.#mutant === 'forgotten-early' ||
        this.#membersOf(gid).every((id) => this.#peers[id - 1]!.committed.has(gid));
      const released = peer.releasedIn > parseGid(gid)!.generation;
      if ((everywhere || released) && this.#random.chance(0.7)) peer.forgotten.add(gid);
    }
  }

  // ---- one node

  #execute(peer: Peer, effects: readonly ElectionEffect[]): void {
    for (const effect of effects) {
      if (effect.kind !== 'send') this.story?.(`${peer.id} ${JSON.stringify(effect)}`);
      switch (effect.kind) {
        case 'send':
          this.#send(peer.id, effect.to, { election: this.#spoil(effect.message) });
          break;
        case 'persist':
          peer.writes.push(effect);
          if (this.#mutant === 'told-before-durable' && effect.change.chosen === undefined) {
            peer.writes.pop();
            this.#execute(peer, peer.election!.persisted(effect.token));
          }
          break;
        case 'leave-generation':
          if (this.#mutant !== 'decides-after-the-vote') peer.online = 0;
          break;
        case 'record-chosen':
          this.checker.chosen(effect.record);
          peer.online = 0;
          peer.taking = effect.voted && effect.record.members.includes(peer.id);
          peer.noting = 0;
          break;
        case 'online-noted': {
          const { chosen, promised } = peer.election!;
          if (chosen?.number !== effect.number || promised.generation !== effect.number) break;
          peer.online = effect.number;
          this.checker.nowOnline(peer, effect.number);
          break;
        }
        case 'alarm':
          throw new Violation(effect.text);
      }
    }
  }

  #spoil(message: ElectionMessage): ElectionMessage {
    if (this.#mutant === 'silence-does-not-bind' && message.kind === 'election-vote')
      return { ...message, accepted: message.accepted && { ...message.accepted, commits: [] } };
    if (this.#mutant === 'behind-counts' && message.kind === 'election-vote')
      return { ...message, lastOnline: message.accepted?.number ?? 0 };
    return message;
  }

  #write(peer: Peer): void {
    const write = peer.writes.shift();
    if (write === undefined || peer.election === undefined) return;
    peer.state = { ...peer.state, ...write.change };
    this.#execute(peer, peer.election.persisted(write.token));
  }

  /** What src/core/node/execution.ts does, in one piece. */
  #look(peer: Peer): void {
    const { election } = peer;
    if (election === undefined) return;
    this.#execute(peer, election.look());
    const { chosen: record, promised, lastOnline } = election;
    if (record === undefined || peer.online !== 0 || promised.generation > record.number) return;
    if (lastOnline >= record.number || peer.preparing.size > 0 || peer.noting === record.number) return;
    const holds = (gid: Gid): boolean => peer.prepared.has(gid) || peer.committed.has(gid);
    if (peer.taking && record.donors.includes(peer.id) && record.commits.every(holds)) {
      this.#executeRecord(peer, record);
    } else {
      const donor = this.#peers.find(({ id, online }) => id !== peer.id && online === record.number);
      if (donor === undefined || !this.#random.chance(0.2)) return;
      peer.prepared.clear();
      // What is replayed is told by nobody but the record that it was executed for.
      for (const gid of donor.committed) {
        if (!peer.committed.has(gid)) peer.forgotten.add(gid);
        peer.committed.add(gid);
      }
      if (!peer.taking) return;
    }
    peer.noting = record.number;
    this.#execute(peer, election.noteOnline(record.number));
  }

  #executeRecord(peer: Peer, record: GenerationRecord): void {
    this.story?.(`${peer.id} executes ${record.number}, holding ${[...peer.prepared].join(' ')}`);
    for (const gid of peer.prepared) {
      if (record.commits.includes(gid)) {
        this.checker.commit(gid);
        peer.committed.add(gid);
        if (this.#random.chance(0.5)) peer.forgotten.add(gid);
      } else {
        this.checker.abort(gid);
      }
    }
    peer.prepared.clear();
  }

  // ---- ballot 0

  #membersOf(gid: Gid): readonly NodeId[] {
    const text = this.checker.records.get(parseGid(gid)!.generation);
    return (JSON.parse(text!) as GenerationRecord).members;
  }

  #begin(peer: Peer): void {
    if (peer.online === 0 || peer.own.size > 3) return;
    const { members } = peer.election!.chosen!;
    // Rule 6: all members have said that they are online.
    if (!members.every((id) => this.#peers[id - 1]!.online === peer.online)) return;
    this.#counter += 1;
    const gid = `mtm:${peer.id}:${peer.online}:${peer.incarnation}:${this.#counter}`;
    peer.prepared.add(gid);
    peer.own.set(gid, { votes: new Set([peer.id]), gone: new Set(), aborting: false });
    for (const to of members) {
      if (to !== peer.id) this.#send(peer.id, to, { transaction: { kind: 'begin', gid } });
    }
  }

  #works(peer: Peer, gid: Gid): boolean {
    return peer.online === parseGid(gid)!.generation;
  }

  #transaction(peer: Peer, from: NodeId, { kind, gid }: TransactionMessage): void {
    if (kind === 'commit') return this.#outcome(peer, gid);
    if (!this.#works(peer, gid)) return;
    const own = peer.own.get(gid);
    const answer = (reply: TransactionMessage['kind']): void =>
      this.#send(peer.id, from, { transaction: { kind: reply, gid } });
    switch (kind) {
      case 'begin':
        if (peer.committed.has(gid) || peer.preparing.has(gid)) return;
        if (peer.prepared.has(gid)) answer('yes');
        else if (peer.refused.has(gid) || this.#random.chance(0.1)) {
          peer.refused.add(gid);
          answer('no');
        } else peer.preparing.add(gid);
        return;
      case 'undo':
        if (peer.preparing.has(gid) || peer.committed.has(gid)) return;
        peer.prepared.delete(gid);
        peer.refused.add(gid);
        answer('undone');
        return;
      case 'yes':
        own?.votes.add(from);
        break;
      case 'no':
      case 'undone':
        own?.gone.add(from);
        if (kind === 'no') this.#giveUp(peer, gid);
        break;
    }
    if (own !== undefined) this.#decide(peer, gid, own);
  }

  #decide(peer: Peer, gid: Gid, own: Own): void {
    if (!own.aborting && this.#membersOf(gid).every((id) => own.votes.has(id))) {
      this.checker.commit(gid);
      peer.prepared.delete(gid);
      peer.committed.add(gid);
      peer.own.delete(gid);
      for (const to of this.#membersOf(gid)) {
        if (to !== peer.id) this.#send(peer.id, to, { transaction: { kind: 'commit', gid } });
      }
    } else if (own.aborting && own.gone.size >= blockingSize(this.#ids.length)) {
      this.checker.abort(gid);
      peer.own.delete(gid);
    }
  }

  /** What was decided is executed also after this node's vote, but by no other process than that which prepared. */
  #outcome(peer: Peer, gid: Gid): void {
    if (!peer.known.has(gid) || !peer.prepared.delete(gid)) return;
    peer.committed.add(gid);
  }

  /** The coordinator begins to abort: its own branch first, durably. */
  #giveUp(peer: Peer, which?: Gid): void {
    for (const [gid, own] of peer.own) {
      if ((which !== undefined && which !== gid) || own.aborting || !this.#works(peer, gid)) continue;
      own.aborting = true;
      own.gone.add(peer.id);
      peer.prepared.delete(gid);
      for (const to of this.#membersOf(gid)) {
        if (to !== peer.id) this.#send(peer.id, to, { transaction: { kind: 'undo', gid } });
      }
    }
  }

  #prepareEnds(peer: Peer): void {
    for (const gid of peer.preparing) {
      peer.preparing.delete(gid);
      // A switch cancels it, but it may have been too late for that.
      if (this.#works(peer, gid) || this.#random.chance(0.5)) {
        peer.prepared.add(gid);
        peer.known.add(gid);
      } else {
        peer.refused.add(gid);
      }
      const from = parseGid(gid)!.node;
      if (this.#works(peer, gid) || this.#mutant === 'vote-while-preparing')
        this.#send(peer.id, from, { transaction: { kind: 'yes', gid } });
    }
  }
}
