/** Before all tests of a run and after them: a folder for what the run shares, and the end of what its tests have left. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { endAbandoned } from './abandoned.ts';

/** Vitest calls it before the first worker starts, which inherits the variable. */
export function setup(): void {
  const folder = mkdtempSync(join(tmpdir(), 'mtm-tests-'));
  chmodSync(folder, 0o755); // as root the servers run as another user
  process.env['MTM_TEST_FOLDER'] = folder;
  process.once('exit', () => {
    endAbandoned();
    rmSync(folder, { recursive: true, force: true });
  });
}

/** Vitest calls it at the end. */
export function teardown(): void {
  endAbandoned();
}
