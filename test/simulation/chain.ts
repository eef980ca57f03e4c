/**
 * What the elections of one run have decided, as nobody inside can see it: a record is chosen at the moment in
 * which the last of its members has accepted it durably, whether anybody hears of it or not.
 *
 * It checks that there is one record per number, that each follows from the one before by at most one change of
 * the nodes, with a majority of both, that nobody believes in a choice that is none, and that whoever serves is
 * a member of the highest one.
 */
import { nodesOf, sinceOf } from '../../src/core/generation/configuration.ts';
import type { Configuration, GenerationRecord } from '../../src/core/generation/record.ts';
import type { NodeId } from '../../src/core/identity.ts';
import type { Identity } from './server-record.ts';
import { Violation } from './world.ts';

interface Proposal {
  readonly record: GenerationRecord;
  readonly text: string;
  readonly accepted: Set<NodeId>;
}

export class Chain {
  readonly #places = new Map<string, number>();
  /** By ballot. */
  readonly #proposals = new Map<string, Proposal>();
  readonly #chosen = new Map<number, Proposal>();
  #highest: GenerationRecord | undefined;
  readonly referee: boolean;
  readonly counts = { added: 0, admitted: 0, dropped: 0 };

  constructor(referee: boolean) {
    this.referee = referee;
  }

  add({ id, since, place }: Identity): void {
    this.#places.set(`${id} ${since}`, place);
  }

  /** The highest record that is chosen. */
  get highest(): GenerationRecord | undefined {
    return this.#highest;
  }

  /** The place of the node that the configuration means; a node that was added may have none yet. */
  placeOf(configuration: Configuration, node: NodeId): number | undefined {
    return this.#places.get(`${node} ${sinceOf(configuration, node)}`);
  }

  placesOf(configuration: Configuration, nodes: readonly NodeId[]): number[] {
    return nodes.flatMap((node) => this.placeOf(configuration, node) ?? []);
  }

  accepted({ id, since }: Identity, record: GenerationRecord): void {
    if (this.#isOf(record, id, since)) this.#proposal(record).accepted.add(id);
    this.#look(record);
  }

  #isOf(record: GenerationRecord, id: NodeId, since: number): boolean {
    return record.members.includes(id) && sinceOf(record, id) === since;
  }

  #proposal(record: GenerationRecord): Proposal {
    const ballot = `${record.number} ${record.proposer}`;
    const text = JSON.stringify(record);
    let proposal = this.#proposals.get(ballot);
    if (proposal === undefined) {
      proposal = { record, text, accepted: new Set() };
      this.#proposals.set(ballot, proposal);
    }
    if (proposal.text !== text)
      throw new Violation(`two records with one ballot: ${proposal.text} and ${text} (invariant 17)`);
    return proposal;
  }

  #look(record: GenerationRecord): void {
    const proposal = this.#proposal(record);
    if (proposal.accepted.size < record.members.length) return;
    const known = this.#chosen.get(record.number);
    if (known === proposal) return;
    if (known !== undefined)
      throw new Violation(`two records of one number are chosen: ${known.text} and ${proposal.text}`);
    const numbers = [...this.#chosen.keys()];
    const before = Math.max(0, ...numbers.filter((number) => number < record.number));
    const after = Math.min(...numbers.filter((number) => number > record.number));
    this.#chosen.set(record.number, proposal);
    this.#follows(this.#chosen.get(before)?.record, record);
    if (after !== Infinity) this.#follows(record, this.#chosen.get(after)!.record);
    if (record.number > (this.#highest?.number ?? 0)) this.#highest = record;
  }

  /** At most one node more or less, and a majority of the nodes before and after. */
  #follows(before: GenerationRecord | undefined, after: GenerationRecord): void {
    const { members, configured } = after;
    if (before === undefined) return this.#outvoted(members, configured, after);
    const changes = changesBetween(before, after);
    if (changes.length > 1)
      throw new Violation(`two changes at once: ${changes.join(', ')}: ${story(after)}`);
    for (const change of changes) this.#count(change);
    this.#outvoted(members, before.configured, after);
    this.#outvoted(members, configured, after);
  }

  #count(change: string): void {
    const kind = change.split(' ')[0] as keyof Chain['counts'];
    this.counts[kind] += 1;
  }

  #outvoted(members: readonly NodeId[], configured: readonly NodeId[], record: GenerationRecord): void {
    const counted = configured.filter((node) => members.includes(node)).length;
    // One of two is enough with a referee's grant.
    if (2 * counted > configured.length || (this.referee && counted === 1)) return;
    throw new Violation(`chosen without a majority of ${configured.join()}: ${story(record)} (invariant 17)`);
  }

  /** A node holds the record to be chosen. */
  noted(record: GenerationRecord): void {
    const proposal = this.#proposal(record);
    if (this.#chosen.get(record.number) === proposal) return;
    const missing = record.members.filter((node) => !proposal.accepted.has(node));
    throw new Violation(`taken for chosen, but ${missing.join()} have not accepted it: ${proposal.text}`);
  }

  /** The node serves in the generation at this moment. */
  serves({ id, since, place }: Identity, generation: number): void {
    const highest = this.#highest;
    const right = highest?.number === generation && this.#isOf(highest, id, since);
    if (right) return;
    throw new Violation(
      `node ${id} (place ${place}) serves in generation ${generation}, when ${story(highest)} is chosen`,
    );
  }
}

/** In words; what a generation may change is one of them. */
export function changesBetween(before: Configuration, after: Configuration): string[] {
  const changes: string[] = [];
  const nodes = new Set([...nodesOf(before), ...nodesOf(after)]);
  for (const node of nodes) {
    const was = standing(before, node);
    const is = standing(after, node);
    if (was === is) continue;
    if (is === undefined) changes.push(`dropped ${node}`);
    else if (was === undefined && is.startsWith('joining')) changes.push(`added ${node}`);
    else if (was?.replace('joining', 'configured') === is) changes.push(`admitted ${node}`);
    else changes.push(`${node}: ${was} to ${is}`, 'which is no change that there is');
  }
  return changes;
}

function standing(configuration: Configuration, node: NodeId): string | undefined {
  const { configured, joining } = configuration;
  if (configured.includes(node)) return `configured ${sinceOf(configuration, node)}`;
  return joining.includes(node) ? `joining ${sinceOf(configuration, node)}` : undefined;
}

function story(record: GenerationRecord | undefined): string {
  return JSON.stringify(record);
}
