/**
 * What mtm.alter_sequences() asks its gateway (sql/spread.sql): over how many nodes sequences are to be
 * spread, whether all nodes draw the right values already, and if not, how far the other members have come:
 * the *fences*, behind which all of them are to go on.
 * Rule: a fence is a guess with some room for what is drawn until it is checked: each node checks it under a
 * lock that stops drawing, and a wrong guess only makes the transaction fail and come again.
 */
import { nodesOf } from '../core/generation/configuration.ts';
import type { NodeId } from '../core/identity.ts';
import type { PeerQuestions } from './peer-questions.ts';
import { RequestError, type Asker } from './request-desk.ts';
import type { VerbNode } from './verbs.ts';

/** The verb between gateways. */
export const sequenceStates = 'sequence-states';

/** mtm.tell_sequences(): [the last value drawn, what nextval adds], as text. */
interface States {
  /** Of the users' parameters of all sequences. */
  readonly digest: string;
  readonly right: boolean;
  readonly sequences: Readonly<Record<string, readonly [string, string]>>;
}

interface Fence {
  readonly low: string;
  readonly high: string;
}

const answerLimitMs = 10_000;
/** Between the two looks that tell how fast values are drawn. */
const sampleMs = 200;
/** Room for what is drawn in this many times as long. */
const roomFactor = 20n;
/** Who asks again so soon has failed, and gets more room, ms. */
const againMs = 10_000;
const mostAttempts = 5;

/** For another node: what the own server says. */
export async function tellSequences(node: VerbNode, args: unknown): Promise<object> {
  const { count } = args as { readonly count: number };
  const text = 'SELECT mtm.tell_sequences($1::integer) AS told';
  const { rows } = await node.parts.observer.client.query<{ told: object }>(text, [count]);
  return rows[0]!.told;
}

export class SequenceQuestion {
  readonly #node: VerbNode;
  readonly #peers: PeerQuestions;
  /** By backend: when it was given fences, and for the how manieth time. */
  readonly #given = new Map<number, { readonly at: number; readonly attempt: number }>();

  constructor(node: VerbNode, peers: PeerQuestions) {
    this.#node = node;
    this.#peers = peers;
  }

  /** `least`: over so many nodes at least; `fences`: they are wanted, too. */
  async answer(args: unknown, { backendPid }: Asker): Promise<object> {
    if (!this.#node.supervises(backendPid)) {
      throw new RequestError(
        '0A000',
        '[multimaster] sequences can only be altered in a session whose writes are replicated',
        'Connect to a gateway, and not with application_name=mtm_admin.',
      );
    }
    const { least, fences } = args as { readonly least: number; readonly fences: boolean };
    const self = this.#node.parts.config.nodeId;
    const { configuration, generation } = this.#node.machine;
    const { configured } = configuration;
    const count = Math.max(least, ...nodesOf(configuration));
    const members = generation?.members ?? [];
    const others = members.filter((member) => member !== self);
    const first = await this.#ask(others, count);
    const right = first.every((states) => states.right);
    const digests = first.map((states) => states.digest);
    const answer = { node: self, members, configured, count, right, digests };
    if (!fences) return answer;
    await new Promise((resolve) => setTimeout(resolve, others.length === 0 ? 0 : sampleMs));
    const second = await this.#ask(others, count);
    return { ...answer, fences: fencesOf(first, second, this.#attempt(backendPid)) };
  }

  async #ask(others: readonly NodeId[], count: number): Promise<States[]> {
    const asked = others.map((other) => this.#peers.ask(other, sequenceStates, { count }, answerLimitMs));
    return (await Promise.all(asked)) as States[];
  }

  #attempt(backendPid: number): number {
    const now = performance.now();
    for (const [pid, { at }] of this.#given) if (now - at > againMs) this.#given.delete(pid);
    const former = this.#given.get(backendPid);
    const attempt = former === undefined ? 0 : Math.min(former.attempt + 1, mostAttempts);
    this.#given.set(backendPid, { at: now, attempt });
    return attempt;
  }
}

/** Of the sequences that all of the asked nodes have. */
function fencesOf(
  first: readonly States[],
  second: readonly States[],
  attempt: number,
): Record<string, Fence> {
  const fences: Record<string, Fence> = {};
  const [some] = second;
  if (some === undefined) return fences;
  for (const name of Object.keys(some.sequences)) {
    if (!second.every(({ sequences }) => Object.hasOwn(sequences, name))) continue;
    fences[name] = fenceOf(
      first.map(({ sequences }) => sequences[name]),
      second.map(({ sequences }) => sequences[name]!),
      attempt,
    );
  }
  return fences;
}

function fenceOf(
  before: readonly (readonly [string, string] | undefined)[],
  now: readonly (readonly [string, string])[],
  attempt: number,
): Fence {
  let low = BigInt(now[0]![0]);
  let high = low;
  let moved = 0n;
  let step = 0n;
  now.forEach(([text, stepText], index) => {
    const reached = BigInt(text);
    low = smaller(low, reached);
    high = -smaller(-high, -reached);
    step = -smaller(-step, -size(BigInt(stepText)));
    moved = -smaller(-moved, -size(reached - BigInt(before[index]?.[0] ?? text)));
  });
  const room = moved * roomFactor * 4n ** BigInt(attempt) + (8n ** BigInt(attempt) - 1n) * step;
  return { low: String(low - room), high: String(high + room) };
}

function smaller(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

function size(a: bigint): bigint {
  return a < 0n ? -a : a;
}
