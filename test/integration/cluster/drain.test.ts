/**
 * A gateway that is told to end (SIGTERM), the cluster whose gateways are restarted one after the other under load, and
 * clients that stand still. Prints figures.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startNode, stopNode } from '../../../src/io/launcher/embedded-cluster.ts';
import { waitUntilGone } from '../../../src/io/launcher/process-control.ts';
import { isSqlstate } from '../../../src/lib/sqlstate.ts';
import { failureOf, startCluster, type Cluster, type SqlFailure } from '../../support/cluster.ts';
import { equalRows, noPrepared } from '../../support/convergence.ts';
import { q } from '../../support/frontend-messages.ts';
import { eventually, within } from '../../support/polling.ts';
import { WireClient } from '../wire/wire-client.ts';

const accounts = 12;
const opening = 1000;
let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ majors: [18, 15, 18] });
  await cluster.query(1, 'CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL)');
  await cluster.query(1, 'CREATE TABLE transfer (id text PRIMARY KEY, source int, target int, amount int)');
  await cluster.query(
    1,
    `INSERT INTO account SELECT g, ${opening} FROM generate_series(1, ${accounts}) AS g`,
  );
});

afterAll(async () => {
  await cluster?.stop();
});

async function ready(number: number): Promise<number> {
  const { httpPort } = cluster.node(number);
  return (await fetch(`http://127.0.0.1:${httpPort}/ready`)).status;
}

describe('SIGTERM', () => {
  test('idle sessions end in the words of PostgreSQL, transactions are finished, nobody new comes in', async () => {
    const { gatewayPort, postgresPort } = cluster.node(1);
    const stock = await WireClient.open(postgresPort);
    const idle = await WireClient.open(gatewayPort);
    const silent = connect(gatewayPort, '127.0.0.1').on('error', () => undefined);
    await once(silent, 'connect');
    const busy = await WireClient.open(gatewayPort);
    const sleeping = await WireClient.open(gatewayPort);
    await busy.step({ send: [q('BEGIN; UPDATE account SET balance = balance WHERE id = 3')] });
    const slept = sleeping.step({ send: [q('SELECT pg_sleep(600)')] });
    const pid = cluster.gatewayPid(1);
    await cluster.directly(1, 'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1', [
      stock.processId,
    ]);
    process.kill(pid, 'SIGTERM');
    await eventually('the idle ones are closed', () => idle.closed && stock.closed);
    expect(idle.lines.slice(-2)).toEqual(stock.lines.slice(-2));
    expect(idle.lines.at(-2)).toContain('C=57P01 | M=terminating connection due to administrator command');
    expect(await ready(1)).toBe(503);
    expect(await failureOf(cluster.client(1))).toMatchObject({ code: '57P03', severity: 'FATAL' });
    // Who is at work goes on, and may cancel what takes too long.
    await sleeping.cancel(gatewayPort);
    await slept;
    expect(sleeping.lines.some((line) => line.includes('C=57014'))).toBe(true);
    await busy.step({ send: [q('UPDATE account SET balance = balance WHERE id = 4')] });
    await busy.step({ send: [q('COMMIT')] });
    expect(busy.lines).toContain('commandComplete COMMIT\\u0000');
    await eventually('its session ends then', () => busy.closed && sleeping.closed);
    expect(busy.lines.at(-2)).toContain('C=57P01');
    expect(await waitUntilGone(pid, 30_000)).toBe(true);
    silent.destroy();
    await cluster.startGateway(1);
    await cluster.whole();
  });

  test('a second signal ends it at once', async () => {
    const pid = cluster.gatewayPid(2);
    const busy = await WireClient.open(cluster.node(2).gatewayPort);
    await busy.step({ send: [q('BEGIN')] });
    process.kill(pid, 'SIGTERM');
    await eventually('it drains', async () => (await ready(2)) === 503);
    process.kill(pid, 'SIGTERM');
    expect(await waitUntilGone(pid, 30_000)).toBe(true);
    await eventually('the session is closed', () => busy.closed);
    expect(busy.lines.slice(-2)).toEqual(['readyForQuery T', 'closed']); // not even a word
    await cluster.startGateway(2);
    await cluster.whole();
  });
});

/** What an application repeats; a lost connection leaves open whether the COMMIT was done. */
const repeatable = new Set(['40001', '40P01', '57P01', '57P03', '08006', '08007', '57P02', '08001']);

interface Told {
  /** Of each transfer, from its first attempt to its answer, ms. */
  readonly ms: number[];
  readonly acknowledged: string[];
  readonly repeats: Map<string, number>;
}

class Worker {
  readonly #told: Told;
  readonly #name: number;
  #client: Client | undefined;
  #node: number;

  constructor(name: number, told: Told) {
    this.#name = name;
    this.#node = 1 + (name % 3);
    this.#told = told;
  }

  async work(goOn: () => boolean): Promise<void> {
    for (let number = 0; goOn(); number++) {
      const id = `${this.#name}-${number}`;
      const source = 1 + ((this.#name + number) % accounts);
      const target = 1 + ((this.#name + 5 * number + 1) % accounts);
      const begin = performance.now();
      while (!(await this.#attempt(id, source, target))) await pause(20);
      this.#told.ms.push(performance.now() - begin);
      this.#told.acknowledged.push(id);
    }
    await this.#client?.end().catch(() => undefined);
  }

  async #attempt(id: string, source: number, target: number): Promise<boolean> {
    try {
      this.#client ??= await cluster.client(this.#node);
      const client = this.#client;
      await client.query('BEGIN');
      await client.query('INSERT INTO transfer VALUES ($1, $2, $3, 1)', [id, source, target]);
      await client.query('UPDATE account SET balance = balance - 1 WHERE id = $1', [source]);
      await client.query('UPDATE account SET balance = balance + 1 WHERE id = $1', [target]);
      await client.query('COMMIT');
      return true;
    } catch (error) {
      return this.#failed(error as SqlFailure);
    }
  }

  /** True: an attempt before has done it. */
  async #failed({ code, message }: SqlFailure): Promise<boolean> {
    // Of a driver: the connection is refused, was reset or has ended.
    const lost = !isSqlstate(code);
    const shown = lost ? 'connection' : code;
    this.#told.repeats.set(shown, (this.#told.repeats.get(shown) ?? 0) + 1);
    if (!lost && code !== '23505' && !repeatable.has(code)) throw new Error(`${code}: ${message}`);
    const rolledBack = await this.#client?.query('ROLLBACK').then(
      () => true,
      () => false,
    );
    if (rolledBack !== true) {
      this.#client?.end().catch(() => undefined);
      this.#client = undefined;
      this.#node = 1 + (this.#node % 3);
    }
    return code === '23505';
  }
}

test('gateways restarted one after the other under load: nothing is lost, nothing done twice', async () => {
  const told: Told = { ms: [], acknowledged: [], repeats: new Map() };
  let goOn = true;
  const workers = Array.from({ length: 6 }, (_, name) => new Worker(name, told).work(() => goOn));
  const stopped = Promise.all(workers); // a failure ends the test below
  stopped.catch(() => (goOn = false));
  const took: number[] = [];
  try {
    for (const number of cluster.numbers) {
      const before = told.acknowledged.length;
      await eventually('they work', () => !goOn || told.acknowledged.length > before + 30, 60_000);
      const begin = performance.now();
      await stopNode(cluster.node(number), ['gateway']);
      await startNode(cluster.node(number), ['gateway']);
      await cluster.whole();
      took.push(Math.round(performance.now() - begin));
    }
  } finally {
    goOn = false;
    await stopped;
  }
  await noPrepared(cluster);
  await equalRows(cluster);
  const there = new Set(
    (await cluster.directly<{ id: string }>(2, 'SELECT id FROM transfer')).map(({ id }) => id),
  );
  expect(
    told.acknowledged.filter((id) => !there.has(id)),
    'acknowledged and lost',
  ).toEqual([]);
  expect(there.size, 'done and not acknowledged').toBe(told.acknowledged.length);
  const wrong = await cluster.directly(
    2,
    `SELECT a.id FROM account a LEFT JOIN transfer t ON a.id IN (t.source, t.target) GROUP BY a.id, a.balance
     HAVING a.balance <> ${opening} + coalesce(sum(CASE WHEN t.source = t.target THEN 0 WHEN a.id = t.target THEN t.amount
       ELSE -t.amount END), 0)`,
  );
  expect(wrong, 'balances that the transfers do not explain').toEqual([]);
  const sorted = told.ms.toSorted((one, other) => one - other);
  const at = (part: number): string => (sorted[Math.floor(part * (sorted.length - 1))] ?? 0).toFixed(0);
  const repeats = [...told.repeats].map(([code, count]) => `${code} ${count}`).join(', ');
  process.stdout.write(
    `rolling restart: ${sorted.length} transfers; repeated: ${repeats}; answered in p50 ${at(0.5)} ms, ` +
      `p99 ${at(0.99)} ms, at most ${at(1)} ms; restarts took ${took.join(', ')} ms\n`,
  );
});

describe('clients that stand still', () => {
  const program = fileURLToPath(new URL('client-process.ts', import.meta.url));
  const children: ChildProcess[] = [];

  afterAll(() => {
    for (const child of children) child.kill('SIGKILL');
  });

  async function start(work: string): Promise<{ child: ChildProcess; said: () => string }> {
    const args = [program, String(cluster.node(1).gatewayPort), work];
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    children.push(child);
    let said = '';
    child.stdout!.setEncoding('utf8').on('data', (text: string) => (said += text));
    await eventually(`${work} has begun`, () => said.includes('ready'));
    return { child, said: () => said };
  }

  const ended = async (child: ChildProcess): Promise<void> => {
    if (child.exitCode === null) await within('the client ends', 60_000, once(child, 'close'));
  };

  test('hold their own locks, and nobody else', async () => {
    const holds = await start('holds');
    const reads = await start('reads');
    const writes = await start('writes');
    for (const { child } of [holds, reads, writes]) child.kill('SIGSTOP');
    const memory = cluster.gatewayMemory(1);
    const others = await Promise.all(cluster.numbers.map((number) => cluster.client(number)));
    const begin = performance.now();
    for (let round = 0; round < 20; round++) {
      for (const [index, other] of others.entries())
        await other.query('UPDATE account SET balance = balance WHERE id = $1', [5 + index]);
    }
    const each = (performance.now() - begin) / 60;
    await others[0]!.query("SET lock_timeout = '200ms'");
    const waiting = others[0]!.query('UPDATE account SET balance = balance WHERE id = 1');
    expect(await failureOf(waiting)).toMatchObject({ code: '55P03' });
    expect(cluster.gatewayMemory(1) - memory).toBeLessThan(64 * 1024 * 1024);
    for (const { child } of [holds, reads, writes]) child.kill('SIGCONT');
    for (const { child } of [holds, writes]) child.stdin!.write('end\n');
    await Promise.all([holds, reads, writes].map(({ child }) => ended(child)));
    expect(holds.said()).toContain('committed');
    expect(reads.said()).toContain('100000 rows');
    expect(writes.said()).toContain('updates');
    await others[0]!.query('UPDATE account SET balance = balance WHERE id = 1');
    for (const other of others) await other.end();
    process.stdout.write(`three clients stopped: the updates of others took ${each.toFixed(1)} ms each\n`);
  });
});
