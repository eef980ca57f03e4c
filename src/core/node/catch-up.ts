/**
 * How a node that is not complete gets level: from which donor it replays, and how far it is.
 *
 * Rules: only a node that is online in the highest generation known here is a donor, for its WAL shows
 * everything that is older, with the mark behind it. What this node holds prepared is rolled back only when
 * such a donor is there: until then it might be the only one who has it. A node whose server is a copy of
 * another one's has only that one for a donor until it knows what the copy holds.
 */
import { nodesOf, sinceOf } from '../generation/configuration.ts';
import type { Contact } from '../generation/liveness-event.ts';
import type { GenerationRecord } from '../generation/record.ts';
import type { NodeId } from '../identity.ts';
import type { NodeEffect } from './node-event.ts';

/** A node that lacks less of the donor's WAL than this is nearly level. */
const levelBytes = 1_048_576;
/** Donors that have no longer what this node lacks are asked so much later again. */
const hopelessPauses = 20;

/** Ids are given again; with `since` one is a node for ever. */
export interface CopiedNode {
  readonly id: NodeId;
  readonly since: number;
}

export interface Replay {
  readonly donor: NodeId;
  /** The mark at which it ends; undefined while this node is no member. */
  target: number | undefined;
  /** Undefined before the first report. */
  lagBytes: number | undefined;
}

export class CatchUp {
  readonly #self: NodeId;
  readonly #pauseMs: number;
  readonly #emit: (effect: NodeEffect) => void;
  #replay: Replay | undefined;
  /** Donors that cannot help this node, whatever it tries. */
  readonly #hopeless = new Set<NodeId>();
  #reseed: string | undefined;
  #source: CopiedNode | undefined;
  #failed: { readonly donor: NodeId; readonly at: number; readonly reason: string } | undefined;

  /** `source`: the only donor until `seeded`. */
  constructor(self: NodeId, pauseMs: number, emit: (effect: NodeEffect) => void, source?: CopiedNode) {
    this.#self = self;
    this.#pauseMs = pauseMs;
    this.#emit = emit;
    this.#source = source;
  }

  /** The node whose copy this node's server is, while nobody else can be the donor. */
  get source(): NodeId | undefined {
    return this.#source?.id;
  }

  seeded(): void {
    this.#source = undefined;
  }

  get replay(): Readonly<Replay> | undefined {
    return this.#replay;
  }

  /** Why the last attempt ended; undefined while one runs. */
  get failure(): string | undefined {
    return this.#replay === undefined ? this.#failed?.reason : undefined;
  }

  /** Why this node must be seeded anew; undefined while a donor may still help, as far as is known. */
  get reseed(): string | undefined {
    return this.#reseed;
  }

  /** As the heartbeats say it: a member counts as level until its replay fails. */
  level(member: boolean): boolean {
    if (this.#source !== undefined) return false;
    const lagBytes = this.#replay?.lagBytes ?? Infinity;
    return lagBytes <= levelBytes || (member && this.#failed === undefined);
  }

  /**
   * The donor to begin with now; undefined while a replay runs or none is there. After a failure the next one
   * in order is tried, after a pause: first those that may help.
   */
  nextDonor(record: GenerationRecord, contacts: readonly Contact[], now: number): NodeId | undefined {
    if (this.#replay !== undefined) return undefined;
    const failed = this.#failed;
    const source = this.#sourceIn(record);
    const all = contacts
      .filter(({ node, onlineIn }) => node !== this.#self && onlineIn === record.number)
      .filter(({ node }) => this.#source === undefined || node === source)
      .map(({ node }) => node)
      .sort((a, b) => a - b);
    const hopeful = all.filter((node) => !this.#hopeless.has(node));
    const donors = hopeful.length > 0 ? hopeful : all;
    const pauseMs = this.#pauseMs * (hopeful.length > 0 ? 1 : hopelessPauses);
    if (failed !== undefined && now - failed.at < pauseMs) return undefined;
    return donors.find((node) => node > (failed?.donor ?? 0)) ?? donors[0];
  }

  /**
   * Another node may have its id meanwhile: what that one's history says of positions is of another server.
   */
  #sourceIn(record: GenerationRecord): NodeId | undefined {
    if (this.#source === undefined) return undefined;
    const { id, since } = this.#source;
    if (nodesOf(record).includes(id) && sinceOf(record, id) === since) return id;
    this.#reseed = `node ${id}, of whose server its own is a copy, has left the cluster`;
    return undefined;
  }

  begin(donor: NodeId, target: number | undefined): void {
    this.#replay = { donor, target, lagBytes: undefined };
    this.#emit({ kind: 'recover', donor, generation: target });
  }

  /** Keeps what runs in step with the record. */
  adjust(record: GenerationRecord, member: boolean): void {
    const replay = this.#replay;
    if (replay === undefined) return;
    // The donor was left out itself: its history no longer goes on.
    if (!record.members.includes(replay.donor)) return this.stop();
    if (!member || replay.target === record.number) return;
    replay.target = record.number;
    this.#emit({ kind: 'recovery-follow', generation: record.number });
  }

  progressed(lagBytes: number): void {
    if (this.#replay === undefined) return;
    this.#replay.lagBytes = lagBytes;
    this.#reseed = undefined;
    if (lagBytes <= levelBytes) this.#failed = undefined;
  }

  /**
   * The replay has ended with this mark. True when it is the one that it was to reach. A higher one may have
   * been ordered when the end was under way already: then the next replay goes on from here.
   */
  reached(generation: number): boolean {
    if (this.#replay === undefined) return false;
    const { target } = this.#replay;
    this.stop();
    this.#failed = undefined;
    this.#reseed = undefined;
    this.#hopeless.clear();
    return target === generation;
  }

  failed(reason: string, now: number, reseed = false): void {
    if (this.#replay === undefined) return;
    if (reseed) {
      this.#hopeless.add(this.#replay.donor);
      this.#reseed = reason;
    }
    this.#failed = { donor: this.#replay.donor, at: now, reason };
    this.#replay = undefined;
  }

  stop(): void {
    if (this.#replay === undefined) return;
    this.#replay = undefined;
    this.#emit({ kind: 'stop-recovery' });
  }
}
