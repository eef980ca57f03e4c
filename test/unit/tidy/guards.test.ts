/** The guards are awake: dependency-cruiser and oxlint catch what they are there for (test/fixtures). */
import { spawnSync } from 'node:child_process';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../../', import.meta.url));

function run(tool: string, args: readonly string[], folder: string) {
  const { status, stdout } = spawnSync(join(root, 'node_modules/.bin', tool), args, {
    cwd: join(root, folder),
    encoding: 'utf8',
    env: { ...process.env, PATH: `${dirname(process.execPath)}${delimiter}${process.env['PATH'] ?? ''}` },
  });
  return { status, stdout };
}

const rules = join(root, 'config/tool/dependency-cruiser.mjs');

test('every violation of the import direction is caught, also a type-only one', () => {
  const { status, stdout } = run('depcruise', ['--config', rules, 'src'], 'test/fixtures/import-direction');
  expect(status).toBe(5);
  for (const violation of [
    'pure-core: src/core/uses-node.ts',
    'pure-core: src/core/upward-type.ts',
    'lib-is-a-leaf: src/lib/not-a-leaf.ts',
    'io-siblings: src/io/peers/sibling.ts',
    'codecs-without-machines: src/core/wire/codec.ts',
  ]) {
    expect(stdout).toContain(violation);
  }
  expect(stdout).toContain('5 dependency violations (5 errors, 0 warnings). 8 modules');
});

test('lint knows types and what core must not use', () => {
  const config = join(root, 'config/tool/oxlintrc.json');
  const { status, stdout } = run(
    'oxlint',
    ['--type-aware', '-c', config, '--format=unix', 'test/fixtures/lint'],
    '.',
  );
  expect(status).toBe(1);
  for (const rule of [
    'no-floating-promises',
    'switch-exhaustiveness-check',
    "'Date.now' is",
    "'Math.random' is",
  ]) {
    expect(stdout).toContain(rule);
  }
});
