/**
 * Hosts with addresses of their own on one machine: network namespaces on a bridge that lives in a namespace too, so the
 * machine's own network is untouched. Links between them can be cut, silently, also one way.
 * Needs root, iproute2 and iptables; `networkLabObstacle` says what is missing.
 * Rule: it touches only namespaces that it has made, and `close` removes them with everything that runs in them.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { pidExists } from '../../src/io/launcher/process-control.ts';

const namePrefix = 'mtmtest';
const tools = ['ip', 'iptables', 'setpriv'];

function onPath(tool: string): boolean {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin', '/usr/bin', '/bin'];
  return folders.some((folder) => {
    try {
      accessSync(join(folder, tool), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function command(name: string, args: readonly string[]) {
  const path = `${process.env['PATH'] ?? ''}${delimiter}/usr/sbin${delimiter}/sbin`;
  return spawnSync(name, args, { encoding: 'utf8', env: { ...process.env, PATH: path } });
}

/** Throws with what the command said when it fails. */
function run(name: string, ...args: readonly string[]): string {
  const { status, stdout, stderr } = command(name, args);
  if (status !== 0) throw new Error(`${name} ${args.join(' ')}: ${stderr.trim()}`);
  return stdout;
}

function obstacle(): string | undefined {
  if (process.platform !== 'linux') return 'this is not Linux';
  if (process.getuid?.() !== 0) return 'it needs root';
  const missing = tools.filter((tool) => !onPath(tool));
  if (missing.length > 0) return `this machine has no ${missing.join(', ')}`;
  if (!existsSync('/proc/self/ns/net')) return 'the kernel has no network namespaces';
  // What a container may not do shows only when it is tried.
  const probe = `${namePrefix}-${process.pid}-p`;
  const tried = command('ip', ['netns', 'add', probe]);
  if (tried.status !== 0) return `no namespace can be made: ${tried.stderr.trim()}`;
  const rule = command('ip', [
    'netns',
    'exec',
    probe,
    'iptables',
    '-A',
    'INPUT',
    '-s',
    '10.77.0.1',
    '-j',
    'DROP',
  ]);
  command('ip', ['netns', 'del', probe]);
  return rule.status === 0 ? undefined : `iptables does not work in a namespace: ${rule.stderr.trim()}`;
}

/** Why there can be no lab here; undefined: there can. */
export const networkLabObstacle = obstacle();

/** For the name of a test. */
export const needsNetworkLab = networkLabObstacle === undefined ? '' : ` (not run: ${networkLabObstacle})`;

function namespaces(): string[] {
  const names = run('ip', 'netns', 'list').split('\n');
  return names.map((line) => line.split(' ')[0] ?? '').filter((name) => name.startsWith(`${namePrefix}-`));
}

function removeNamespace(name: string): void {
  const pids = command('ip', ['netns', 'pids', name])
    .stdout.split('\n')
    .filter((pid) => pid !== '');
  for (const pid of pids) {
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
  run('ip', 'netns', 'del', name);
}

/** Of runners that were killed. */
function removeAbandoned(): void {
  for (const name of namespaces()) {
    const maker = Number(name.split('-')[1]);
    if (!pidExists(maker)) removeNamespace(name);
  }
}

export class NetworkLab {
  readonly hosts: readonly number[];
  readonly #name: string;
  readonly #abandon = (): void => this.close();

  /** Hosts 1 to `count`. */
  constructor(count: number) {
    if (networkLabObstacle !== undefined) throw new Error(`no network lab: ${networkLabObstacle}`);
    removeAbandoned();
    this.hosts = Array.from({ length: count }, (_, index) => index + 1);
    this.#name = `${namePrefix}-${process.pid}`;
    process.once('exit', this.#abandon);
    const bridge = `${this.#name}-sw`;
    run('ip', 'netns', 'add', bridge);
    run('ip', '-n', bridge, 'link', 'add', 'br0', 'type', 'bridge');
    run('ip', '-n', bridge, 'link', 'set', 'br0', 'up');
    for (const host of this.hosts) this.#plugIn(host, bridge);
  }

  #plugIn(host: number, bridge: string): void {
    const name = this.namespace(host);
    run('ip', 'netns', 'add', name);
    run(
      'ip',
      'link',
      'add',
      `v${host}`,
      'netns',
      bridge,
      'type',
      'veth',
      'peer',
      'name',
      'eth0',
      'netns',
      name,
    );
    run('ip', '-n', bridge, 'link', 'set', `v${host}`, 'master', 'br0', 'up');
    run('ip', '-n', name, 'addr', 'add', `${this.address(host)}/24`, 'dev', 'eth0');
    run('ip', '-n', name, 'link', 'set', 'eth0', 'up');
    run('ip', '-n', name, 'link', 'set', 'lo', 'up');
  }

  namespace(host: number): string {
    return `${this.#name}-${host}`;
  }

  address(host: number): string {
    return `10.77.0.${host}`;
  }

  /** What to execute so that the program runs on the host; the process keeps its pid. */
  wrapped(host: number, program: string, args: readonly string[]): { command: string; args: string[] } {
    return { command: 'ip', args: ['netns', 'exec', this.namespace(host), program, ...args] };
  }

  /** The host hears nobody and nobody hears it; open connections notice nothing. */
  cutOff(host: number): void {
    run('ip', '-n', `${this.#name}-sw`, 'link', 'set', `v${host}`, 'down');
  }

  /** Packets between the two vanish. */
  cutLink(one: number, other: number): void {
    this.loseOneWay(one, other);
    this.loseOneWay(other, one);
  }

  /** Packets from the one to the other vanish; the way back is open. */
  loseOneWay(from: number, to: number): void {
    this.#inside(to, 'iptables', '-A', 'INPUT', '-s', this.address(from), '-j', 'DROP');
  }

  /** Undoes every cut. */
  heal(): void {
    for (const host of this.hosts) {
      run('ip', '-n', `${this.#name}-sw`, 'link', 'set', `v${host}`, 'up');
      this.#inside(host, 'iptables', '-F', 'INPUT');
    }
  }

  #inside(host: number, name: string, ...args: readonly string[]): string {
    return run('ip', 'netns', 'exec', this.namespace(host), name, ...args);
  }

  /** Ends what still runs on the hosts and removes them. */
  close(): void {
    process.off('exit', this.#abandon);
    const own = namespaces().filter((name) => name.startsWith(`${this.#name}-`));
    for (const name of own) removeNamespace(name);
  }
}
