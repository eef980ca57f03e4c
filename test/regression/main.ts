/**
 * `npm run regress`: PostgreSQL's own tests through a gateway. Progress goes to standard error, the report to standard
 * output. Exit code 1: something differs that is not recorded, or the nodes are not equal afterwards.
 * Rule: whatever it starts is on loopback and is stopped at the end, also on Ctrl-C.
 */
import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { compare, type Compared } from './comparison.ts';
import { differencesBetweenNodes } from './equality.ts';
import { readOptions, usage, type Options } from './options.ts';
import { record } from './records.ts';
import {
  adjustDatabase,
  drawPlainly,
  startRegressionCluster,
  startSingleServer,
} from './regression-cluster.ts';
import { formatReport, isAsRecorded, type FileReport } from './report.ts';
import { provideSources, type Sources } from './sources.ts';
import { resultOf, runSuite, type SuiteResult } from './suite.ts';

const report = (line: string) => process.stderr.write(`${line}\n`);
const directLimit = 1800;

/** Told of what a signal has to stop. */
type Started = (what: { stop(): Promise<void> }) => void;

interface Where {
  readonly folder: string;
  readonly port: number;
}

async function runAt(where: Where, options: Options, sources: Sources, limit: number): Promise<SuiteResult> {
  const { suite, fileLimit, stepLimit, parallel } = options;
  // Other files use the tables that it makes.
  const setup = suite === 'regress' ? ['test_setup'] : [];
  const only = options.only && [...setup, ...options.only];
  await adjustDatabase(where.port);
  return runSuite({ suite, ...where, fileLimit, stepLimit, limit, parallel, only }, sources);
}

async function runDirect(options: Options, sources: Sources, started: Started): Promise<Where> {
  const where = { folder: join(options.out, 'direct'), port: options.port + 110 };
  report('the tests on one server alone');
  const server = await startSingleServer(join(options.out, 'single'), where.port, 15);
  started(server);
  try {
    await runAt(where, options, sources, directLimit);
    return where;
  } finally {
    await server.stop();
  }
}

interface GatewayRun extends Where {
  readonly result: SuiteResult;
  readonly unequal: readonly string[];
}

async function runThroughGateway(options: Options, sources: Sources, started: Started): Promise<GatewayRun> {
  report(`a cluster of three on port ${options.port}`);
  const cluster = await startRegressionCluster(options.out, options.port, 15);
  started(cluster);
  try {
    if (!options.spread) await drawPlainly(cluster);
    const where = { folder: join(options.out, 'gateway'), port: options.port };
    report('the tests through gateway 1');
    const result = await runAt(where, options, sources, options.limit);
    report('comparing the nodes');
    return { ...where, result, unequal: await differencesBetweenNodes(cluster.nodes) };
  } finally {
    await cluster.stop();
  }
}

function compareAll(direct: Where, gateway: GatewayRun): FileReport[] {
  return gateway.result.files.map(({ name, ended }) => {
    const side = (where: Where) => ({ ...where, text: resultOf(where.folder, name) });
    const compared: Compared = compare(side(direct), side(gateway));
    return { name, ended, ...compared };
  });
}

async function run(options: Options, started: Started): Promise<number> {
  const sources = provideSources(options.cache, report);
  report(`PostgreSQL ${sources.version}`);
  rmSync(options.out, { recursive: true, force: true });
  mkdirSync(options.out, { recursive: true });
  for (const folder of [options.cache, options.out]) chmodSync(folder, 0o755); // servers run as another user
  const direct = await runDirect(options, sources, started);
  const gateway = await runThroughGateway(options, sources, started);
  const files = compareAll(direct, gateway);
  if (options.record) for (const { name, difference } of files) record(options.suite, name, difference);
  const outcome = { ...options, files, complete: gateway.result.complete, unequal: gateway.unequal };
  process.stdout.write(formatReport(outcome));
  if (!options.keep)
    for (const part of ['cluster', 'single']) rmSync(join(options.out, part), { recursive: true });
  return isAsRecorded(outcome) ? 0 : 1;
}

async function main(): Promise<number> {
  let options: Options | undefined;
  try {
    options = readOptions(process.argv.slice(2));
  } catch (error) {
    report(`${(error as Error).message}\n${usage}`);
    return 2;
  }
  if (options === undefined) {
    process.stdout.write(`${usage}\n`);
    return 0;
  }
  process.umask(0); // COPY … TO of the tests: the server writes what psql reads, and the other way round
  let running: Parameters<Started>[0] | undefined;
  const stop = () => void (running?.stop() ?? Promise.resolve()).finally(() => process.exit(130));
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, stop);
  return run(options, (what) => (running = what));
}

process.exitCode = await main();
