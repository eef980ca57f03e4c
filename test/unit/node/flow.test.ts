/** A node whose memory fills up asks the others to pause; none pauses longer than somebody needs it. */
import { beforeEach, describe, expect, test } from 'vitest';
import type { PeerMessage } from '../../../src/core/peer/message.ts';
import { Flow } from '../../../src/node/flow.ts';

const megabyte = 1024 * 1024;
const pause: PeerMessage = { kind: 'flow', open: false };
const goOn: PeerMessage = { kind: 'flow', open: true };

let backlog: number;
let told: PeerMessage[];
/** What the source was told, in order. */
let source: ('pause' | 'resume')[];
let flow: Flow;

function tellings(): PeerMessage[] {
  return told.splice(0);
}

beforeEach(() => {
  backlog = 0;
  told = [];
  source = [];
  flow = new Flow({
    unappliedBytes: () => backlog,
    tell: (message) => void told.push(message),
    source: { pause: () => void source.push('pause'), resume: () => void source.push('resume') },
  });
});

describe('the own backlog', () => {
  test('above the high mark the others are asked to pause, below the low one to go on', () => {
    backlog = 16 * megabyte;
    flow.look(0);
    expect(tellings()).toEqual([]);
    backlog += 1;
    flow.look(50);
    expect(tellings()).toEqual([pause]);
    backlog = 5 * megabyte;
    flow.look(100);
    expect(tellings(), 'still too much, said again: a request may be lost').toEqual([pause]);
    backlog = 3 * megabyte;
    flow.look(150);
    flow.look(200);
    expect(tellings()).toEqual([goOn]);
  });

  test('over a new link the state is told whatever it is: "go on" may have been lost with the former', () => {
    backlog = 17 * megabyte;
    flow.look(0);
    backlog = 0;
    flow.look(50); // while the link is not up
    tellings();
    flow.linkUp();
    expect(tellings()).toEqual([goOn]);
    backlog = 17 * megabyte;
    flow.look(100);
    tellings();
    flow.linkUp();
    expect(tellings()).toEqual([pause]);
  });
});

describe('the own source', () => {
  test('pauses until the last member that asked wants it to go on', () => {
    flow.asked(2, false, 0);
    flow.asked(3, false, 0);
    flow.asked(2, false, 50);
    expect(source).toEqual(['pause']);
    flow.asked(2, true, 60);
    flow.asked(2, true, 70);
    expect(source).toEqual(['pause']);
    flow.asked(3, true, 80);
    expect(source).toEqual(['pause', 'resume']);
  });

  test('a link that has drained does not end the pause that the member has asked for', () => {
    flow.asked(3, false, 0);
    flow.linkFull(3, true);
    flow.linkFull(3, false);
    expect(source).toEqual(['pause']);
    flow.asked(3, true, 10);
    expect(source).toEqual(['pause', 'resume']);
  });

  test('nor does "go on" of the member fill a link that is full', () => {
    flow.linkFull(3, true);
    flow.asked(3, false, 0);
    flow.asked(3, true, 10);
    flow.look(1e6);
    expect(source).toEqual(['pause']);
    flow.linkFull(3, false);
    expect(source).toEqual(['pause', 'resume']);
  });

  test('a request holds while it is repeated, and not for a member that is not heard any more', () => {
    for (let now = 0; now <= 60_000; now += 1000) {
      flow.asked(3, false, now);
      flow.look(now);
    }
    flow.look(64_000);
    expect(source).toEqual(['pause']);
    flow.look(65_000);
    expect(source).toEqual(['pause', 'resume']);
  });

  test('a lost request costs until the next look of who asks', () => {
    const messages: PeerMessage[] = [];
    const asking = new Flow({
      unappliedBytes: () => 17 * megabyte,
      tell: (message) => void messages.push(message),
      source: { pause: () => undefined, resume: () => undefined },
    });
    asking.look(0);
    messages.length = 0; // the link broke
    asking.look(50);
    for (const message of messages) if (message.kind === 'flow') flow.asked(3, message.open, 50);
    expect(source).toEqual(['pause']);
  });
});
