/**
 * The tests in five projects. Unit, golden and simulation run side by side, then integration two files at a
 * time, then faults one file at a time: what is killed there is timed.
 */
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const root = fileURLToPath(new URL('../../', import.meta.url));

const faults = ['failover', 'recovery', 'referee'].map((folder) => `test/integration/${folder}/**/*.test.ts`);

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
    projects: [
      project('unit', 20_000),
      project('golden', 20_000),
      project('simulation', 300_000),
      project('integration', 180_000, { exclude: faults, hookTimeout: 240_000 }),
      project('faults', 180_000, { include: faults, fileParallelism: false, hookTimeout: 240_000 }),
    ],
  },
});
