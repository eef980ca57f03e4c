/** One port, several clusters: whoever calls is given to the one that he names. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { encodeHello, helloBytes } from '../../../../src/io/peers/handshake-message.ts';
import { PeerPort } from '../../../../src/io/peers/peer-port.ts';

const open: (PeerPort | Socket)[] = [];

afterEach(() => {
  for (const each of open.splice(0))
    if (each instanceof PeerPort) each.close();
    else each.destroy();
});

const security = { secret: 's3cret', tls: 'remote' } as const;
const events = { onRefused: () => undefined, onAcceptFailed: () => undefined };

async function newPort(names: readonly string[]): Promise<{ port: PeerPort; call: () => Promise<Socket> }> {
  const port = new PeerPort(names, security, events);
  await port.listen('127.0.0.1', 0);
  open.push(port);
  const call = async (): Promise<Socket> => {
    const socket = connect(port.port, '127.0.0.1');
    open.push(socket);
    await once(socket, 'connect');
    return socket;
  };
  return { port, call };
}

function hello(clusterName: string): Buffer {
  const versions = { min: 1, max: 3 };
  const nonce = Buffer.alloc(32, 7);
  return encodeHello({
    versions,
    from: 1,
    to: 2,
    purpose: 'link',
    incarnation: 1,
    since: 0,
    nonce,
    clusterName,
  });
}

/** What the cluster is given, from the first byte on. */
function served(port: PeerPort, name: string): Promise<Buffer> {
  return new Promise((resolve) => {
    port.serve(name, (socket) => {
      let bytes = Buffer.alloc(0);
      socket.on('data', (chunk: Buffer) => {
        bytes = Buffer.concat([bytes, chunk]);
        if (bytes.length >= helloBytes + 4) resolve(bytes);
      });
    });
  });
}

test('by the name in the hello, in any pieces, with all its bytes', async () => {
  const { port, call } = await newPort(['shop', 'shop/stock']);
  const [first, second] = [served(port, 'shop'), served(port, 'shop/stock')];
  const whole = await call();
  whole.write(Buffer.concat([hello('shop/stock'), Buffer.from('more')]));
  const pieces = await call();
  pieces.setNoDelay(true);
  for (const byte of Buffer.concat([hello('shop'), Buffer.from('rest')])) {
    pieces.write(Buffer.of(byte));
    await new Promise(setImmediate);
  }
  expect((await second).subarray(helloBytes).toString()).toBe('more');
  expect((await first).equals(Buffer.concat([hello('shop'), Buffer.from('rest')]))).toBe(true);
});

test('one whose links are not there is closed; a name that is not ours is for the first to refuse', async () => {
  const { port, call } = await newPort(['shop', 'shop/stock']);
  const first = served(port, 'shop');
  const early = await call();
  early.write(hello('shop/stock'));
  await once(early, 'close');
  const stranger = await call();
  stranger.write(Buffer.concat([hello('elsewhere'), Buffer.from('more')]));
  expect((await first).subarray(helloBytes).toString()).toBe('more');
});

test('what is no hello is closed at once, and a place that was left is not called', async () => {
  const { port, call } = await newPort(['shop']);
  const leave = port.serve('shop', () => expect.unreachable());
  const wrong = await call();
  wrong.write('GET / HTTP/1.1\r\n\r\n');
  await once(wrong, 'close');
  leave();
  const late = await call();
  late.write(hello('shop'));
  await once(late, 'close');
});

test('a port that is taken is one sentence', async () => {
  const { port } = await newPort(['shop']);
  const { port: number } = port;
  await expect(new PeerPort(['shop'], security, events).listen('127.0.0.1', number)).rejects.toThrow(
    `cannot listen for peers on 127.0.0.1:${number}: the address is in use`,
  );
});
