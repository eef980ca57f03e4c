/** A program: `gateway-process.ts OWN-PORT PEER-PORT [on]` is the peer side of node 2, which talks until it is killed. */
import { PeerLinks } from '../../../../src/io/peers/peer-links.ts';

const [own, peer] = process.argv.slice(2, 4).map(Number);
const tls = process.argv[4] === 'on' ? 'on' : 'remote';
const nothing = (): void => undefined;

const links = new PeerLinks({
  clusterName: 'shop',
  secret: 's3cret',
  tls,
  nodeId: 2,
  incarnation: 1,
  listen: { host: '127.0.0.1', port: own ?? 0 },
  peers: [{ id: 1, since: 0, host: '127.0.0.1', port: peer ?? 0 }],
  log: { info: nothing, warn: nothing },
  handler: {
    onMessage: nothing,
    onLinkUp: nothing,
    onLinkDown: nothing,
    onPeerIncarnation: nothing,
    onPeerStopped: nothing,
    onDrained: nothing,
  },
  random: Math.random,
  now: () => performance.now(),
});
await links.start();
setInterval(() => links.send(1, { kind: 'finished', gid: 'again' }), 10);
