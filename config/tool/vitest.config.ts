/**
 * The tests in five projects. Unit, golden and simulation run side by side, then integration two files at a
 * time, then what measures times or loads the whole machine, one file at a time.
 */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { LongestFirst } from './test-order.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

// Every process that a test starts compiles TypeScript otherwise: it is most of what a short one takes.
process.env['NODE_COMPILE_CACHE'] ??= join(tmpdir(), 'mtm-gateway-compile-cache');

const faults = [
  'failover/membership',
  'failover/network',
  'failover/rounds',
  'failover/timing',
  'recovery/catch-up',
].map((name) => `test/integration/${name}.test.ts`);

const withServers = { hookTimeout: 300_000, globalSetup: ['test/support/test-folder.ts'] };

const project = (name: string, timeoutMs: number, more: Record<string, unknown> = {}) => ({
  root,
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    testTimeout: timeoutMs,
    hookTimeout: timeoutMs,
    ...more,
  },
});

export default defineConfig({
  root,
  test: {
    passWithNoTests: true,
    pool: 'forks',
    sequence: { sequencer: LongestFirst },
    projects: [
      project('unit', 120_000),
      project('golden', 120_000),
      project('simulation', 300_000),
      project('integration', 300_000, { ...withServers, exclude: faults }),
      project('faults', 300_000, { ...withServers, include: faults, fileParallelism: false }),
    ],
  },
});
