/** The command of the npm package (src/mtm-gateway.sh): which Node.js it takes, and that it becomes that process. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test } from 'vitest';

const command = fileURLToPath(new URL('../../../src/mtm-gateway.sh', import.meta.url));
const platform = `${process.platform}-${process.arch}`;
const tools = ['dirname', 'readlink', 'uname', 'tr', 'head', 'sh'];
let folder = '';
afterEach(() => rmSync(folder, { recursive: true }));

function program(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
}

/** Says which one it is, its version, its process and its arguments. */
function fakeNode(path: string, name: string, version: string): void {
  program(path, `[ "$1" != --version ] || { echo ${version}; exit 0; }\necho "${name} $$ $*"`);
}

/** A folder where the package is installed; `on`: the version of the machine's Node.js. */
function installed(on: string | undefined): { readonly dist: string; readonly modules: string } {
  folder = mkdtempSync(join(tmpdir(), 'mtm-npm-'));
  const modules = join(folder, 'node_modules');
  const dist = join(modules, 'mtm-gateway/dist');
  mkdirSync(dist, { recursive: true });
  mkdirSync(join(modules, '.bin'));
  copyFileSync(command, join(dist, 'mtm-gateway.sh'));
  chmodSync(join(dist, 'mtm-gateway.sh'), 0o755);
  symlinkSync('../mtm-gateway/dist/mtm-gateway.sh', join(modules, '.bin/mtm-gateway'));
  mkdirSync(join(folder, 'bin'));
  for (const tool of tools) {
    const place = ['/bin', '/usr/bin'].map((path) => join(path, tool)).find(existsSync);
    symlinkSync(place!, join(folder, 'bin', tool));
  }
  if (on !== undefined) fakeNode(join(folder, 'bin/node'), 'machine', on);
  return { dist, modules };
}

async function run(...args: string[]) {
  const child = spawn(join(folder, 'node_modules/.bin/mtm-gateway'), args, {
    env: { PATH: join(folder, 'bin') }, // A machine where no other Node.js is found.
  });
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, out, err, pid: child.pid };
}

test('the Node.js that npm has installed with it, whatever the machine has', async () => {
  const { modules, dist } = installed('v20.1.0');
  fakeNode(join(modules, `node-${platform}/bin/node`), 'package', 'v24.21.0');
  const { code, out, err, pid } = await run('dev', '--data', 'a b');
  expect({ code, out, err }).toEqual({
    code: 0,
    out: `package ${pid} ${dist}/main.js dev --data a b\n`, // The same process: a signal reaches the program.
    err: '',
  });
});

test.each(['v22.18.0', 'v23.0.0', 'v24.1.2', 'v26.0.0-nightly'])(
  'without it that of the machine: %s',
  async (version) => {
    const { dist } = installed(version);
    const { code, out, pid } = await run('--version');
    expect({ code, out }).toEqual({ code: 0, out: `machine ${pid} ${dist}/main.js --version\n` });
  },
);

test('one that does not run here is no better than none', async () => {
  const { modules } = installed('v24.0.0');
  program(join(modules, `node-${platform}/bin/node`), 'exit 127'); // Of another C library.
  expect((await run()).out).toMatch(/^machine /);
});

test.each([
  ['v20.20.2', '/bin/node is v20.20.2'],
  ['v22.17.1', '/bin/node is v22.17.1'],
  ['v9.0.0', '/bin/node is v9.0.0'],
  ['broken', '/bin/node is broken'],
  [undefined, 'there is none'],
])('%s will not do: one sentence', async (version, found) => {
  installed(version);
  const { code, err, out } = await run('dev');
  expect({ code, out }).toEqual({ code: 1, out: '' });
  expect(err).toBe(
    `mtm-gateway: Node.js 22.18 or later is needed; ${found.replace(/^\/bin/, `${folder}/bin`)}\n` +
      '  what to do: install Node.js 24; on Linux (x64, arm64) npm install without --omit=optional brings one along\n',
  );
});
