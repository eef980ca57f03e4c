/** The code as text: what no compiler checks. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../../', import.meta.url));

function filesIn(folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? filesIn(path) : [path];
  });
}

const read = (path: string) => readFileSync(join(root, path), 'utf8');
const all = ['src', 'test', 'config', '.ci'].flatMap(filesIn);
const code = all.filter((path) => /(?<!\.d)\.ts$/.test(path) && !path.startsWith('test/fixtures/'));
const source = code.filter((path) => path.startsWith('src/'));

/** The lines of `files` for which `wrong` holds, as file:line. */
function lines(files: readonly string[], wrong: (line: string) => boolean): string[] {
  return files.flatMap((path) =>
    read(path)
      .split('\n')
      .flatMap((line, index) => (wrong(line) ? [`${path}:${index + 1}`] : [])),
  );
}

test('there is code to look at', () => {
  expect(source.length).toBeGreaterThan(20);
});

describe('size', () => {
  test('no line of the program is longer than 110 columns', () => {
    expect(lines(source, (line) => line.length > 110)).toEqual([]);
  });
  test('no file of the program is longer than 400 lines: it would be two nouns', () => {
    expect(source.filter((path) => read(path).trimEnd().split('\n').length > 400)).toEqual([]);
  });
});

describe('names', () => {
  const forbidden = [
    'utils',
    'util',
    'types',
    'helpers',
    'helper',
    'common',
    'misc',
    'index',
    'interfaces',
    'lib',
  ];
  test('a file is named by its noun', () => {
    expect(code.filter((path) => forbidden.includes(basename(path, '.ts')))).toEqual([]);
  });
  test('in kebab-case', () => {
    expect(
      code.filter((path) => !/^[a-z0-9]+(-[a-z0-9]+)*(\.(test|config))?\.ts$/.test(basename(path))),
    ).toEqual([]);
  });
});

describe('text', () => {
  test('every file of the program begins with what it is', () => {
    expect(source.filter((path) => !/^(#!.*\n)?\/\*\*/.test(read(path)))).toEqual([]);
  });
  test('no path of a machine', () => {
    const machine = new RegExp(`/(${['work', 'farm', 'home', 'root', 'tmp/w'].join('|')})/|\\.${'library'}`);
    const tracked = [...all, 'package.json', 'tsconfig.json', 'Dockerfile'].filter(
      (path) => statSync(join(root, path)).size < 1e6,
    );
    expect(lines(tracked, (line) => machine.test(line))).toEqual([]);
  });
  test('no loose ends', () => {
    const loose = new RegExp(`\\b(${['TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X'].join('|')})\\b`);
    expect(lines(code, (line) => loose.test(line))).toEqual([]);
  });
  test('no test is left out or alone', () => {
    expect(lines(code, (line) => /\b(it|test|describe)\.(only|todo|skip)\b\(/.test(line))).toEqual([]);
  });
  test('no trailing blanks, no tabs', () => {
    expect(lines(code, (line) => /[ \t]$|\t/.test(line))).toEqual([]);
  });
});
