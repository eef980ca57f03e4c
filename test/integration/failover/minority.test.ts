/** A node without the others: it refuses, says why, and never shows what is out of date – however it came to be alone. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { failureOf } from '../../support/cluster.ts';
import { eventually } from '../../support/polling.ts';
import { wishedRounds } from './fault-rounds.ts';
import { mend } from './faults.ts';
import { killGateway, killServer, pauseGateway, pauseServer, resumeProcesses } from './process-faults.ts';
import { ask, connect, hangUp, loopbackSite, wholeAgain, type Site } from './site.ts';
import { createRegister, staleReads } from './stale-read.ts';

interface Status {
  readonly status: string;
  readonly reason: string;
  readonly connected: number[];
  readonly gen_num: string;
  readonly gen_members: number[];
  readonly gen_members_online: number[];
  readonly gen_configured: number[];
}

let site: Site;

beforeAll(async () => {
  site = await loopbackSite({ majors: [17, 17, 17] });
  await createRegister(site);
});

afterEach(async () => {
  await mend(site, site.numbers);
  await wholeAgain(site);
});

afterAll(async () => {
  await site?.stop();
});

/** As an administrator asks, who gets an answer also from a node that is not online. */
async function statusOf(number: number): Promise<Status> {
  const admin = await connect(site, number, 'gateway', { application_name: 'mtm_admin' });
  try {
    const [row] = (await admin.query<Status>('SELECT * FROM mtm.status()')).rows;
    if (row === undefined) throw new Error('mtm.status() returns nothing');
    return row;
  } finally {
    hangUp(admin);
  }
}

const writes = `UPDATE register SET value = value WHERE id = 1`;

describe('the last of three', () => {
  test('refuses reads and writes, also in transactions that were open, and says why and what to do', async () => {
    const open = await connect(site, 3, 'gateway');
    await open.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    await open.query('SELECT * FROM register');
    await Promise.all([killGateway(site.node(1)), killGateway(site.node(2))]);
    await eventually('node 3 knows that it is alone', async () => (await statusOf(3)).status !== 'online');
    const idle = await connect(site, 3, 'gateway');
    for (const text of ['SELECT * FROM register', writes, 'SELECT 1', 'BEGIN']) {
      const failure = await failureOf(idle.query(text), text);
      expect(failure, text).toMatchObject({ code: '57P03', severity: 'ERROR' });
      expect(failure.message).toMatch(/^\[multimaster\] node is not online: current status "\w+"$/);
      expect(failure.detail, 'it names the missing nodes').toMatch(/node 1.*node 2/s);
      expect(failure.hint, 'it says what to do').toMatch(/bring|start|check/i);
    }
    expect((await failureOf(open.query('SELECT * FROM register'))).code).toMatch(/^57P0[13]$/);
    const { status, reason, connected } = await statusOf(3);
    expect(status).toBe('isolated');
    expect(reason, 'why').toMatch(/node 1.*node 2/s);
    expect(reason, 'what to do').toMatch(/bring|start|check/i);
    expect(connected).not.toContain(1);
    hangUp(open);
    hangUp(idle);
  });
});

describe('a majority of two', () => {
  test('goes on, and its status tells who is missing and why', async () => {
    await killGateway(site.node(3));
    await eventually('node 1 writes', () => succeeds(1, writes));
    for (const number of [1, 2]) {
      await eventually('it is online in the next generation', async () => {
        const { status, gen_members } = await statusOf(number);
        return status === 'online' && gen_members.length === 2;
      });
      const status = await statusOf(number);
      expect(status).toMatchObject({ status: 'online', gen_members: [1, 2], gen_configured: [1, 2, 3] });
      expect(new Set(status.gen_members_online)).toEqual(new Set([1, 2]));
      expect(status.reason).toMatch(/node 3/);
      expect(await ask(site, number, 'gateway', 'SELECT id FROM register')).toEqual([{ id: 1 }]);
    }
  });

  test('a node whose PostgreSQL has died says so', async () => {
    await killServer(site.node(2));
    await eventually('node 1 writes', () => succeeds(1, writes));
    await eventually('node 1 says so', async () => /node 2/.test((await statusOf(1)).reason));
    const failure = await failureOf(connect(site, 2, 'gateway').then((client) => client.query('SELECT 1')));
    expect(failure.code).toMatch(/^(57P03|08001|08006|57P01)$/);
    const answer = await fetch(`http://127.0.0.1:${site.node(2).httpPort}/ready`);
    expect(answer.status).toBe(503);
    expect(((await answer.json()) as { reason: string }).reason).toMatch(/server|PostgreSQL/i);
  });

  async function succeeds(number: number, text: string): Promise<boolean> {
    return ask(site, number, 'gateway', text, [], 5000).then(
      () => true,
      () => false,
    );
  }
});

describe('a node that stood still while the others went on', () => {
  test.each([
    { what: 'its gateway', still: () => pauseGateway(site.node(3)) },
    { what: 'its PostgreSQL', still: () => pauseServer(site.node(3)) },
  ])('$what: no answer is older than what the others have acknowledged', async ({ still }) => {
    for (let round = 1; round <= (wishedRounds === undefined ? 1 : 5); round++) {
      const { answers, stale } = await staleReads(site, 3, still, () => resumeProcesses(site.nodes));
      expect(stale, `round ${round}: of ${answers.length} answers`).toEqual([]);
      expect(answers.length).toBeGreaterThan(10);
      await wholeAgain(site);
    }
  });
});
