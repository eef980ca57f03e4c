/**
 * `npm run build`: src → dist as JavaScript, with all that is not TypeScript (SQL, pages, the npm command) beside the code
 * that reads it, and the list of the packages that are used, with their licences.
 */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { licenceList } from './licences.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const source = join(root, 'src');
const target = join(root, 'dist');

rmSync(target, { recursive: true, force: true });
const compiler = spawnSync(join(root, 'node_modules/.bin/tsc'), ['-p', 'config/tool/tsconfig.build.json'], {
  cwd: root,
  stdio: 'inherit',
});
if (compiler.status !== 0) process.exit(1);

const assets = readdirSync(source, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && !/\.(ts|md)$/.test(entry.name))
  .map((entry) => relative(source, join(entry.parentPath, entry.name)));
for (const path of assets) {
  if (existsSync(join(target, path))) throw new Error(`src/${path} has the name of a compiled module`);
  mkdirSync(dirname(join(target, path)), { recursive: true });
  copyFileSync(join(source, path), join(target, path));
}
for (const program of ['main.js', 'mtm-gateway.sh']) chmodSync(join(target, program), 0o755);
writeFileSync(
  join(target, 'THIRD-PARTY.md'),
  licenceList(readFileSync(join(root, 'package-lock.json'), 'utf8')),
);
process.stdout.write(`dist: built, with ${assets.length} files beside the code\n`);
