/**
 * Clusters whose test file ends in the middle: its worker may be killed with no word to it (vitest's watchdog does so when
 * the runner ends), so the runner ends what is left. Each cluster has a file in the folder of the run (test-folder.ts).
 * Rule: a signal goes only to what the pid files and command lines of that cluster prove to be its own.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { existingClusterFolder } from '../../src/io/launcher/cluster-folder.ts';
import { gatewayPid } from '../../src/io/launcher/gateway-process.ts';
import type { NodeLayout } from '../../src/io/launcher/node-layout.ts';
import { postgresPid } from '../../src/io/launcher/postgres-server.ts';

function listFolder(): string | undefined {
  const run = process.env['MTM_TEST_FOLDER'];
  return run === undefined ? undefined : join(run, 'clusters');
}

/** `temporary` has the cluster in its folder data. */
export function registerCluster(temporary: string): void {
  const list = listFolder();
  if (list === undefined) return;
  mkdirSync(list, { recursive: true });
  writeFileSync(join(list, basename(temporary)), temporary);
}

/** It has ended in good order. */
export function forgetCluster(temporary: string): void {
  const list = listFolder();
  if (list !== undefined) rmSync(join(list, basename(temporary)), { force: true });
}

/** All nodes that the folder knows now, also one that joins: another process may have added some. */
export function everyNode(folder: string): readonly NodeLayout[] {
  const { nodes, joining } = existingClusterFolder(folder);
  return joining === undefined ? nodes : [...nodes, joining.layout];
}

/** At once and without waiting: for the end of a process. */
export function abandonNodes(nodes: readonly NodeLayout[]): void {
  for (const node of nodes) {
    for (const pid of [gatewayPid(node), postgresPid(node)]) {
      if (pid === undefined) continue;
      try {
        process.kill(pid, 'SIGQUIT');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
      }
    }
  }
}

/** Of all clusters of this run that are left. */
export function endAbandoned(): void {
  const list = listFolder();
  if (list === undefined) return;
  mkdirSync(list, { recursive: true });
  for (const name of readdirSync(list)) {
    const temporary = readFileSync(join(list, name), 'utf8');
    abandonNodes(everyNode(join(temporary, 'data')));
    rmSync(join(list, name));
  }
}
