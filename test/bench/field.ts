/** The field of candidates: starts what was asked for and is installed, names what is not. */
import { join } from 'node:path';
import type { Candidate, Skipped } from './candidate.ts';
import { directCandidate } from './direct.ts';
import { launchGateways, type Gateways } from './gateway.ts';
import { limitCandidate } from './limit.ts';
import type { BenchOptions, CandidateKey } from './options.ts';
import type { Pgbench } from './pgbench.ts';
import { findPgbouncer, startPgbouncer } from './pgbouncer.ts';
import { findPgpool, pgpoolTitle, startPgpool, type PgpoolMode } from './pgpool.ts';
import { hasProcessFigures } from './process-figures.ts';
import { startGroup, type ServerGroup } from './server-group.ts';
import { readSlowly, type SlowReaderOutcome } from './slow-reader.ts';
import { startStreaming, streamingTitle } from './streaming.ts';

export interface Field {
  readonly candidates: readonly Candidate[];
  readonly skipped: readonly Skipped[];
  readonly gateways: Gateways | undefined;
  readonly slowReader: SlowReaderOutcome | undefined;
  readonly versions: readonly string[];
}

const notInstalled = 'is not installed (sh config/tool/install-bench.sh)';

export class FieldBuilder {
  readonly #stack: AsyncDisposableStack;
  readonly #options: BenchOptions;
  readonly #pgbench: Pgbench;
  readonly #folder: string;
  readonly #signal: AbortSignal;
  readonly #report: (line: string) => void;
  readonly #candidates: Candidate[] = [];
  readonly #skipped: Skipped[] = [];
  readonly #versions: string[] = [];
  #slowReader: SlowReaderOutcome | undefined;

  constructor(
    stack: AsyncDisposableStack,
    options: BenchOptions,
    pgbench: Pgbench,
    folder: string,
    signal: AbortSignal,
    report: (line: string) => void,
  ) {
    this.#stack = stack;
    this.#options = options;
    this.#pgbench = pgbench;
    this.#folder = folder;
    this.#signal = signal;
    this.#report = report;
  }

  #wants(...keys: readonly CandidateKey[]): boolean {
    return keys.some((key) => this.#options.candidates.includes(key));
  }

  #group(name: string, offset: number, count: number): Promise<ServerGroup> {
    const folder = join(this.#folder, name);
    const port = this.#options.port + offset;
    return startGroup(this.#stack, this.#options, folder, port, count, this.#signal);
  }

  /** A candidate that fails is reported with its reason and does not spoil the run of the others. */
  async #attempt<T>(title: string, work: () => Promise<T>): Promise<T | undefined> {
    this.#report(`starting ${title}`);
    try {
      return await work();
    } catch (error) {
      this.#signal.throwIfAborted();
      this.#skipped.push({ title, reason: (error as Error).message, failure: true });
      return undefined;
    }
  }

  #skip(title: string): void {
    this.#skipped.push({ title, reason: notInstalled, failure: false });
  }

  async build(): Promise<Field> {
    const gateways = await this.#gateways();
    await this.#directServer();
    await this.#streaming();
    await this.#threeServers();
    return {
      candidates: this.#candidates,
      skipped: this.#skipped,
      gateways,
      slowReader: this.#slowReader,
      versions: this.#versions,
    };
  }

  async #directServer(): Promise<void> {
    const found = findPgbouncer();
    if (this.#wants('pgbouncer') && found === undefined) this.#skip('PgBouncer');
    if (!this.#wants('direct') && (!this.#wants('pgbouncer') || found === undefined)) return;
    const group = await this.#group('direct', 10, 1);
    for (const server of group.servers) await this.#pgbench.initialise(server, this.#options.scale);
    if (this.#wants('direct')) this.#candidates.push(directCandidate(group));
    if (!this.#wants('pgbouncer') || found === undefined) return;
    const folder = join(this.#folder, 'pgbouncer');
    const started = await this.#attempt('PgBouncer', () =>
      startPgbouncer(this.#stack, group, found.program, folder, this.#options.port + 30),
    );
    if (started === undefined) return;
    this.#candidates.push(started);
    this.#versions.push(found.version);
  }

  async #gateways(): Promise<Gateways | undefined> {
    const wanted = this.#wants('gateway', 'gateways') || this.#options.parts.includes('memory');
    if (!wanted) return undefined;
    const group = await this.#group('gateway', 0, 3);
    const gateways = await this.#attempt('gateway', async () => {
      const launched = await launchGateways(group, this.#options.profileFolder, this.#signal);
      // Before the tables are filled, which leaves a heap that says more about loading than about relaying.
      if (this.#options.parts.includes('memory')) this.#slowReader = await this.#readSlowly(launched);
      for (const target of launched.one.targets) await this.#pgbench.initialise(target, this.#options.scale);
      return launched;
    });
    if (gateways === undefined) return undefined;
    if (this.#wants('gateway')) this.#candidates.push(gateways.one);
    if (this.#wants('gateways')) this.#candidates.push(gateways.all);
    return gateways;
  }

  async #readSlowly({ one, pids }: Gateways): Promise<SlowReaderOutcome | undefined> {
    const [target] = one.targets;
    const [pid] = pids;
    if (target === undefined || pid === undefined || !hasProcessFigures) return undefined;
    this.#report('400 MB to a slow reader');
    try {
      return await readSlowly(target, pid, this.#signal);
    } catch (error) {
      this.#signal.throwIfAborted();
      return { failure: (error as Error).message };
    }
  }

  async #streaming(): Promise<void> {
    if (!this.#wants('streaming')) return;
    const started = await this.#attempt(streamingTitle, async () => {
      const folder = join(this.#folder, 'streaming');
      const candidate = await startStreaming(this.#stack, this.#options, folder, this.#options.port + 40);
      for (const target of candidate.targets) await this.#pgbench.initialise(target, this.#options.scale);
      return candidate;
    });
    if (started !== undefined) this.#candidates.push(started);
  }

  /** Those that need three servers and nothing of ours: each in a database of its own. */
  async #threeServers(): Promise<void> {
    const modes = (['native', 'snapshot'] as const).filter((mode) => this.#wants(`pgpool-${mode}`));
    const found = findPgpool();
    if (found === undefined) for (const mode of modes) this.#skip(pgpoolTitle(mode));
    const usesPgpool = modes.length > 0 && found !== undefined;
    if (!usesPgpool && !this.#wants('limit')) return;
    const group = await this.#group('three', 20, 3);
    if (usesPgpool) {
      for (const mode of modes) await this.#pgpool(mode, group, found.program);
      this.#versions.push(found.version);
    }
    if (this.#wants('limit')) await this.#limit(group);
  }

  async #limit(group: ServerGroup): Promise<void> {
    const made = await this.#attempt('limit', async () => {
      const candidate = await limitCandidate(group);
      for (const server of candidate.servers) await this.#pgbench.initialise(server, this.#options.scale);
      return candidate;
    });
    if (made !== undefined) this.#candidates.push(made);
  }

  async #pgpool(mode: PgpoolMode, group: ServerGroup, program: string): Promise<void> {
    const folder = join(this.#folder, `pgpool-${mode}`);
    const port = this.#options.port + (mode === 'native' ? 32 : 34);
    const started = await this.#attempt(pgpoolTitle(mode), async () => {
      const candidate = await startPgpool(this.#stack, mode, group, program, folder, port);
      // Past Pgpool-II: pgbench's rows are the same each time, and the faster way is not what is measured.
      for (const server of candidate.servers) await this.#pgbench.initialise(server, this.#options.scale);
      return candidate;
    });
    if (started !== undefined) this.#candidates.push(started);
  }
}
