/**
 * A client in a process of its own, so that it can be stopped and go on (SIGSTOP, SIGCONT): `client-process.ts PORT WORK`.
 * Says "ready" when it has begun, and what it has done at the end.
 *   holds   begins a transaction that locks the row 1, and commits when a line comes
 *   reads   reads a result of 100 MB and counts it
 *   writes  updates the row 2, again and again, until a line comes
 */
import { once } from 'node:events';
import { Client } from 'pg';

const [port, work] = process.argv.slice(2);
const client = new Client({ host: '127.0.0.1', port: Number(port), user: 'postgres', database: 'app' });
await client.connect();
let asked = false;
const line = once(process.stdin, 'data').then(() => (asked = true));

if (work === 'holds') {
  await client.query('BEGIN');
  await client.query('UPDATE account SET balance = balance WHERE id = 1');
  process.stdout.write('ready\n');
  await line;
  await client.query('COMMIT');
  process.stdout.write('committed\n');
} else if (work === 'reads') {
  process.stdout.write('ready\n');
  const { rows } = await client.query("SELECT repeat('x', 1000) AS x FROM generate_series(1, 100000)");
  process.stdout.write(`${rows.length} rows\n`);
} else {
  process.stdout.write('ready\n');
  let done = 0;
  for (; !asked; done++) await client.query('UPDATE account SET balance = balance WHERE id = 2');
  process.stdout.write(`${done} updates\n`);
}
await client.end();
process.exit(0);
