// For the image: takes the optional packages (embedded servers, Node.js) out of package.json and package-lock.json, and
// from development what only tests use, so that npm ci brings what the build needs. Changes both files in place.
const { readFileSync, writeFileSync } = require('node:fs');

const buildNeeds = /^(typescript|@types\/.*)$/;
const read = (path) => JSON.parse(readFileSync(path, 'utf8'));
const write = (path, value) => writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`);
const without = (names, remove) => Object.fromEntries(Object.entries(names).filter(([name]) => !remove(name)));

const own = read('package.json');
const lock = read('package-lock.json');
const optional = Object.keys(own.optionalDependencies);
for (const value of [own, lock.packages['']]) {
  delete value.optionalDependencies;
  delete value.overrides;
  value.devDependencies = without(value.devDependencies, (name) => !buildNeeds.test(name));
}
for (const name of optional) delete lock.packages[`node_modules/${name}`];
write('package.json', own);
write('package-lock.json', lock);
