/** Before all tests of a run and after them: a folder for the data directories that servers are copied from. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Vitest calls it; what it returns is called at the end. */
export default function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'mtm-templates-'));
  chmodSync(folder, 0o755); // as root the servers run as another user
  process.env['MTM_TEST_TEMPLATES'] = folder;
  return () => rmSync(folder, { recursive: true, force: true });
}
