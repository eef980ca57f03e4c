/**
 * Where the programs of PostgreSQL 15 to 18 are: in the npm packages `postgres<major>-<platform>-<cpu>` (see
 * optionalDependencies in package.json), otherwise where Debian's packages put them.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { GatewayError } from '../../lib/gateway-error.ts';

export const postgresMajors = [15, 16, 17, 18] as const;
export type PostgresMajor = (typeof postgresMajors)[number];

const symlinkList = z.array(z.object({ source: z.string(), target: z.string() }));

/** npm without install scripts leaves out the symlinks of the shared libraries: make them now. */
function completeSymlinks(packageFolder: string): void {
  const list = join(packageFolder, 'native/pg-symlinks.json');
  if (!existsSync(list)) return;
  const links = symlinkList.parse(JSON.parse(readFileSync(list, 'utf8')));
  if (links.every(({ target }) => existsSync(join(packageFolder, target)))) return;
  const script = join(packageFolder, 'scripts/hydrate-symlinks.js');
  const run = spawnSync(process.execPath, [script], { cwd: packageFolder, encoding: 'utf8' });
  const missing = links.find(({ target }) => !existsSync(join(packageFolder, target)));
  if (run.status === 0 && missing === undefined) return;
  throw new GatewayError(
    'launcher-failed',
    `the symlinks of ${packageFolder} are missing and cannot be made: ${run.stderr}`,
    {
      hint: 'check that the folder is writable, or run npm ci with install scripts allowed',
    },
  );
}

function npmPackageFolder(name: string): string | undefined {
  const require = createRequire(import.meta.url);
  for (const base of require.resolve.paths(name) ?? []) {
    const folder = join(base, name);
    if (existsSync(join(folder, 'native/bin/postgres'))) return realpathSync(folder);
  }
  return undefined;
}

/**
 * The folder with `postgres` and `initdb` of that version. Throws launcher-failed when this machine has
 * none.
 */
export function serverBinaries(major: PostgresMajor): string {
  const name = `postgres${major}-${process.platform}-${process.arch}`;
  const folder = npmPackageFolder(name);
  if (folder !== undefined) {
    completeSymlinks(folder);
    return join(folder, 'native/bin');
  }
  const debian = `/usr/lib/postgresql/${major}/bin`;
  if (existsSync(join(debian, 'postgres'))) return debian;
  throw new GatewayError(
    'launcher-failed',
    `there is no PostgreSQL ${major} on this machine: neither the npm package ${name} nor ${dirname(debian)}`,
    {
      hint:
        'install with npm and without --omit=optional, or choose another version with --pg, ' +
        `or install the Debian package postgresql-${major}`,
    },
  );
}
