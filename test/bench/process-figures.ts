/** Memory and CPU time of processes, from Linux' /proc; on other systems there are no such figures. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';

/** USER_HZ, which is 100 on every architecture that the kernel's ABI has today. */
const ticksPerSecond = 100;

export const hasProcessFigures = existsSync('/proc/self/stat');

function statFields(pid: number): string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name of the program is in parentheses and may contain blanks; the state is the first field behind it.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined; // It has ended: it has no figures any more.
  }
}

/** 0 when it has ended. */
export function parentOf(pid: number): number {
  return Number(statFields(pid)?.[1] ?? 0);
}

/** The process and all its descendants; proxies of other makers fork one process for each client. */
function processTree(root: number): number[] {
  const pids = readdirSync('/proc').map(Number).filter(Number.isInteger);
  const parents = new Map(pids.map((pid) => [pid, parentOf(pid)]));
  const tree = [root];
  for (const member of tree) {
    for (const [pid, parent] of parents) if (parent === member) tree.push(pid);
  }
  return tree;
}

/** User and system time in µs of the process itself and of the children that it has collected. */
function cpuTimeUs(pid: number): number {
  const fields = statFields(pid) ?? [];
  const ticks = [11, 12, 13, 14].reduce((sum, index) => sum + Number(fields[index] ?? 0), 0);
  return (ticks * 1e6) / ticksPerSecond;
}

/** CPU time in µs that these processes and their descendants have used so far. */
export function cpuTimeOfTrees(roots: readonly number[]): number {
  return roots.flatMap(processTree).reduce((sum, pid) => sum + cpuTimeUs(pid), 0);
}

/** Resident memory in MB (10⁶ bytes), VmRSS; undefined when the process is gone. */
export function residentMegabytes(pid: number): number | undefined {
  try {
    const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return kilobytes === undefined ? undefined : (Number(kilobytes) * 1024) / 1e6;
  } catch {
    return undefined; // It has ended.
  }
}
