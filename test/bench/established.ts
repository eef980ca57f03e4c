/** A thread of clients that were there before: they read, and write down how long each answer took. See sessions.ts. */
import { parentPort, workerData } from 'node:worker_threads';
import { Client } from 'pg';

const { port, database, clients } = workerData as { port: number; database: string; clients: number };
let times: number[] = [];

async function read(client: Client): Promise<void> {
  for (;;) {
    const begun = performance.now();
    await client.query({ name: 'one', text: 'SELECT 1' });
    times.push(performance.now() - begun);
  }
}

parentPort?.on('message', () => {
  parentPort?.postMessage(times);
  times = [];
});

const all = Array.from(
  { length: clients },
  () => new Client({ ssl: false, host: '127.0.0.1', port, user: 'postgres', database }),
);
await Promise.all(all.map((client) => client.connect()));
parentPort?.postMessage([]);
await Promise.all(all.map(read));
