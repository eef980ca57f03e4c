/** Real redis-servers of a test, each with its settings, on a free port of the loopback. */
import { spawn, type ChildProcess } from 'node:child_process';
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { eventually } from '../../support/polling.ts';
import { freePort } from '../../support/free-port.ts';

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Undefined: this machine has none (config/tool/install-optional.sh). */
export const redisProgram = (process.env['PATH'] ?? '')
  .split(delimiter)
  .map((folder) => join(folder, 'redis-server'))
  .find(executable);

/** For the name of a group of tests: says why it is not run. */
export const needsRedis = redisProgram === undefined ? ' (not run: this machine has no redis-server)' : '';

/** What a referee needs; the rest of Redis' defaults is as good. */
export const suitable: Readonly<Record<string, string>> = {
  appendonly: 'yes',
  appendfsync: 'always',
  'maxmemory-policy': 'noeviction',
};

export class RedisServer {
  readonly port: number;
  readonly folder = mkdtempSync(join(tmpdir(), 'mtm-referee-'));
  #settings: Readonly<Record<string, string>>;
  #process: ChildProcess | undefined;

  private constructor(port: number, settings: Readonly<Record<string, string>>) {
    this.port = port;
    this.#settings = settings;
  }

  static async start(settings: Readonly<Record<string, string>> = suitable): Promise<RedisServer> {
    const server = new RedisServer(await freePort(), settings);
    await server.run();
    return server;
  }

  get settings(): Readonly<Record<string, string>> {
    return this.#settings;
  }

  get pid(): number {
    const pid = this.#process?.pid;
    if (pid === undefined) throw new Error('redis-server does not run');
    return pid;
  }

  /** Starts it (again) in the same folder. */
  async run(settings = this.#settings): Promise<void> {
    if (redisProgram === undefined) throw new Error('this machine has no redis-server');
    this.#settings = settings;
    const port = settings['tls-port'] === undefined ? String(this.port) : '0';
    const words = Object.entries({ bind: '127.0.0.1', port, dir: this.folder, save: '', ...settings });
    const args = words.flatMap(([name, value]) => [`--${name}`, value.replace('PORT', String(this.port))]);
    this.#process = spawn(redisProgram, args, { stdio: 'ignore' });
    const child = this.#process;
    await eventually('redis-server listens', async () => {
      if (child.exitCode !== null) throw new Error(`redis-server ended with ${child.exitCode}`);
      return canConnect(this.port);
    });
  }

  /** As a crash does it. */
  async kill(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }

  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
