/**
 * `npm test`: types, lint, import direction, then all tests. Each step is one line; what fails shows its
 * output.
 * Arguments choose steps or test projects: `npm test -- unit types`. The last line is `N passed, N failed, N
 * skipped`.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
const bin = join(root, 'node_modules/.bin');
const reports = mkdtempSync(join(tmpdir(), 'mtm-tests-'));

interface Step {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** Where vitest writes its counts. */
  readonly report?: string;
  /** Output is shown as it comes. */
  readonly live?: boolean;
  /** A reason to distrust a success, from its output. */
  readonly doubt?: (output: string) => string | undefined;
}

/** Without a parser dependency-cruiser sees nothing and is content: then it has checked nothing. */
function doubtfulImports(output: string): string | undefined {
  const count = Number(/([0-9]+) modules/.exec(output)?.[1] ?? 0);
  return count >= 20 ? undefined : `dependency-cruiser saw ${count} modules only`;
}

function vitest(name: string, projects: readonly string[], more: readonly string[] = []): Step {
  const report = join(reports, `${name}.json`);
  return {
    name,
    command: 'vitest',
    args: [
      'run',
      '--config',
      'config/tool/vitest.config.ts',
      ...projects.flatMap((project) => ['--project', project]),
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${report}`,
      ...more,
    ],
    report,
    live: true,
  };
}

const fastProjects = ['unit', 'golden', 'simulation'];
/** Vitest leaves one core free otherwise: of two that would be half of the machine. */
const everyCore = '--maxWorkers=100%';
const realProjects: Readonly<Record<string, readonly string[]>> = {
  integration: ['--maxWorkers=2'],
  faults: [],
};

const checks: readonly Step[] = [
  { name: 'types', command: 'tsc', args: ['--noEmit', '-p', '.'] },
  {
    name: 'lint',
    command: 'oxlint',
    args: [
      '--type-aware',
      '-c',
      'config/tool/oxlintrc.json',
      '--deny-warnings',
      '--ignore-pattern',
      'test/fixtures/**',
      'src',
      'test',
      'config',
    ],
  },
  {
    name: 'imports',
    command: 'depcruise',
    args: ['--config', 'config/tool/dependency-cruiser.mjs', 'src'],
    doubt: doubtfulImports,
  },
];

function chosenSteps(words: readonly string[]): Step[] {
  const known = [...checks.map((step) => step.name), ...fastProjects, ...Object.keys(realProjects)];
  const unknown = words.find((word) => !known.includes(word));
  if (unknown !== undefined) {
    process.stderr.write(`${unknown} is not one of ${known.join(', ')}\n`);
    process.exit(2);
  }
  const wanted = words.length === 0 ? known : words;
  const fast = fastProjects.filter((project) => wanted.includes(project));
  return [
    ...checks.filter((step) => wanted.includes(step.name)),
    ...(fast.length > 0 ? [vitest(fast.join(', '), fast, [everyCore])] : []),
    ...Object.entries(realProjects)
      .filter(([name]) => wanted.includes(name))
      .map(([name, more]) => vitest(name, [name], more)),
  ];
}

/** True: the step is good. */
async function run(step: Step): Promise<boolean> {
  const begin = performance.now();
  const child = spawn(join(bin, step.command), step.args, {
    cwd: root,
    stdio: step.live === true ? 'inherit' : ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, PATH: `${bin}${delimiter}${process.env['PATH'] ?? ''}` },
  });
  let output = '';
  child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr?.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const code = await new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (exitCode) => resolve(exitCode ?? 1));
  });
  const doubt = code === 0 ? step.doubt?.(output) : undefined;
  const good = code === 0 && doubt === undefined;
  if (!good) process.stdout.write(`${output}${doubt === undefined ? '' : `${doubt}\n`}`);
  const seconds = ((performance.now() - begin) / 1000).toFixed(1);
  process.stdout.write(`${good ? 'ok    ' : 'FAILED'} ${step.name} (${seconds} s)\n`);
  return good;
}

interface FailedTest {
  readonly fullName: string;
  readonly status: string;
  readonly failureMessages: readonly string[];
}

interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    /** Why the file failed as a whole. */
    readonly message: string;
    readonly assertionResults: readonly FailedTest[];
  }[];
}

function writtenReports(steps: readonly Step[]): Report[] {
  return steps
    .flatMap(({ report }) => (report !== undefined && existsSync(report) ? [report] : []))
    .map((report) => JSON.parse(readFileSync(report, 'utf8')) as Report);
}

const shownLines = 30;

/** Said again at the end: of a long run only the last lines may be kept. */
function failures(reports: readonly Report[]): string {
  const shown = (title: string, message: string): string =>
    `FAILED ${title}\n${message.split('\n').slice(0, shownLines).join('\n')}\n`;
  return reports
    .flatMap(({ testResults }) => testResults)
    .filter(({ status }) => status === 'failed')
    .flatMap(({ name, message, assertionResults }) => [
      ...(message === '' ? [] : [shown(name, message)]),
      ...assertionResults
        .filter(({ status }) => status === 'failed')
        .map(({ fullName, failureMessages }) => shown(`${name} > ${fullName}`, failureMessages.join('\n'))),
    ])
    .join('');
}

function counts(reports: readonly Report[]) {
  const sum = { passed: 0, failed: 0, skipped: 0 };
  for (const read of reports) {
    sum.passed += read.numPassedTests;
    sum.failed += read.numFailedTests;
    sum.skipped += read.numPendingTests + read.numTodoTests;
  }
  return sum;
}

const steps = chosenSteps(process.argv.slice(2));
const failed: string[] = [];
for (const step of steps) if (!(await run(step))) failed.push(step.name);
const written = writtenReports(steps);
const sum = counts(written);
process.stdout.write(failures(written));
rmSync(reports, { recursive: true, force: true });
const tested = steps.some((step) => step.report !== undefined);
if (tested && sum.passed + sum.failed < 1) failed.push('no test ran');
if (failed.length > 0) process.stdout.write(`FAILED: ${failed.join('; ')}\n`);
process.stdout.write(`${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped\n`);
process.exitCode = failed.length > 0 ? 1 : 0;
