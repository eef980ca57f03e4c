/**
 * From the repository to a folder with nothing but the program, as a newcomer does it: npm pack, npm install. Rule: what is
 * installed comes out of the tarball; nothing here helps it to find files of the repository.
 */
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { outputOf } from '../support/programs.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** That of a person's terminal: npm tells what it runs much about the package that it runs it for. */
export function freshEnvironment(): NodeJS.ProcessEnv {
  const own = /^(npm_|MTM_|INIT_CWD$|NODE$|NODE_OPTIONS$|VITEST)/;
  const kept = Object.entries(process.env).filter(([name]) => !own.test(name));
  const path = (process.env['PATH'] ?? '')
    .split(delimiter)
    .filter((folder) => !folder.includes('node_modules'));
  return { ...Object.fromEntries(kept), PATH: path.join(delimiter) };
}

/** Runs a program to its end; throws with what it said when it fails. Its standard output. */
export function command(folder: string, program: string, ...args: string[]): Promise<string> {
  return outputOf(program, args, { cwd: folder, env: freshEnvironment() });
}

/** npm pack; the path of the tarball, and the paths in it. */
export async function pack(
  into: string,
): Promise<{ readonly tarball: string; readonly files: readonly string[]; readonly bytes: number }> {
  const said = await command(root, 'npm', 'pack', '--json', '--pack-destination', into);
  const packed = JSON.parse(said.slice(said.indexOf('['))) as readonly {
    readonly filename: string;
    readonly size: number;
    readonly files: readonly { readonly path: string }[];
  }[];
  const [first] = packed;
  if (first === undefined) throw new Error(`npm pack says ${said}`);
  const files = first.files.map(({ path }) => path);
  return { tarball: join(into, first.filename), files, bytes: first.size };
}

/** npm install, from the registry. */
export async function installFromRegistry(folder: string, tarball: string): Promise<void> {
  await command(folder, 'npm', 'install', '--no-audit', '--no-fund', tarball);
}

interface Lock {
  readonly packages: Readonly<Record<string, { readonly dev?: boolean; readonly optional?: boolean }>>;
}

/**
 * The same without a registry: the program out of the tarball, what it depends on as links to what the repository has
 * installed, and nothing else, so that it fails when it needs a package of development.
 */
export async function installFromHere(folder: string, tarball: string): Promise<void> {
  const modules = join(folder, 'node_modules');
  const own = join(modules, 'mtm-gateway');
  mkdirSync(own, { recursive: true });
  await command(folder, 'tar', '-xzf', tarball, '-C', own, '--strip-components=1');
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as Lock;
  const places = Object.entries(lock.packages)
    .filter(([place, { dev }]) => dev !== true && /^node_modules\/(@[^/]+\/)?[^/]+$/.test(place))
    .map(([place]) => place);
  for (const place of places) {
    mkdirSync(dirname(join(folder, place)), { recursive: true });
    symlinkSync(join(root, place), join(folder, place)); // What is not for this machine leads nowhere.
  }
  const { bin } = JSON.parse(readFileSync(join(own, 'package.json'), 'utf8')) as {
    readonly bin: Readonly<Record<string, string>>;
  };
  mkdirSync(join(modules, '.bin'));
  for (const [name, path] of Object.entries(bin)) {
    symlinkSync(join('../mtm-gateway', path), join(modules, '.bin', name));
  }
  writeFileSync(
    join(folder, 'package.json'),
    JSON.stringify({ dependencies: { 'mtm-gateway': `file:${tarball}` } }),
  );
}
