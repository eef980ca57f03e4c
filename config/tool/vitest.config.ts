/**
 * The tests in four projects. Unit, golden and simulation run side by side; integration one file at a time.
 */
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const root = fileURLToPath(new URL('../../', import.meta.url));

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
      project('integration', 180_000, { fileParallelism: false, hookTimeout: 240_000 }),
    ],
  },
});
