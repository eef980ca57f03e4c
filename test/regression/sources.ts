/**
 * PostgreSQL's own tests: the sources of Debian's package postgresql-15, and of them what the tests need (pg_regress,
 * isolationtester, regress.so), built in a folder that is kept.
 * Rule: nothing of the machine is changed: apt works with lists and a cache of its own, nothing is installed.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { serverBinaries } from '../../src/io/launcher/server-binaries.ts';

const sourceLists = ['deb', 'deb-security'].map((kind) => {
  const suites = kind === 'deb' ? 'bookworm bookworm-updates' : 'bookworm-security';
  const path = kind === 'deb' ? 'debian' : 'debian-security';
  const key = '/usr/share/keyrings/debian-archive-keyring.gpg';
  return `Types: deb-src\nURIs: http://deb.debian.org/${path}\nSuites: ${suites}\nComponents: main\nSigned-By: ${key}\n`;
});

export interface Sources {
  /** As the source package calls it: 15.18. */
  readonly version: string;
  readonly regress: string;
  readonly isolation: string;
}

// Root's home is closed to the user that servers of root run as.
const cacheFolder = process.getuid?.() === 0 ? '/var/cache' : join(homedir(), '.cache');
/** Where they are kept when nobody says otherwise. */
export const usualCache = join(cacheFolder, 'mtm-gateway', 'postgresql-15');

function run(command: string, args: readonly string[], folder: string): string {
  const done = spawnSync(command, args, {
    cwd: folder,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    timeout: 900_000,
  });
  if (done.status === 0) return done.stdout;
  const output = `${done.stdout}${done.stderr}`.split('\n').slice(-20).join('\n');
  throw new Error(
    `${command} ${args.join(' ')} failed (${done.status ?? done.signal ?? done.error?.message}):\n${output}`,
  );
}

function aptOptions(cache: string): string[] {
  const lists = join(cache, 'apt');
  for (const part of ['lists/partial', 'archives/partial', 'sources'])
    mkdirSync(join(lists, part), { recursive: true });
  writeFileSync(join(lists, 'sources', 'debian.sources'), sourceLists.join('\n'));
  const settings = {
    'Dir::Etc::sourcelist': '/dev/null',
    'Dir::Etc::sourceparts': join(lists, 'sources'),
    'Dir::State::lists': join(lists, 'lists'),
    'Dir::Cache': lists,
    'APT::Sandbox::User': 'root',
  };
  return Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
}

/** The source package of the server's own version; when Debian has it no more, the newest of its major. */
function packageVersion(cache: string, options: readonly string[], wanted: string): string {
  const shown = run('apt-cache', [...options, 'showsrc', 'postgresql-15'], cache);
  const versions = [...shown.matchAll(/^Version: (\S+)$/gm)].map((match) => match[1] ?? '');
  const same = versions.find((version) => version.startsWith(`${wanted}-`));
  const newest = versions.toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1);
  const found = same ?? newest;
  if (found === undefined) throw new Error('Debian has no source package postgresql-15');
  return found;
}

function serverVersion(): string {
  const shown = run(join(serverBinaries(15), 'postgres'), ['--version'], '/');
  return /\d+\.\d+/.exec(shown)?.[0] ?? '15';
}

function unpacked(cache: string): string | undefined {
  const name = readdirSync(cache).find((entry) => /^postgresql-15\.\d+$/.test(entry));
  return name === undefined ? undefined : join(cache, name);
}

function fetch(cache: string, report: (line: string) => void): string {
  const options = aptOptions(cache);
  report('asking Debian for the sources of postgresql-15');
  run('apt-get', [...options, 'update'], cache);
  const version = packageVersion(cache, options, serverVersion());
  run('apt-get', [...options, 'source', '--download-only', `postgresql-15=${version}`], cache);
  const archive = readdirSync(cache).find((name) => name.endsWith('.orig.tar.bz2'));
  if (archive === undefined) throw new Error('the source package has no .orig.tar.bz2');
  run('tar', ['xjf', archive], cache);
  const folder = unpacked(cache);
  if (folder === undefined) throw new Error(`${archive} has no folder postgresql-15.x`);
  return folder;
}

function build(folder: string, report: (line: string) => void): void {
  report(`building the programs of the tests in ${folder}`);
  const without = ['readline', 'zlib', 'icu'].map((name) => `--without-${name}`);
  run('./configure', [...without, '--prefix=/nowhere', 'CFLAGS=-O1'], folder);
  for (const [part, target] of [
    ['src/backend', 'generated-headers'],
    ['src/test/regress', 'all'],
    ['src/test/isolation', 'all'],
  ] as const) {
    run('make', ['-s', '-j2', '-C', part, target], folder);
  }
}

/** The tests, fetched and built if they are not there. Throws when this machine cannot. */
export function provideSources(cache: string, report: (line: string) => void): Sources {
  mkdirSync(cache, { recursive: true });
  const done = join(cache, 'built');
  let folder = unpacked(cache);
  if (folder !== undefined && !existsSync(done)) {
    rmSync(folder, { recursive: true });
    folder = undefined;
  }
  if (folder === undefined) {
    folder = fetch(cache, report);
    build(folder, report);
    writeFileSync(done, '');
  }
  return {
    version: /15\.\d+$/.exec(folder)?.[0] ?? '15',
    regress: join(folder, 'src/test/regress'),
    isolation: join(folder, 'src/test/isolation'),
  };
}
