/**
 * The status page and /metrics of a real cluster, in a real browser: four states, in the width of a desk (light) and
 * of a phone (dark). The pictures are for people: they stay in the folder MTM_TEST_SHOTS, else mtm-gateway-page of the
 * system's folder for temporary files.
 */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium, type Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DatabaseReport, StatusReport } from '../../../src/admin/status-report.ts';
import { metricDefinitions } from '../../../src/telemetry/metric-definitions.ts';
import { startCluster, type Cluster } from '../../support/cluster.ts';
import { eventually } from '../../support/polling.ts';

const browserPath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(
  existsSync,
);
const missing = browserPath === undefined ? ' (not run: this machine has no chromium)' : '';
const folder = process.env['MTM_TEST_SHOTS'] ?? join(tmpdir(), 'mtm-gateway-page');
const checks = readFileSync(new URL('page-checks.js', import.meta.url), 'utf8');
/** Names may contain anything. */
const clusterName = '<img src=x onerror="document.title=1">';

let cluster: Cluster;
let browser: Browser | undefined;

beforeAll(async () => {
  cluster = await startCluster({ databases: ['billing'], settings: { cluster_name: clusterName } });
  if (browserPath === undefined) return;
  mkdirSync(folder, { recursive: true });
  const args = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
  browser = await chromium.launch({ executablePath: browserPath, args, timeout: 120_000 });
});

afterAll(async () => {
  await browser?.close();
  await cluster?.stop();
});

const addressOf = (node: number): string => `http://127.0.0.1:${cluster.node(node).httpPort}`;

async function statusOf(node: number): Promise<StatusReport> {
  const answer = await fetch(`${addressOf(node)}/status.json`);
  return (await answer.json()) as StatusReport;
}

async function appOf(node: number): Promise<StatusReport['databases'][number]> {
  return (await statusOf(node)).databases[0]!;
}

async function metricsOf(node: number): Promise<string> {
  return (await fetch(`${addressOf(node)}/metrics`)).text();
}

/** Resolves when node's report is as wanted; while its gateway begins there is none. */
async function becomes(
  node: number,
  what: string,
  wanted: (report: DatabaseReport) => boolean,
): Promise<void> {
  const probe = async (): Promise<boolean> => {
    try {
      return wanted(await appOf(node));
    } catch {
      return false;
    }
  };
  await eventually(`node ${node}: ${what}`, probe, 120_000);
}

const looks = [
  { name: 'desktop-light', width: 1280, height: 900, colorScheme: 'light' },
  { name: 'phone-dark', width: 360, height: 740, colorScheme: 'dark' },
] as const;

interface Look {
  readonly node: number;
  readonly state: string;
  /** In the headline, once it is there. */
  readonly headline: string;
  /** On the page. */
  readonly shows: readonly (string | RegExp)[];
}

/** Looks at the page in each look, leaves a picture, and finds nothing wrong. */
async function lookAt({ node, state, headline, shows }: Look): Promise<void> {
  for (const { name, width, height, colorScheme } of looks) {
    const page = await browser!.newPage({
      viewport: { width, height },
      colorScheme,
      reducedMotion: 'reduce',
    });
    try {
      const said: string[] = [];
      page.on('console', (line) => void said.push(line.text()));
      page.on('pageerror', (error) => void said.push(error.message));
      page.on('request', (asked) => {
        if (!asked.url().startsWith(`${addressOf(node)}/`) && !asked.url().startsWith('data:'))
          said.push(asked.url());
      });
      await page.goto(`${addressOf(node)}/`, { timeout: 60_000 });
      await page.locator('#headline-text', { hasText: headline }).waitFor({ timeout: 60_000 });
      await page.screenshot({ path: join(folder, `${state}-${name}.png`), fullPage: true, timeout: 60_000 });
      const where = `${state}, ${name}`;
      for (const check of ['findFaults', 'findBareNumbers', 'findUnnamed'])
        expect(await page.evaluate(`${checks}; pageChecks.${check}()`), `${where}: ${check}`).toEqual([]);
      const text = await page.locator('body').innerText();
      for (const part of shows) expect(text, where).toMatch(part);
      expect(said, where).toEqual([]);
    } finally {
      await page.close();
    }
  }
}

describe.skipIf(browserPath === undefined)(`the status page${missing}`, () => {
  test('all online', async () => {
    await cluster.query(1, 'CREATE TABLE kept (id int PRIMARY KEY, body text)');
    const before = (await appOf(1)).totals;
    for (let id = -20; id < 0; id++) await cluster.query(1, `INSERT INTO kept VALUES (${id}, 'x')`);
    for (let count = 0; count < 30; count++) await cluster.query(1, 'SELECT count(*) FROM kept');
    // What is shown may be a quarter of a second old.
    await eventually('the counts', async () => (await appOf(1)).totals['reads']! >= before['reads']! + 30);
    const { totals } = await appOf(1);
    expect(totals['committed']).toBe(before['committed']! + 20);
    expect(totals['reads']).toBe(before['reads']! + 30);
    await lookAt({
      node: 1,
      state: 'all-online',
      headline: 'serves reads and writes',
      shows: ['Node 1', 'Node 2', 'Node 3', clusterName, /Writes of this node/],
    });
  }, 240_000);

  test('another database, chosen by its name; what looks like markup is text', async () => {
    const page = await browser!.newPage();
    await page.goto(`${addressOf(2)}/`, { timeout: 60_000 });
    await page.locator('#database').selectOption('billing', { timeout: 60_000 });
    await page.getByText('database billing').waitFor({ timeout: 60_000 });
    expect(await page.locator('img').count()).toBe(0);
    expect(await page.title()).toContain(clusterName);
    await page.close();
  }, 240_000);

  test('one node down: who, since when and why', async () => {
    await cluster.killGateway(3);
    await becomes(
      1,
      'goes on with two',
      ({ generation: { members }, writable }) => members.length === 2 && writable,
    );
    await write(1, 60);
    await lookAt({
      node: 1,
      state: 'one-node-down',
      headline: 'serves reads and writes',
      shows: [/generation \d+ goes on without node 3/, /Node 3\s+away/, /members 1, 2/, /Kept for node 3/],
    });
  }, 240_000);

  test('catching up: how far, and how long it may take', async () => {
    const throttle = new Throttle();
    try {
      throttle.start();
      await cluster.restartGateway(3, {});
      await becomes(
        3,
        'replays',
        ({ catchUp }) => (catchUp?.replayedBytes ?? 0) > 0 && catchUp?.lagBytes !== null,
      );
      throttle.tight = true;
      await becomes(
        3,
        'knows its pace',
        ({ catchUp }) => catchUp === null || catchUp.paceBytesPerSecond !== null,
      );
      await lookAt({
        node: 3,
        state: 'catching-up',
        headline: 'Catching up',
        shows: [/\d+ %/, /of WAL/, /Time left/, /replays what it missed from node [12]/],
      });
    } finally {
      throttle.stop();
    }
    await becomes(3, 'online again', ({ writable }) => writable);
    expect((await appOf(3)).events.map(({ kind }) => kind)).toContain('caught-up');
  }, 240_000);

  test('no quorum: nobody is served, and the page says what is missing', async () => {
    await Promise.all([cluster.killGateway(2), cluster.killGateway(3)]);
    await becomes(1, 'isolated', ({ status }) => status === 'isolated');
    await becomes(
      1,
      'knows who is missing',
      ({ nodes }) => nodes.filter(({ state }) => state === 'away').length === 2,
    );
    await lookAt({
      node: 1,
      state: 'no-quorum',
      headline: 'No quorum',
      shows: ['serves nobody', '2 of 3 nodes must be in contact', /1 node of 3/],
    });
    await Promise.all([cluster.startGateway(2), cluster.startGateway(3)]);
    await cluster.whole(120_000);
  }, 240_000);
});

describe('/metrics of a real gateway', () => {
  test('every metric is there, and every one that the dashboard names has a value', async () => {
    const text = await metricsOf(1);
    for (const name of Object.keys(metricDefinitions)) expect(text).toContain(`# TYPE ${name} `);
    const dashboard = readFileSync(
      new URL('../../../config/grafana-dashboard.json', import.meta.url),
      'utf8',
    );
    const named = new Set(dashboard.match(/\bmtm_\w+/g));
    // Only while a node catches up, or when somebody was turned away.
    const atTimes = ['mtm_catch_up_remaining_seconds', 'mtm_refused_connections_total'];
    for (const name of named)
      if (!atTimes.includes(name))
        expect(text, name).toMatch(new RegExp(`^${name}\\{.*\\} [0-9.e+-]+$`, 'm'));
  });

  test('conflicts are counted with their reason, and votes', async () => {
    await cluster.query(1, 'CREATE TABLE IF NOT EXISTS fought (id int PRIMARY KEY, n int)');
    await cluster.query(1, 'INSERT INTO fought VALUES (1, 0) ON CONFLICT DO NOTHING');
    const update = 'UPDATE fought SET n = n + 1 WHERE id = 1';
    for (let round = 0; round < 30; round++)
      await Promise.all([1, 2, 3].map((node) => cluster.query(node, update)));
    await eventually('conflicts on some node', async () => {
      const totals = await Promise.all([1, 2, 3].map(async (node) => (await appOf(node)).totals));
      return totals.some(({ conflicts }) => conflicts! > 0);
    });
    expect(await metricsOf(2)).toMatch(/mtm_votes_total\{database="app",vote="yes",node="2"\} [1-9]/);
  });
});

/** Some MB of WAL in many transactions, so that there is something to catch up with. */
async function write(node: number, transactions: number): Promise<void> {
  for (let at = 0; at < transactions; at++)
    await cluster.query(
      node,
      `INSERT INTO kept SELECT ${at} * 1000 + n, repeat(md5(n::text), 30) FROM generate_series(1, 500) n`,
    );
}

/** Lets the replay into the server of node 3 work for a moment only now and then: on any machine it takes a while. */
class Throttle {
  #pid: number | undefined;
  #stopped = false;
  #paused = false;
  /** It has begun: from now on even less. */
  tight = false;

  start(): void {
    void this.#run();
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const pauseMs = this.tight ? 400 : 90;
      await new Promise((resolve) => setTimeout(resolve, this.#paused ? pauseMs : 10));
      this.#pid ??= await this.#find();
      if (this.#stopped) return;
      if (this.#pid === undefined) continue;
      this.#paused = this.#signal(this.#paused ? 'SIGCONT' : 'SIGSTOP') && !this.#paused;
    }
  }

  async #find(): Promise<number | undefined> {
    const text = `SELECT pid FROM pg_stat_activity WHERE application_name = 'mtm_recovery' AND datname = 'app'`;
    const rows = await cluster.directly<{ pid: number }>(3, text).catch(() => []);
    return rows[0]?.pid;
  }

  #signal(signal: 'SIGSTOP' | 'SIGCONT'): boolean {
    try {
      process.kill(this.#pid!, signal);
      return true;
    } catch {
      this.#pid = undefined;
      return false;
    }
  }

  stop(): void {
    this.#stopped = true;
    if (this.#pid !== undefined && this.#paused) this.#signal('SIGCONT');
  }
}
