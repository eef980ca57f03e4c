/** Two node machines and a referee: who goes on alone, what that means for transactions, and what is said. */
import { describe, expect, test } from 'vitest';
import { CommitMachine, type CommitOptions } from '../../../../src/core/commit/machine.ts';
import {
  afterReport,
  clearedUpTo,
  judgeGrant,
  type RefereeRecord,
} from '../../../../src/core/generation/referee-record.ts';
import type { RefereeAnswer } from '../../../../src/core/generation/referee.ts';
import { Cluster, recvTimeoutMs, type Node } from './cluster.ts';

const pair = { low: 1, high: 2 };

class Pair extends Cluster {
  /** What the commit machines were made with. */
  readonly made: CommitOptions[];
  record: RefereeRecord | undefined;
  calls = 0;

  constructor() {
    const made: CommitOptions[] = [];
    super(2, {
      referee: { callTimeoutMs: 500, retryMs: 100, reportEveryMs: 2000 },
      makeMachine: (options) => {
        made.push(options);
        return new CommitMachine(options);
      },
    });
    this.made = made;
    this.carryOut = (node, effect) => {
      if (effect.kind !== 'request-grant' && effect.kind !== 'report-online') return;
      this.calls += 1;
      const { token } = effect;
      if (effect.kind === 'report-online') {
        const record = (this.record = afterReport(this.record, pair, { ...effect, node: node.id }));
        return this.#answer(node, token, { kind: 'reported', record });
      }
      const answer = judgeGrant(this.record, { ...effect, node: node.id });
      if (answer.kind === 'granted') this.record = answer.record;
      this.#answer(node, token, answer);
    };
  }

  #waiting: (() => void)[] = [];

  #answer(node: Node, token: number, answer: RefereeAnswer): void {
    const { machine } = node;
    this.#waiting.push(() => {
      if (node.machine === machine)
        this.step(node, { kind: 'referee-answered', now: this.now, token, answer });
    });
  }

  reach(...ids: number[]): void {
    for (const id of ids) this.step(this.node(id), { kind: 'referee-connected', now: this.now });
  }

  override run(ms: number): void {
    for (let passed = 0; passed < ms; passed += 10) {
      super.run(10);
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const answer of waiting) answer();
    }
  }
}

/** Both online together, and the referee knows it. */
function whole(): Pair {
  const nodes = new Pair();
  nodes.start(1, 2);
  nodes.reach(1, 2);
  nodes.until(() => nodes.writable(1, 2) && nodes.serving(1, 2) && known(nodes), 1000);
  return nodes;
}

function known(nodes: Pair): boolean {
  return (
    nodes.record !== undefined && clearedUpTo(nodes.record) === nodes.node(1).machine!.generation!.number
  );
}

function alone(nodes: Pair, id: number): boolean {
  const members = nodes.node(id).machine?.generation?.members.join();
  return members === String(id) && nodes.writable(id) && nodes.serving(id);
}

describe.each([
  [1, 2],
  [2, 1],
])('node %i without node %i', (winner, loser) => {
  test('goes on at once when that has ended, and lets it in again', () => {
    const nodes = whole();
    nodes.crash(loser, true);
    nodes.until(() => alone(nodes, winner), 500);
    expect(nodes.node(winner).machine!.generation).toMatchObject({ number: 2, members: [winner] });
    const gid = nodes.write(winner);
    nodes.until(() => nodes.node(winner).answers.get(gid) === 'committed', 500);
    nodes.run(5000);
    expect(nodes.node(winner).status).toContain(`online: generation 2 goes on without node ${loser}`);
    nodes.start(loser);
    nodes.reach(loser);
    nodes.until(() => nodes.writable(1, 2) && nodes.serving(1, 2) && known(nodes), 3000);
    expect(nodes.node(loser).committed).toEqual([gid]);
    nodes.run(100);
    expect(nodes.node(winner).status).toBe('online: ');
  });

  test('is refused, says so and says what to do, when the other was chosen', () => {
    const nodes = whole();
    nodes.crash(winner, true);
    nodes.until(() => alone(nodes, loser), 500);
    nodes.crash(loser, true);
    nodes.start(winner);
    nodes.reach(winner);
    nodes.run(10_000);
    expect(nodes.serving(winner)).toBe(false);
    expect(nodes.node(winner).status).toMatch(
      new RegExp(`^isolated: .*; the referee chose node ${loser} in generation 2: start node ${loser}$`),
    );
    nodes.start(loser);
    nodes.until(() => nodes.serving(1, 2), 3000);
  });
});

test('cut off from each other: one of them, when the lease that it answered has run out', () => {
  const nodes = whole();
  nodes.cut = () => true;
  const ms = nodes.until(() => alone(nodes, 1) || alone(nodes, 2), 4000);
  expect(ms).toBeGreaterThan(recvTimeoutMs);
  nodes.run(5000);
  expect([1, 2].filter((id) => nodes.serving(id))).toHaveLength(1);
  nodes.cut = () => false;
  nodes.relink();
  nodes.until(() => nodes.writable(1, 2) && nodes.serving(1, 2) && known(nodes), 3000);
});

test('without the referee a client is told after the term that the outcome is unknown', () => {
  const nodes = whole();
  nodes.step(nodes.node(1), { kind: 'referee-lost', now: nodes.now, reason: 'it is down' });
  nodes.holdApply = true;
  const gid = nodes.write(1);
  nodes.run(20);
  nodes.crash(2, true);
  nodes.run(recvTimeoutMs / 2);
  expect(nodes.node(1).machine!.hopeful(nodes.now)).toBe(false);
  expect(nodes.node(1).answers.get(gid)).toBeUndefined();
  nodes.run(3 * recvTimeoutMs);
  expect(nodes.node(1).answers.get(gid)).toBe('unknown');
  expect(nodes.node(1).status).toContain('no contact with the referee: it is down');
});

test('while the referee may still grant, nobody is told that', () => {
  const nodes = whole();
  nodes.holdApply = true;
  const gid = nodes.write(1);
  nodes.run(20);
  nodes.crash(2, true);
  nodes.until(() => alone(nodes, 1), 500);
  nodes.run(100);
  expect(nodes.node(1).machine!.hopeful(nodes.now)).toBe(true);
  // It had rolled back here, and what it then decided alone is the truth.
  expect(nodes.node(1).answers.get(gid)).toBe('aborted');
  expect(nodes.node(1).disk.prepared.size).toBe(0);
});

test('the blocking set: both nodes, and the one that is alone', () => {
  const nodes = whole();
  expect(nodes.made.map(({ members, blockingSize }) => [members.length, blockingSize])).toEqual([
    [2, 2],
    [2, 2],
  ]);
  nodes.crash(2, true);
  nodes.until(() => alone(nodes, 1), 500);
  expect(nodes.made.at(-1)).toMatchObject({ members: [1], blockingSize: 1 });
});
