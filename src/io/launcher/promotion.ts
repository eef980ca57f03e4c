/**
 * A server that was made from a copy, run once until it has recovered to the end of the copy and become a
 * server of its own, and stopped again. Nobody can reach it meanwhile but over a socket in a folder of its
 * own.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GatewayError } from '../../lib/gateway-error.ts';
import type { ServerAccount } from './account.ts';
import { launchServer } from './postgres-server.ts';
import { stopByPidFile } from './process-control.ts';

/** It replays what was written during the copy. */
const recoveryLimitMs = 1_800_000;
const stopLimitMs = 120_000;

/** 15, 16 …: what `binaries` has. Throws launcher-failed when there is no PostgreSQL. */
export function majorOf(binaries: string): number {
  const { stdout } = spawnSync(join(binaries, 'postgres'), ['--version'], { encoding: 'utf8' });
  const major = /\b([0-9]+)(?:\.|devel|beta|rc)/.exec(stdout ?? '')?.[1];
  if (major !== undefined) return Number(major);
  throw new GatewayError('config-invalid', `there is no program postgres in ${binaries}`, {
    hint: 'name the folder with --pg-bin, for example /usr/lib/postgresql/18/bin',
  });
}

/** Resolves when it is stopped again. Throws launcher-failed with the end of its log. */
export async function promoteOnce(
  binaries: string,
  dataFolder: string,
  account: ServerAccount | undefined,
): Promise<void> {
  if (!existsSync(join(dataFolder, 'postgresql.conf'))) {
    throw new GatewayError(
      'launcher-failed',
      `there is no postgresql.conf in ${dataFolder} to start it with`,
      {
        hint: 'the copied server has it elsewhere: give this one its file, start it, and it promotes itself',
      },
    );
  }
  const folder = mkdtempSync(join(tmpdir(), 'mtm-join-'));
  chmodSync(folder, 0o755);
  if (account !== undefined) chownSync(folder, account.uid, account.gid);
  const title = 'PostgreSQL of the copy';
  const pidFile = join(folder, 'postmaster.pid');
  try {
    const { failure } = await launchServer({
      title,
      binaries,
      dataFolder,
      args: ['-c', 'listen_addresses=', '-c', `unix_socket_directories=${folder}`],
      logFile: join(folder, 'postgres.log'),
      pidFile,
      account,
      limitMs: recoveryLimitMs,
    });
    if (failure !== undefined) throw failure;
  } finally {
    const signals = ['SIGINT', 'SIGQUIT'] as const;
    await stopByPidFile({ title, pidFile, mark: dataFolder, signals, limitMs: stopLimitMs });
    rmSync(folder, { recursive: true, force: true });
  }
}
