/**
 * A program: `unix-relay.ts FOLDER PORT…` serves FOLDER/.s.PGSQL.PORT and relays each connection to 127.0.0.1:PORT. It runs on
 * a host of the network lab, so that a test outside of it can talk to what listens there. A Unix socket belongs to no network.
 */
import { connect, createServer } from 'node:net';
import { join } from 'node:path';

const [folder = '', ...ports] = process.argv.slice(2);
let listening = 0;

for (const port of ports) {
  const server = createServer((inner) => {
    const outer = connect({ host: '127.0.0.1', port: Number(port) });
    outer.setNoDelay(true);
    // One side ends or breaks: so does the other.
    inner.on('error', () => outer.destroy()).on('close', () => outer.destroy());
    outer.on('error', () => inner.destroy()).on('close', () => inner.destroy());
    inner.pipe(outer);
    outer.pipe(inner);
  });
  server.listen(join(folder, `.s.PGSQL.${port}`), () => {
    listening += 1;
    if (listening === ports.length) process.stdout.write('listening\n');
  });
}
