/**
 * The newcomer's path on one machine: pack, install into an empty folder, `npx mtm-gateway dev`, psql, a node dies, the
 * others show it and go on, it comes back, all are equal, Ctrl-C. Rule: only what a newcomer can do: commands, SQL, HTTP;
 * each step is checked, and what the walk has started is gone when it ends.
 */
import { strict as assert } from 'node:assert';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from 'pg';
import { pidExists } from '../../src/io/launcher/process-control.ts';
import { eventually, settled, within } from '../support/polling.ts';
import { findProgram, runProgram } from '../support/programs.ts';
import { findBrowser, readPage, reportedState } from './page.ts';
import { command, freshEnvironment, installFromHere, installFromRegistry, pack } from './installation.ts';

export interface WalkWishes {
  /** Empty; as root, one that everybody may enter. */
  readonly folder: string;
  /** The base port of the cluster. */
  readonly port: number;
  /** registry: npm install; here: the same without a network (installation.ts). */
  readonly from: 'registry' | 'here';
  /** Told of each step when it is done, with the seconds that it took. */
  readonly done: (step: string, seconds: number) => void;
}

const nodes = [1, 2, 3];
/** Reached by what never happens only, also where a machine does much else. */
const limitMs = 180_000;

/** What must be in the tarball beside the code. */
const promised = [
  'README.md',
  'config/README.md',
  'config/gateway.schema.json',
  'config/gateway.yaml',
  'dist/THIRD-PARTY.md',
  'dist/admin/page.css',
  'dist/admin/page.html',
  'dist/admin/page-files.js',
  'dist/admin/page.js',
  'dist/main.js',
  'dist/mtm-gateway.sh',
  'dist/io/postgres/sql/schema.sql',
  'package.json',
];

/** `npx mtm-gateway …` in a process group of its own, as a terminal runs it. */
class NpxRun {
  readonly #child: ChildProcess;
  readonly ended: Promise<number | null>;
  said = '';

  constructor(folder: string, args: readonly string[]) {
    this.#child = spawn('npx', ['mtm-gateway', ...args], {
      cwd: folder,
      env: freshEnvironment(),
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const note = (chunk: Buffer): void => void (this.said += chunk.toString());
    this.#child.stdout?.on('data', note);
    this.#child.stderr?.on('data', note);
    this.ended = once(this.#child, 'exit').then(([code]) => code as number | null);
  }

  get over(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** To npx alone, as kill does. */
  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** To all processes of the terminal, as Ctrl-C does. */
  interrupt(): void {
    process.kill(-this.#child.pid!, 'SIGINT');
  }
}

export class Walk {
  readonly #wishes: WalkWishes;
  #npx: NpxRun | undefined;

  constructor(wishes: WalkWishes) {
    this.#wishes = wishes;
  }

  async #step<T>(what: string, work: () => Promise<T>): Promise<T> {
    const begin = performance.now();
    try {
      return await work();
    } catch (error) {
      throw new Error(`${what}: ${(error as Error).message}\n${this.#npx?.said ?? ''}`, { cause: error });
    } finally {
      this.#wishes.done(what, (performance.now() - begin) / 1000);
    }
  }

  #url(node: number): string {
    return `postgresql://postgres@127.0.0.1:${this.#wishes.port + node - 1}/app`;
  }

  /** One statement at a gateway, or past it at its server. */
  async #rows(node: number, text: string, past = false): Promise<Record<string, unknown>[]> {
    const port = this.#wishes.port + node - 1 + (past ? 100 : 0);
    const client = new Client({ host: '127.0.0.1', port, user: 'postgres', database: 'app', ssl: false });
    client.on('error', () => undefined); // A broken connection fails the statement.
    await client.connect();
    try {
      return (await client.query(text)).rows as Record<string, unknown>[];
    } finally {
      await client.end();
    }
  }

  /** As a newcomer asks: by psql where there is one. */
  async #asked(node: number, text: string): Promise<{ readonly said: string; readonly error: string }> {
    if (findProgram('psql') !== undefined) {
      const options = ['-XAtq', '-v', 'ON_ERROR_STOP=1', '-v', 'VERBOSITY=verbose'];
      const run = await runProgram('psql', [...options, '-c', text, this.#url(node)]);
      return { said: run.stdout.trim(), error: run.code === 0 ? '' : run.stderr };
    }
    try {
      const rows = await this.#rows(node, text);
      return { said: rows.map((row) => Object.values(row).join('|')).join('\n'), error: '' };
    } catch (error) {
      return { said: '', error: `${(error as { code?: string }).code}: ${(error as Error).message}` };
    }
  }

  /** Again while the node says that it is not online, as applications do: a machine under load loses heartbeats. */
  async #psql(node: number, text: string): Promise<string> {
    const passing = /57P03|node is not online/;
    const answer = await settled(
      () => this.#asked(node, text),
      ({ error }) => !passing.test(error),
      limitMs,
    );
    assert.equal(answer.error, '');
    return answer.said;
  }

  #pids(node: number): { readonly gateway: number; readonly server: number } {
    const read = (file: string): number =>
      Number.parseInt(readFileSync(join(this.#wishes.folder, '.mtm', `node${node}`, file), 'utf8'), 10);
    return { gateway: read('gateway.pid'), server: read('postmaster.pid') };
  }

  async #start(): Promise<number[]> {
    const npx = new NpxRun(this.#wishes.folder, ['dev', '--port', String(this.#wishes.port)]);
    this.#npx = npx;
    await eventually('dev is ready, or has ended', () => npx.over || npx.said.includes('\nready\n'), limitMs);
    assert.ok(!npx.over, 'dev has ended');
    return nodes.map((node) => this.#pids(node)).flatMap(({ gateway, server }) => [gateway, server]);
  }

  async #gone(pids: readonly number[]): Promise<void> {
    await within('npx', limitMs, this.#npx!.ended);
    await eventually('all processes are gone', () => !pids.some(pidExists), limitMs);
    await eventually('dev says that it stops', () => this.#npx!.said.includes('\nstopping\n'));
  }

  async #install(): Promise<void> {
    const { folder, from, done } = this.#wishes;
    const packed = await this.#step('npm pack', () => pack(folder));
    for (const file of promised) assert.ok(packed.files.includes(file), `${file} is not in the tarball`);
    assert.deepEqual(
      packed.files.filter((file) => /\.ts$|\.map$|^(test|src)\//.test(file)),
      [],
    );
    done(`the tarball has ${packed.files.length} files, ${Math.round(packed.bytes / 1024)} kB`, 0);
    await this.#step(`npm install (from ${from})`, () =>
      (from === 'registry' ? installFromRegistry : installFromHere)(folder, packed.tarball),
    );
    const { version } = JSON.parse(
      readFileSync(join(folder, 'node_modules/mtm-gateway/package.json'), 'utf8'),
    ) as { readonly version: string };
    assert.equal((await command(folder, 'npx', 'mtm-gateway', '--version')).trim(), version);
  }

  async #everywhere(): Promise<void> {
    await this.#psql(1, 'CREATE TABLE visitor (id int PRIMARY KEY, node int, name text DEFAULT now()::text)');
    for (const node of nodes) await this.#psql(node, `INSERT INTO visitor VALUES (${node}, ${node})`);
    for (const node of nodes) assert.equal(await this.#psql(node, 'SELECT count(*) FROM visitor'), '3');
  }

  async #kill(node: number): Promise<void> {
    const { gateway, server } = this.#pids(node);
    process.kill(gateway, 'SIGKILL');
    process.kill(server, 'SIGKILL');
    for (const other of nodes.filter((one) => one !== node)) await this.#shown(other, node);
    await eventually('dev says so', () =>
      this.#npx!.said.includes(`gateway of node ${node} ended with signal SIGKILL`),
    );
  }

  /** What an operator sees of `node` at another one, by SQL and by HTTP. */
  async #shown(at: number, node: number): Promise<void> {
    const seen = `SELECT connected FROM mtm.nodes() WHERE id = ${node}`;
    await eventually(
      `node ${at} shows that ${node} is away`,
      async () => (await this.#psql(at, seen)) === 'f',
    );
    const members = 'SELECT gen_members_online::text FROM mtm.status()';
    const rest = `{${nodes.filter((one) => one !== node).join(',')}}`;
    await eventually(
      'the others are the members',
      async () => (await this.#psql(at, members)) === rest,
      limitMs,
    );
    assert.equal((await fetch(`${this.#origin(at)}/ready`)).status, 200);
    await this.#reported(at, node, 'away');
  }

  /** Where a gateway answers HTTP. */
  #origin(node: number): string {
    return `http://127.0.0.1:${this.#wishes.port + 200 + node - 1}`;
  }

  #reported(at: number, node: number, state: string): Promise<void> {
    const said = async (): Promise<boolean> => (await reportedState(this.#origin(at), node)) === state;
    return eventually(`/status.json of node ${at} says that node ${node} is ${state}`, said, limitMs);
  }

  /** The page of node 1, in the browser of this machine. */
  async #page(node: number, words: RegExp): Promise<void> {
    const browser = findBrowser();
    const what = `the page of node 1 shows node ${node}: ${words.source}`;
    if (browser === undefined) this.#wishes.done(`not looked at, this machine has no Chromium: ${what}`, 0);
    else await this.#step(what, () => readPage(browser, this.#origin(1), node, words));
  }

  async #goOn(without: number): Promise<void> {
    for (const node of nodes.filter((one) => one !== without)) {
      const from = node * 1000;
      await this.#psql(
        node,
        `INSERT INTO visitor SELECT g, ${node} FROM generate_series(${from}, ${from + 99}) g`,
      );
    }
    await this.#psql(1, 'ALTER TABLE visitor ADD COLUMN city text');
    await this.#psql(3, `UPDATE visitor SET city = 'Köln' WHERE id = 2`);
  }

  async #back(node: number): Promise<void> {
    await command(this.#wishes.folder, 'npx', 'mtm-gateway', 'dev', 'start', '--node', String(node));
    const members = 'SELECT gen_members_online::text FROM mtm.status()';
    await eventually(
      'all are members again',
      async () => (await this.#psql(node, members)) === '{1,2,3}',
      limitMs,
    );
  }

  /** Past the gateways: what the servers hold. */
  async #equal(): Promise<void> {
    const text = `SELECT count(*)::int AS count, md5(string_agg(v::text, E'\\n' ORDER BY id)) AS hash FROM visitor v`;
    const held = await Promise.all(nodes.map((node) => this.#rows(node, text, true)));
    assert.equal(held[0]?.[0]?.['count'], 203);
    for (const one of held) assert.deepEqual(one, held[0]);
  }

  /** All of it. Throws at the first step that is not as promised. */
  async run(): Promise<void> {
    const { folder } = this.#wishes;
    await this.#install();
    try {
      const pids = await this.#step('npx mtm-gateway dev: ready', () => this.#start());
      await this.#step('psql: a row written at each node is on all of them', () => this.#everywhere());
      await this.#step('kill -9 of node 2, gateway and server: the others show it', () => this.#kill(2));
      await this.#page(2, /away/);
      await this.#step('the others go on: 200 rows, a new column', () => this.#goOn(2));
      await this.#step('npx mtm-gateway dev start --node 2: back', () => this.#back(2));
      await this.#page(2, /online/);
      await this.#step('all servers hold the same', () => this.#equal());
      const now = [...pids, ...Object.values(this.#pids(2))];
      await this.#step('Ctrl-C: nothing is left', () => {
        this.#npx!.interrupt();
        return this.#gone(now);
      });
      const again = await this.#step('npx mtm-gateway dev again: the data are there', async () => {
        const started = await this.#start();
        assert.equal(await this.#psql(2, 'SELECT count(*) FROM visitor'), '203');
        return started;
      });
      await this.#step('SIGTERM to npx alone: nothing is left', () => {
        this.#npx!.kill('SIGTERM');
        return this.#gone(again);
      });
    } finally {
      await command(folder, 'npx', 'mtm-gateway', 'dev', 'status', '--json').then(
        (status) => this.#endLeft(status),
        () => undefined, // There was no cluster yet.
      );
    }
  }

  /** After a failure: what the cluster itself says that it runs. */
  #endLeft(status: string): void {
    const { nodes: left } = JSON.parse(status) as {
      readonly nodes: readonly Record<'gateway' | 'postgres', { readonly pid: number | null }>[];
    };
    if (this.#npx?.over === false) this.#npx.kill('SIGKILL');
    for (const { gateway, postgres } of left) {
      for (const { pid } of [gateway, postgres]) if (pid !== null) process.kill(pid, 'SIGQUIT');
    }
  }
}
