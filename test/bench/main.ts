/**
 * `npm run bench`: how fast the gateway is beside what one would take instead and beside the limit, on this machine, in one run.
 * Everything it starts is on loopback, has its own temporary folder and ports, and is stopped at the end, also on Ctrl-C.
 * Progress goes to standard error, the report to standard output. Exit code 1: a limit that must hold does not.
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { measureBulk, type BulkOutcome } from './bulk.ts';
import { measureCommits } from './commit-latency.ts';
import { runEndurance } from './endurance.ts';
import { FieldBuilder, type Field } from './field.ts';
import { observeIdle } from './gateway.ts';
import { judge, type Outcome } from './judgement.ts';
import { describeMachine } from './machine.ts';
import { measureAll, warmUp, type Measuring } from './measurement.ts';
import type { Skipped } from './candidate.ts';
import { measureNodeCount } from './node-count.ts';
import { readOptions, usage, UsageError, type BenchOptions } from './options.ts';
import { ownCoresProblem } from './own-cores.ts';
import { findPgbench, Pgbench } from './pgbench.ts';
import { formatReport } from './report.ts';
import { query, serversAgree } from './server-group.ts';
import { measureIdleSessions, startSpaciousNode } from './sessions.ts';
import { makeWorkloads } from './workload.ts';

const sessionsPortOffset = 80;

const report = (line: string) => process.stderr.write(`${line}\n`);

async function compareServers(field: Field): Promise<Outcome['agreement'][number][]> {
  const replicated = field.candidates.filter(
    ({ key, servers, combine }) => servers.length > 1 && key !== 'gateways' && combine === 'sum',
  );
  const results: { title: string; agree: boolean }[] = [];
  for (const { title, servers } of replicated) results.push({ title, agree: await serversAgree(servers) });
  return results;
}

/** Every server is written out and vacuumed, so that nobody starts with the work of the ones before. */
async function settle(field: Field): Promise<void> {
  for (const server of new Set(field.candidates.flatMap((candidate) => candidate.servers))) {
    await query(server, 'VACUUM ANALYZE');
    await query(server, 'CHECKPOINT');
  }
}

/** A part that fails is reported with its reason and does not spoil the run. */
async function attempt<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T | { failure: string }> {
  try {
    return await work();
  } catch (error) {
    signal.throwIfAborted();
    return { failure: (error as Error).message };
  }
}

async function bulkOf(
  field: Field,
  apart: boolean,
  folder: string,
  signal: AbortSignal,
): Promise<BulkOutcome> {
  const direct = field.candidates.find(({ key }) => key === 'direct')?.targets[0];
  const { gateways } = field;
  if (direct === undefined || gateways === undefined)
    return { failure: 'needs the candidates direct and gateway' };
  return attempt(signal, () => measureBulk(direct, gateways, apart, folder, signal, report));
}

async function commitsOf(field: Field, measuring: Measuring, folder: string, signal: AbortSignal) {
  const limit = field.candidates.find(({ key }) => key === 'limit');
  const gateway = field.gateways?.one;
  if (limit === undefined || gateway === undefined)
    return { failure: 'needs the candidates limit and gateway' };
  const { options, pgbench } = measuring;
  return attempt(signal, () => measureCommits(gateway, limit, options, pgbench, folder, report));
}

async function idleSessionsOf({ major, port, sessions }: BenchOptions, folder: string) {
  await using stack = new AsyncDisposableStack();
  const room = sessions + 50;
  const node = await startSpaciousNode(stack, folder, major, port + sessionsPortOffset, room + 250, room);
  report(`${sessions} idle sessions`);
  return await measureIdleSessions(node, sessions); // before the node is stopped
}

/** What has clusters of its own, which nothing else shall run beside. */
async function ownClusters(measuring: Measuring, folder: string, signal: AbortSignal) {
  const { options, pgbench } = measuring;
  const update = makeWorkloads(folder, options.scale).find(({ key }) => key === 'update')!;
  return {
    nodeCount: options.parts.includes('nodes')
      ? await attempt(signal, () => measureNodeCount(options, pgbench, update, folder, signal, report))
      : undefined,
    idleSessions: options.parts.includes('sessions')
      ? await attempt(signal, () => idleSessionsOf(options, join(folder, 'sessions')))
      : undefined,
    endurance: options.parts.includes('endurance')
      ? await attempt(signal, () => runEndurance(options, pgbench, folder, signal, report))
      : undefined,
  };
}

/** What this machine cannot do is left out by name. */
function skippedParts({ parts }: BenchOptions): Skipped[] {
  const reason = parts.includes('apart') ? ownCoresProblem() : undefined;
  return reason === undefined ? [] : [{ title: 'bulk on cores of their own', reason, failure: false }];
}

async function runField(measuring: Measuring, folder: string, signal: AbortSignal) {
  const { options, pgbench, workloads } = measuring;
  await using stack = new AsyncDisposableStack();
  const field = await new FieldBuilder(stack, options, pgbench, folder, signal, report).build();
  let samples: Outcome['samples'] = [];
  if (workloads.length > 0) {
    await settle(field);
    report('warming up');
    await warmUp(measuring, field.candidates);
    samples = await measureAll(measuring, field.candidates);
  }
  return {
    versions: field.versions,
    samples,
    skipped: [...field.skipped, ...skippedParts(options)],
    idle: field.gateways?.idle,
    idleAfter:
      samples.length === 0 || field.gateways === undefined
        ? undefined
        : await observeIdle(field.gateways.pids, signal),
    slowReader: field.slowReader,
    bulk: options.parts.includes('bulk') ? await bulkOf(field, false, folder, signal) : undefined,
    commits: options.parts.includes('latency')
      ? await commitsOf(field, measuring, folder, signal)
      : undefined,
    bulkApart:
      options.parts.includes('apart') && ownCoresProblem() === undefined
        ? await bulkOf(field, true, folder, signal)
        : undefined,
    agreement: workloads.some((workload) => workload.writes) ? await compareServers(field) : [],
  };
}

async function runBench(options: BenchOptions, folder: string, signal: AbortSignal): Promise<Outcome> {
  const program = findPgbench();
  if (program === undefined) {
    throw new UsageError('pgbench is not installed: sh config/tool/install-bench.sh');
  }
  const pgbench = new Pgbench(program, folder, signal);
  const machine = describeMachine(options.major, [pgbench.version()]);
  const workloads = makeWorkloads(folder, options.scale).filter(({ key }) => options.workloads.includes(key));
  const measuring = { options, pgbench, workloads, report };
  const { versions, ...measured } = await runField(measuring, folder, signal);
  return {
    options,
    machine: { ...machine, versions: [...machine.versions, ...versions] },
    ...measured,
    ...(await ownClusters(measuring, folder, signal)),
  };
}

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2));
  if (options === undefined) {
    process.stdout.write(`${usage}\n`);
    return 0;
  }
  const stopping = new AbortController();
  const stop = () => {
    if (!stopping.signal.aborted) report('stopping');
    stopping.abort(new Error('stopped by a signal'));
  };
  // A pipe that nobody reads any more ends the run too, and in order.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', stop);
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, stop);
  const folder = mkdtempSync(join(tmpdir(), 'mtm-bench-'));
  chmodSync(folder, 0o755); // as root the servers run as another user
  if (options.profileFolder !== undefined) mkdirSync(options.profileFolder, { recursive: true });
  try {
    const outcome = await runBench(options, folder, stopping.signal);
    process.stdout.write(`${formatReport(outcome)}\n`);
    const failed = outcome.skipped.some(({ failure }) => failure);
    return failed || judge(outcome).some(({ met, strict }) => strict && !met) ? 1 : 0;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  report(error instanceof UsageError ? `${error.message}\n${usage}` : String((error as Error).message));
  process.exitCode = 1;
}
