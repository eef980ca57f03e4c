import { expect, test, vi } from 'vitest';
import { maxBodyBytes } from '../../../src/core/peer/frame.ts';
import { PeerQuestions, type Answerer, type PeerQuestion } from '../../../src/node/peer-questions.ts';
import { RequestError } from '../../../src/node/request-desk.ts';

/** Nodes 1 and 2; what they say to each other is delivered at once, unless `lost` says otherwise. */
function pair(answerers: Readonly<Record<string, Answerer>>, lost: (message: PeerQuestion) => boolean) {
  const links = { up: true };
  const make = (self: number, incarnation: number): PeerQuestions =>
    new PeerQuestions({
      incarnation,
      answerers,
      linked: () => links.up,
      send: (to, message) => {
        if (!lost(message)) (to === 1 ? one : two).received(self, message);
      },
    });
  const one = make(1, 7);
  const two = make(2, 3);
  return { one, two, links };
}

const never = (): boolean => false;

test('an answer, and who has asked', async () => {
  const { one } = pair({ add: (args, from) => Promise.resolve({ args, from }) }, never);
  expect(await one.ask(2, 'add', [1, 'ü"'], 1000)).toEqual({ args: [1, 'ü"'], from: 1 });
  expect(await one.ask(2, 'add', undefined, 1000)).toEqual({ args: null, from: 1 });
});

test('the error of the answerer comes with its fields', async () => {
  const { one } = pair(
    {
      refuse: () => Promise.reject(new RequestError('40001', 'not now', 'later')),
      fail: () => Promise.reject(new Error('a bug')),
    },
    never,
  );
  const refused = { sqlstate: '40001', message: 'not now', hint: 'later' };
  await expect(one.ask(2, 'refuse', {}, 1000)).rejects.toMatchObject(refused);
  await expect(one.ask(2, 'fail', {}, 1000)).rejects.toMatchObject({ sqlstate: 'XX000', message: 'a bug' });
  await expect(one.ask(2, 'toString', {}, 1000)).rejects.toMatchObject({ sqlstate: '0A000' });
});

test('without an answer in time, without a link, and at the end there is an error', async () => {
  vi.useFakeTimers();
  const { one, links } = pair({ ping: () => Promise.resolve(1) }, ({ kind }) => kind === 'reply');
  const late = one.ask(2, 'ping', {}, 500);
  const lateEnds = expect(late).rejects.toMatchObject({
    sqlstate: '57P03',
    message: expect.stringMatching(/node 2 .*500 ms/u),
  });
  await vi.advanceTimersByTimeAsync(501);
  await lateEnds;
  const cut = one.ask(2, 'ping', {}, 500);
  const other = one.ask(3, 'ping', {}, 500);
  one.linkDown(2, 'the link broke');
  await expect(cut).rejects.toMatchObject({ message: expect.stringMatching(/the link broke/u) });
  one.stop();
  await expect(other).rejects.toMatchObject({ message: expect.stringMatching(/ends/u) });
  links.up = false;
  await expect(one.ask(2, 'ping', {}, 500)).rejects.toMatchObject({ sqlstate: '57P03' });
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

test('an answer of somebody else, twice or to a former process is nobody’s', async () => {
  const asked: number[] = [];
  const { one } = pair({}, (message) => {
    if (message.kind === 'request') asked.push(message.id);
    return true;
  });
  let settled = false;
  const answer = one.ask(2, 'ping', {}, 60_000).finally(() => (settled = true));
  const id = asked[0]!;
  expect(id).toBe(7 * 2 ** 24);
  one.received(3, { kind: 'reply', id, ok: true, body: '3' });
  one.received(2, { kind: 'reply', id: id - 2 ** 24, ok: true, body: '4' });
  await Promise.resolve();
  expect(settled).toBe(false);
  one.received(2, { kind: 'reply', id, ok: true, body: '5' });
  one.received(2, { kind: 'reply', id, ok: false, body: 'no JSON' });
  expect(await answer).toBe(5);
});

test('what is too long is refused on either side', async () => {
  const long = 'x'.repeat(maxBodyBytes);
  const { one } = pair({ echo: (args) => Promise.resolve(args), long: () => Promise.resolve(long) }, never);
  await expect(one.ask(2, 'echo', long, 1000)).rejects.toMatchObject({ sqlstate: '54000' });
  await expect(one.ask(2, 'long', {}, 1000)).rejects.toMatchObject({ sqlstate: '54000' });
  expect(await one.ask(2, 'echo', long.slice(2), 1000)).toHaveLength(maxBodyBytes - 2);
});
