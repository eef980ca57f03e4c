/** Both sides of the handshake against each other and against strangers, without sockets. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  DialerHandshake,
  ListenerHandshake,
  type Accepted,
  type Admission,
  type Failed,
  type Identity,
} from '../../../../src/io/peers/handshake.ts';
import {
  anyNode,
  challengeBytes,
  helloBytes,
  verdictBytes,
  type ConnectionPurpose,
} from '../../../../src/io/peers/handshake-message.ts';

const one: Identity = {
  clusterName: 'shop',
  secret: 's3cret',
  nodeId: 1,
  incarnation: 5,
  since: 0,
  versions: { min: 1, max: 3 },
  tls: 'off',
};
const two: Identity = {
  clusterName: 'shop',
  secret: 's3cret',
  nodeId: 2,
  incarnation: 9,
  since: 7,
  versions: { min: 2, max: 7 },
  tls: 'off',
};

const nodeTwo = { id: 2, since: 7 };

interface Outcome {
  readonly dialer: Accepted | Failed | undefined;
  readonly listener: Accepted | Failed | undefined;
  /** All that the listener sent, in its two messages. */
  readonly sent: readonly Buffer[];
}

/** `pieces` cuts every message into pieces of at most so many bytes. */
function shakeHands(
  dialerIdentity: Identity,
  listenerIdentity: Identity,
  {
    target = 2,
    since = listenerIdentity.since,
    purpose = 'link',
    admit = () => undefined,
    pieces = Infinity,
    tamper,
  }: {
    target?: number;
    since?: number | undefined;
    purpose?: ConnectionPurpose;
    admit?: Admission;
    pieces?: number;
    tamper?: (bytes: Buffer, index: number) => Buffer;
  } = {},
): Outcome {
  const dialer = new DialerHandshake(dialerIdentity, { id: target, since }, purpose);
  const listener = new ListenerHandshake(listenerIdentity, admit);
  const results: { dialer?: Accepted | Failed; listener?: Accepted | Failed } = {};
  const sent: Buffer[] = [];
  let bytes: Buffer | undefined = dialer.hello;
  for (let index = 0; bytes !== undefined && index < 4; index += 1) {
    const side = index % 2 === 0 ? 'listener' : 'dialer';
    const incoming: Buffer = tamper?.(bytes, index) ?? bytes;
    bytes = undefined;
    for (let offset = 0; offset < incoming.length; offset += pieces) {
      const piece = incoming.subarray(offset, Math.min(incoming.length, offset + pieces));
      const step = (side === 'listener' ? listener : dialer).push(piece);
      if (step.send !== undefined) bytes = step.send;
      if (step.result !== undefined) results[side] = step.result;
    }
    if (side === 'listener' && bytes !== undefined) sent.push(bytes);
  }
  return { dialer: results.dialer, listener: results.listener, sent };
}

describe('two gateways of one cluster', () => {
  test.each([Infinity, 1, 7, 40])('know each other, also in pieces of %d bytes', (pieces) => {
    const { dialer, listener } = shakeHands(one, two, { pieces });
    expect(dialer).toMatchObject({ kind: 'accepted', peer: 2, incarnation: 9, since: 7, version: 3 });
    expect(listener).toMatchObject({ kind: 'accepted', peer: 1, incarnation: 5, since: 0, version: 3 });
  });
});

describe('a wrong peer is told apart, on both sides alike', () => {
  test.each<[string, Identity, Identity, object, string, RegExp]>([
    [
      'another secret',
      { ...one, secret: 'x' },
      two,
      {},
      'wrong-secret',
      /cluster secret of node 1 differs .* node 2/,
    ],
    [
      'another cluster',
      { ...one, clusterName: 'mill' },
      two,
      {},
      'wrong-cluster',
      /cluster "mill".*cluster "shop"/,
    ],
    [
      'no common version',
      { ...one, versions: { min: 8, max: 9 } },
      two,
      {},
      'wrong-version',
      /8 to 9.*2 to 7/,
    ],
    ['the own id', { ...one, nodeId: 2 }, two, {}, 'own-id', /node id 2/],
    ['another node at the address', one, two, { target: 3 }, 'wrong-node', /node 3's address is node 2/],
    [
      'not configured',
      one,
      two,
      { admit: () => 'unknown-node' },
      'unknown-node',
      /node 1 is not in the .* node 2/,
    ],
    [
      'a former process',
      one,
      two,
      { admit: () => 'stale-incarnation' },
      'stale-incarnation',
      /incarnation 5 of node 1/,
    ],
    [
      'a node that was removed',
      one,
      two,
      { admit: () => 'replaced-node' },
      'replaced-node',
      /^node 1 was removed from the cluster and its id given to another node$/,
    ],
    [
      'a node that this one has not heard of',
      one,
      two,
      { admit: () => 'newer-node' },
      'newer-node',
      /^node 2 has not heard yet that the id 1 was given to another node$/,
    ],
  ])('%s', (_name, from, to, options, kind, text) => {
    const { dialer, listener } = shakeHands(from, to, options);
    expect(dialer).toMatchObject({ kind: 'failed', reason: { kind, text: expect.stringMatching(text) } });
    expect(listener).toMatchObject({ kind: 'failed', reason: (dialer as Failed).reason });
  });

  test.each([
    [8, 'replaced-node', /answers at node 2's address: node 2 was removed from the cluster and its id given/],
    [6, 'newer-node', /node 1 has not heard yet that the id 2 was given to another node/],
  ])('the dialler that expects another node 2, since %d', (since, kind, text) => {
    const { dialer } = shakeHands(one, two, { since });
    expect(dialer).toMatchObject({ kind: 'failed', reason: { kind, text: expect.stringMatching(text) } });
  });

  test('the listener is asked about id, since, incarnation and purpose', () => {
    const asked: unknown[] = [];
    const admit = (hello: object) => void asked.push(hello);
    for (const purpose of ['link', 'stream', 'life-line', 'copy'] as const) {
      const { dialer } = shakeHands({ ...one, since: 3 }, two, { purpose, admit });
      expect(dialer).toMatchObject({ kind: 'accepted', purpose });
      expect(asked.pop()).toMatchObject({ from: 1, incarnation: 5, since: 3, purpose });
    }
  });

  test('only a copy may be asked of whoever listens', () => {
    const copy = shakeHands(one, two, { target: anyNode, since: undefined, purpose: 'copy' });
    expect(copy.dialer).toMatchObject({ kind: 'accepted', peer: 2, since: 7, purpose: 'copy' });
    const link = shakeHands(one, two, { target: anyNode, since: undefined });
    expect(link).toMatchObject({ dialer: undefined, listener: { reason: { kind: 'not-a-peer' } } });
    const refused = shakeHands({ ...one, secret: 'x' }, two, { target: anyNode, purpose: 'copy' });
    expect(refused.listener).toMatchObject({ claimed: undefined });
    expect((refused.dialer as Failed).reason.text).toContain('differs from that of the node that was called');
  });

  test('with another secret everything else may differ too: nothing of it is said', () => {
    const outcomes = [two, { ...two, clusterName: 'mill', nodeId: 7, incarnation: 1 }].map((listener) => {
      return shakeHands({ ...one, secret: 'x' }, listener).sent[1];
    });
    expect(outcomes[0]).toHaveLength(verdictBytes);
    expect(outcomes[1]).toEqual(outcomes[0]);
  });
});

describe('on the wire', () => {
  test('any changed byte ends in a failure on at least one side, never in an exception', () => {
    const place = fc.record({ index: fc.nat(3), at: fc.nat(200), flip: fc.integer({ min: 1, max: 255 }) });
    fc.assert(
      fc.property(place, ({ index, at, flip }) => {
        const tamper = (bytes: Buffer, message: number) => {
          if (message !== index) return bytes;
          const changed = Buffer.from(bytes);
          const where = at % changed.length;
          changed.writeUInt8(changed.readUInt8(where) ^ flip, where);
          return changed;
        };
        const { dialer, listener } = shakeHands(one, two, { tamper });
        expect(dialer?.kind === 'accepted' && listener?.kind === 'accepted').toBe(false);
        if (index < 3) expect(listener?.kind).not.toBe('accepted');
        expect(dialer?.kind).not.toBe('accepted');
      }),
      { numRuns: 500 },
    );
  });

  test('a recorded dialogue is worth nothing: the challenge is another one', () => {
    const recorded: Buffer[] = [];
    const tamper = (bytes: Buffer) => {
      recorded.push(bytes);
      return bytes;
    };
    shakeHands(one, two, { tamper });
    const [hello, challenge, proof] = recorded;
    const listener = new ListenerHandshake(two, () => undefined);
    expect(listener.push(hello ?? Buffer.alloc(0)).send).not.toEqual(challenge);
    expect(listener.push(proof ?? Buffer.alloc(0)).result).toMatchObject({
      reason: { kind: 'wrong-secret' },
    });
  });

  test('the proof of the dialler does not serve as that of the listener', () => {
    const dialer = new DialerHandshake(one, nodeTwo);
    const listener = new ListenerHandshake(two, () => undefined);
    const { send: challenge } = listener.push(dialer.hello);
    const { send: proof } = dialer.push(challenge ?? Buffer.alloc(0));
    const { send: verdict } = listener.push(proof ?? Buffer.alloc(0));
    const forged = Buffer.concat([
      (verdict ?? Buffer.alloc(0)).subarray(0, verdictBytes - 32),
      proof ?? Buffer.alloc(0),
    ]);
    expect(dialer.push(forged).result).toMatchObject({ reason: { kind: 'wrong-secret' } });
  });
});

describe('a stranger', () => {
  test('gets no byte before a whole hello, and then the challenge only', () => {
    const { hello } = new DialerHandshake({ ...one, secret: 'guess' }, nodeTwo);
    const listener = new ListenerHandshake(two, () => undefined);
    expect(listener.push(hello.subarray(0, helloBytes - 1))).toEqual({});
    expect(listener.push(hello.subarray(helloBytes - 1)).send).toHaveLength(challengeBytes);
  });

  test('random bytes end it, without an answer and without an exception', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ minLength: 1, maxLength: 200 }), { minLength: 1, maxLength: 4 }),
        (chunks) => {
          const listener = new ListenerHandshake(two, () => undefined);
          const dialer = new DialerHandshake(one, nodeTwo);
          for (const chunk of chunks) {
            const step = listener.push(Buffer.from(chunk));
            expect(step.send).toBeUndefined();
            if (step.result !== undefined) break;
          }
          for (const chunk of chunks) {
            const step = dialer.push(Buffer.from(chunk));
            expect(step.result?.kind).not.toBe('accepted');
            if (step.result !== undefined) break;
          }
        },
      ),
    );
  });

  test('something else at the peer address is recognised by its first bytes', () => {
    const { result } = new DialerHandshake(one, nodeTwo).push(Buffer.from('HTTP/1.1 400 Bad Request\r\n'));
    expect(result).toMatchObject({ kind: 'failed', reason: { kind: 'not-a-peer' } });
    const listener = new ListenerHandshake(two, () => undefined);
    expect(listener.push(Buffer.from('GET')).result).toMatchObject({ reason: { kind: 'not-a-peer' } });
  });
});
