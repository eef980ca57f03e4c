import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { PeerQuestions } from '../../../src/node/peer-questions.ts';
import { SequenceQuestion } from '../../../src/node/sequence-question.ts';
import type { VerbNode } from '../../../src/node/verbs.ts';

type Sequences = Readonly<Record<string, readonly [string, string]>>;

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Node 1 of nodes 1, 2 and 4, with 3 joining; what 2 and 4 tell, look after look. */
function question(told: Readonly<Record<number, readonly Sequences[]>>, supervised = true) {
  const looks = new Map<number, number>();
  const asked: unknown[] = [];
  const peers: PeerQuestions = new PeerQuestions({
    incarnation: 1,
    answerers: {},
    linked: () => true,
    send: (to, message) => {
      if (message.kind !== 'request') return;
      asked.push(JSON.parse(message.body));
      const look = looks.get(to) ?? 0;
      looks.set(to, look + 1);
      const sequences = told[to]?.[look] ?? told[to]?.at(-1) ?? {};
      const body = JSON.stringify({ right: true, digest: `of ${to}`, sequences });
      queueMicrotask(() => peers.received(to, { kind: 'reply', id: message.id, ok: true, body }));
    },
  });
  const configuration = { configured: [1, 2, 4], joining: [3], added: [] };
  const node = {
    parts: { config: { nodeId: 1 } },
    machine: { configuration, generation: { members: [1, 2, 4] } },
    supervises: () => supervised,
  } as unknown as VerbNode;
  const desk = new SequenceQuestion(node, peers);
  const ask = async (args: object, backendPid = 7): Promise<unknown> => {
    const answer = desk.answer(args, { backendPid });
    answer.catch(() => undefined);
    await vi.advanceTimersByTimeAsync(300);
    return answer;
  };
  return { ask, asked };
}

test('a look: the highest id, and what the other members say', async () => {
  const { ask, asked } = question({});
  expect(await ask({ least: 0, fences: false })).toEqual({
    node: 1,
    members: [1, 2, 4],
    configured: [1, 2, 4],
    count: 4,
    right: true,
    digests: ['of 2', 'of 4'],
  });
  expect(asked).toEqual([{ count: 4 }, { count: 4 }]);
  expect(await ask({ least: 9, fences: false })).toMatchObject({ count: 9 });
});

test('fences: the furthest in both directions, with room for what moves', async () => {
  const { ask } = question({
    2: [
      { idle: ['10', '3'], busy: ['100', '3'], big: ['9223372036854775807', '3'], gone: ['1', '3'] },
      { idle: ['10', '3'], busy: ['106', '3'], big: ['9223372036854775807', '3'] },
    ],
    4: [
      { idle: ['12', '3'], busy: ['90', '3'], big: ['-5', '3'], gone: ['1', '3'] },
      { idle: ['12', '3'], busy: ['93', '3'], big: ['-5', '3'], gone: ['1', '3'] },
    ],
  });
  expect(await ask({ least: 0, fences: true })).toMatchObject({
    fences: {
      idle: { low: '10', high: '12' },
      busy: { low: '-27', high: '226' },
      big: { low: '-5', high: '9223372036854775807' },
    },
  });
});

test('who comes again soon has failed and gets more room, also where nothing moves; others do not', async () => {
  const { ask } = question({ 2: [{ s: ['10', '-3'] }], 4: [{ s: ['10', '-3'] }] });
  const fence = async (pid: number): Promise<unknown> =>
    (await ask({ least: 0, fences: true }, pid)) as { fences: unknown };
  expect(await fence(7)).toMatchObject({ fences: { s: { low: '10', high: '10' } } });
  expect(await fence(7)).toMatchObject({ fences: { s: { low: '-11', high: '31' } } });
  expect(await fence(7)).toMatchObject({ fences: { s: { low: '-179', high: '199' } } });
  expect(await fence(8)).toMatchObject({ fences: { s: { low: '10', high: '10' } } });
  await vi.advanceTimersByTimeAsync(11_000);
  expect(await fence(7)).toMatchObject({ fences: { s: { low: '10', high: '10' } } });
});

test('a session whose writes are not replicated is refused', async () => {
  const { ask } = question({}, false);
  await expect(ask({ least: 0, fences: false })).rejects.toMatchObject({ sqlstate: '0A000' });
});
