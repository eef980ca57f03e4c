/**
 * PostgreSQL refuses to run as root. When we are root, its processes run as another user that exists on the
 * machine:
 * `postgres` where there is one, otherwise `nobody` (a uid without an entry in the passwd file will not do).
 */
import { readFileSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { GatewayError } from '../../lib/gateway-error.ts';

export interface ServerAccount {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** Undefined: we are not root, so the servers run as we do. */
export function serverAccount(passwdFile = '/etc/passwd'): ServerAccount | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const accounts = readFileSync(passwdFile, 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
  for (const wanted of ['postgres', 'nobody']) {
    const fields = accounts.find((account) => account[0] === wanted);
    if (fields !== undefined) return { name: wanted, uid: Number(fields[2]), gid: Number(fields[3]) };
  }
  throw new GatewayError(
    'launcher-failed',
    'PostgreSQL must not run as root and there is no user postgres or nobody',
    {
      hint: 'run this as an ordinary user, or create a user postgres',
    },
  );
}

/** The first folder on the way to `path` that `account` may not enter; undefined when all are open. */
export function closedFolder(path: string, account: ServerAccount): string | undefined {
  const folders: string[] = [];
  for (let folder = path; folder !== dirname(folder); folder = dirname(folder)) folders.unshift(folder);
  return folders.find((folder) => {
    const { mode, uid, gid } = statSync(folder);
    const bit = uid === account.uid ? 0o100 : gid === account.gid ? 0o010 : 0o001;
    return (mode & bit) === 0;
  });
}

/** Throws one clear sentence when `account` cannot reach `folder`. */
export function requireReachable(folder: string, what: string, account: ServerAccount | undefined): void {
  const closed = account === undefined ? undefined : closedFolder(folder, account);
  if (closed === undefined) return;
  throw new GatewayError(
    'launcher-failed',
    `PostgreSQL must not run as root and the user ${account?.name} may not enter ${closed}, where ${what} is`,
    { hint: `chmod o+x ${closed}, or use another place, or run this as an ordinary user` },
  );
}
