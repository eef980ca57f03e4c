/** `npm run build`: src → dist as JavaScript, with the SQL files and the status page beside the code that reads them. */
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
const source = join(root, 'src');
const target = join(root, 'dist');

rmSync(target, { recursive: true, force: true });
const compiler = spawnSync(join(root, 'node_modules/.bin/tsc'), ['-p', 'config/tool/tsconfig.build.json'], {
  cwd: root,
  stdio: 'inherit',
});
if (compiler.status !== 0) process.exit(1);

const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((path) =>
  /\.(sql|html|css|js)$/.test(path),
);
for (const path of files) {
  mkdirSync(dirname(join(target, path)), { recursive: true });
  copyFileSync(join(source, path), join(target, path));
}
chmodSync(join(target, 'main.js'), 0o755);
process.stdout.write(`dist: built, with ${files.length} files beside the code\n`);
