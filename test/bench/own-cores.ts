/**
 * Nodes that have cores of their own, simulated on a machine with few: each process gets a cgroup with the same small share of a
 * core, so small that all of them can run at once. Everything is slow then, but nobody waits for another's core, and ratios
 * are those of a cluster whose processes all have a (slow) core. Needs root and the cpu controller of cgroups, version 1.
 */
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';

const hierarchy = '/sys/fs/cgroup/cpu';
const periodUs = 20_000;
/** How soon a new process is found; until then it shares the core of the one that began it. */
const scanMs = 10;
/** Processes that compute at the same time in a COPY over three nodes, with some room. */
const busyProcesses = 10;

/** Of a core, for each process. */
export const coreShare = Math.min(1, cpus().length / busyProcesses);

/** Why it cannot be done here; undefined when it can. */
export function ownCoresProblem(): string | undefined {
  if (!existsSync(join(hierarchy, 'cpu.cfs_quota_us')))
    return 'needs the cpu controller of cgroups, version 1';
  if (!existsSync('/proc/self/task')) return 'needs /proc';
  try {
    accessSync(join(hierarchy, 'cgroup.procs'), constants.W_OK);
    return undefined;
  } catch {
    return 'needs root';
  }
}

function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
    return text.split(' ').filter(Boolean).map(Number);
  } catch {
    return []; // It has ended.
  }
}

export class OwnCores implements Disposable {
  readonly #folder = join(hierarchy, `mtm-bench-${process.pid}`);
  readonly #roots: readonly number[];
  readonly #confined = new Set<number>();
  readonly #timer: NodeJS.Timeout;

  /** `roots`: processes that are confined with their children, those of later too. */
  constructor(roots: readonly number[]) {
    this.#roots = roots;
    mkdirSync(this.#folder);
    this.#scan();
    this.#timer = setInterval(() => this.#scan(), scanMs);
  }

  #scan(): void {
    for (const root of this.#roots) for (const pid of [root, ...childrenOf(root)]) this.confine(pid);
  }

  /** From now on the process has a core of its own; nothing happens when it has ended, or has one. */
  confine(pid: number): void {
    if (this.#confined.has(pid)) return;
    this.#confined.add(pid);
    const group = this.#groupOf(pid);
    mkdirSync(group);
    writeFileSync(join(group, 'cpu.cfs_period_us'), String(periodUs));
    writeFileSync(join(group, 'cpu.cfs_quota_us'), String(Math.round(periodUs * coreShare)));
    moveTo(group, pid);
  }

  #groupOf(pid: number): string {
    return join(this.#folder, String(pid));
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    for (const pid of this.#confined) moveTo(hierarchy, pid);
    for (const pid of this.#confined) rmdirSync(this.#groupOf(pid));
    rmdirSync(this.#folder);
  }
}

function moveTo(group: string, pid: number): void {
  try {
    writeFileSync(join(group, 'cgroup.procs'), String(pid));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error; // It has ended.
  }
}
