/**
 * The referee of an embedded cluster of two nodes: a redis-server of its own, found in PATH, that keeps every
 * grant on its disk.
 * Rule: it is started before the gateways and stopped after them.
 */
import { accessSync, constants, mkdirSync } from 'node:fs';
import { createConnection } from 'node:net';
import { delimiter, join } from 'node:path';
import { GatewayError } from '../../lib/gateway-error.ts';
import { embeddedHost, isFreePort } from './node-layout.ts';
import {
  endedEarly,
  livingPid,
  spawnLogged,
  stopByPidFile,
  waitUntil,
  type RunningProcess,
} from './process-control.ts';

export interface RefereeLayout {
  readonly folder: string;
  readonly port: number;
  readonly pidFile: string;
  readonly logFile: string;
}

const title = 'referee';
const startLimitMs = 20_000;
const stopLimitMs = 10_000;

/** `folder` is that of the cluster; its port is the contract of node-layout.ts: P+400. */
export function refereeLayout(folder: string, basePort: number): RefereeLayout {
  const own = join(folder, 'referee');
  return {
    folder: own,
    port: basePort + 400,
    pidFile: join(own, 'redis.pid'),
    logFile: join(own, 'redis.log'),
  };
}

/** As `referee_connstring` of both gateways. */
export function refereeAddress(referee: RefereeLayout): string {
  return `redis://${embeddedHost}:${referee.port}`;
}

/** The address is in the title that redis-server gives itself. */
function mark(referee: RefereeLayout): string {
  return `${embeddedHost}:${referee.port}`;
}

export function refereePid(referee: RefereeLayout): number | undefined {
  return livingPid(referee.pidFile, mark(referee));
}

function program(): string {
  const found = (process.env['PATH'] ?? '')
    .split(delimiter)
    .map((folder) => join(folder, 'redis-server'))
    .find(isExecutable);
  if (found !== undefined) return found;
  throw new GatewayError('launcher-failed', '--referee needs redis-server, and there is none in PATH', {
    hint: 'install Redis (the package redis-server), or use three nodes',
  });
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Resolves when it listens. */
export async function startReferee(referee: RefereeLayout): Promise<RunningProcess> {
  const command = program();
  if (!(await isFreePort(referee.port))) {
    throw new GatewayError('address-in-use', `in use by another process: port ${referee.port} (referee)`, {
      hint: 'stop that process or choose other ports with --port',
    });
  }
  mkdirSync(referee.folder, { recursive: true });
  const settings = {
    bind: embeddedHost,
    port: String(referee.port),
    dir: referee.folder,
    save: '',
    // What a referee must not forget or drop (src/io/referee judges it).
    appendonly: 'yes',
    appendfsync: 'always',
    'maxmemory-policy': 'noeviction',
  };
  const running = await spawnLogged({
    title,
    command,
    args: Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]),
    logFile: referee.logFile,
    pidFile: referee.pidFile,
    account: undefined,
  });
  let end: string | undefined;
  void running.ended.then((reason) => (end = reason));
  const settled = async () => end !== undefined || (await listens(referee.port));
  const listening = await waitUntil(settled, startLimitMs);
  if (listening && end === undefined) return running;
  throw endedEarly(running, end ?? `is not listening after ${startLimitMs / 1000} s`);
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(port, embeddedHost);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** False: it did not run. */
export async function stopReferee(referee: RefereeLayout): Promise<boolean> {
  return stopByPidFile({
    title,
    pidFile: referee.pidFile,
    mark: mark(referee),
    signals: ['SIGTERM', 'SIGKILL'],
    limitMs: stopLimitMs,
  });
}
