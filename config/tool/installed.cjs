// Exit code 0: every package of package-lock.json is installed in that version. Runs on any Node.js.
const { readFileSync } = require('node:fs');
const { join } = require('node:path');

const root = join(__dirname, '../..');
const read = (path) => JSON.parse(readFileSync(join(root, path), 'utf8')).packages;
const wanted = read('package-lock.json');
const installed = read('node_modules/.package-lock.json');

const differs = Object.keys(wanted).some((path) => {
  if (path === '' || (wanted[path].optional && !installed[path])) return false;
  return !installed[path] || installed[path].version !== wanted[path].version;
});
process.exit(differs ? 1 : 0);
