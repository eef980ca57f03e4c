/**
 * The newcomer's path (test/newcomer/walk.ts) without a registry: what it takes from the tarball is real, what the program
 * depends on are links to the packages that are installed here. `npm run newcomer` walks it with npm install.
 */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { Walk } from '../../newcomer/walk.ts';
import { freeBasePort } from '../../support/free-port.ts';

// A compiler, a browser and seven starts: on a machine that does much else each takes its time.
const patience = { timeout: 900_000 };
const folder = mkdtempSync(join(tmpdir(), 'mtm-newcomer-'));
chmodSync(folder, 0o755); // as root the servers run as another user
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('pack, install, dev, psql, a node dies and comes back, all equal, Ctrl-C', patience, async () => {
  const steps: string[] = [];
  const done = (step: string, seconds: number) => steps.push(`${seconds.toFixed(1).padStart(6)} s  ${step}`);
  const port = await freeBasePort([18, 18, 18]);
  try {
    await new Walk({ folder, port, from: 'here', done }).run();
  } finally {
    process.stdout.write(`${steps.join('\n')}\n`);
  }
  expect(steps).toHaveLength(14);
});
