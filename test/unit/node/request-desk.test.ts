import { pino } from 'pino';
import { expect, test } from 'vitest';
import { keyProof } from '../../../src/node/header-proof.ts';
import { RequestDesk, RequestError, type RequestHandler } from '../../../src/node/request-desk.ts';

const announceKey = new TextEncoder().encode('a key');

function content(request: object, key = announceKey): string {
  const text = JSON.stringify(request);
  return JSON.stringify({ request: text, proof: keyProof(key, `request:${text}`) });
}

async function answersTo(
  handlers: Readonly<Record<string, RequestHandler>>,
  contents: readonly string[],
  fails = false,
): Promise<unknown[]> {
  const notes: unknown[] = [];
  const log = pino({ level: 'silent' });
  const note = async (id: string, reply: object | undefined, error: object | undefined): Promise<void> => {
    await Promise.resolve();
    if (fails) throw new Error('the connection is gone');
    notes.push(reply ?? error ?? `${id} taken`);
  };
  const desk = new RequestDesk({ incarnation: 4, announceKey, log, note }, handlers);
  for (const each of contents) desk.received(each);
  await new Promise((resolve) => setTimeout(resolve, 5));
  return notes;
}

const asked = { id: 'q1', incarnation: 4, pid: 99, verb: 'echo', args: { a: 1 } };
const echo: RequestHandler = (args, asker) => Promise.resolve({ args, asker });

test('a question is taken, then answered', async () => {
  expect(await answersTo({ echo }, [content(asked)])).toEqual([
    'q1 taken',
    { args: { a: 1 }, asker: { backendPid: 99 } },
  ]);
});

test('errors arrive with their SQLSTATE; an unknown verb is one', async () => {
  const handlers = {
    echo,
    refuse: () => Promise.reject(new RequestError('55000', 'not so', 'otherwise')),
    fail: () => Promise.reject(Object.assign(new Error('of the server'), { code: '53100' })),
    bug: () => Promise.reject(Object.assign(new Error('a bug'), { code: 'ERR_X' })),
  };
  const contents = ['refuse', 'fail', 'bug', 'valueOf'].map((verb) => content({ ...asked, verb }));
  const answers = (await answersTo(handlers, contents)).filter((each) => typeof each === 'object');
  expect(answers).toEqual(
    expect.arrayContaining([
      { sqlstate: '55000', message: 'not so', hint: 'otherwise' },
      { sqlstate: '53100', message: 'of the server' },
      { sqlstate: 'XX000', message: 'a bug' },
      { sqlstate: '0A000', message: expect.stringMatching(/valueOf/u) },
    ]),
  );
});

test('what is not for this gateway, or not from its own function, is not answered', async () => {
  const contents = [
    content({ ...asked, incarnation: 3 }),
    content(asked, new TextEncoder().encode('another key')),
    JSON.stringify({ request: JSON.stringify(asked) }),
    'no JSON',
    'null',
  ];
  expect(await answersTo({ echo }, contents)).toEqual([]);
});

test('an answer that cannot be written hurts nobody', async () => {
  expect(await answersTo({ echo }, [content(asked)], true)).toEqual([]);
});
