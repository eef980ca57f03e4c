/**
 * The referee's place in a node of two: what the referee machine is told of the node, and what of the machine
 * the node needs to know.
 * Rule: the machine never judges by an old situation, so every event is preceded by a look at the node.
 */
import type { Election } from '../generation/election.ts';
import { RefereeMachine } from '../generation/referee.ts';
import type { RefereeEffect, RefereeEvent, RefereeOptions } from '../generation/referee.ts';
import type { GenerationRecord } from '../generation/record.ts';
import type { NodeId } from '../identity.ts';

/** Times of the referee machine; a node without them has no referee. */
export type RefereeTimes = Omit<RefereeOptions, 'self' | 'other'>;

/** What comes from the link to the referee. */
export type RefereeNews = Exclude<RefereeEvent, { kind: 'ticked' }>;

export class Arbiter {
  readonly #machine: RefereeMachine;
  readonly #election: Pick<Election, 'promised' | 'lastOnline' | 'wanted'>;
  /** Generations of both nodes, from the last that this node was online in. */
  #full: readonly number[];

  /** `other`: the other data node. `chosen`: as the server keeps it. */
  constructor(
    options: RefereeOptions,
    election: Pick<Election, 'promised' | 'lastOnline' | 'wanted'>,
    chosen: GenerationRecord | undefined,
  ) {
    this.#machine = new RefereeMachine(options);
    this.#election = election;
    this.#full = chosen?.members.length === 2 ? [chosen.number] : [];
  }

  /** The number of the generation that this node may be the only member of. */
  get grant(): number | undefined {
    return this.#machine.grant;
  }

  /** What is wrong with the referee, or why it grants nothing; empty when all is well. */
  get reason(): string {
    return this.#machine.reason;
  }

  /** Without the other node there may be a generation soon. */
  get hopeful(): boolean {
    return this.#machine.reason === '';
  }

  recordChosen(record: GenerationRecord): void {
    if (record.members.length === 2) this.#full = [...this.#full, record.number];
  }

  /** To be called at every tick, and with all news of the referee. */
  step(now: number, news?: RefereeNews): readonly RefereeEffect[] {
    const { promised, lastOnline, wanted } = this.#election;
    this.#full = this.#full.filter((number) => number >= lastOnline);
    const situation = {
      promised: promised.generation,
      lastOnline,
      lastOnlineFull: this.#full.includes(lastOnline),
      wanted,
    };
    const effects = this.#machine.step({ kind: 'ticked', now, situation });
    if (news !== undefined) effects.push(...this.#machine.step(news));
    return effects;
  }
}

/** Undefined where there is no referee. */
export function arbiterOf(
  { self, configured, referee }: { self: NodeId; configured: readonly NodeId[]; referee?: RefereeTimes },
  election: Election,
): Arbiter | undefined {
  const other = configured.find((node) => node !== self);
  if (referee === undefined || other === undefined || configured.length !== 2) return undefined;
  return new Arbiter({ ...referee, self, other }, election, election.chosen);
}
