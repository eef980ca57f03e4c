/**
 * `npm run newcomer`: the newcomer's path from an empty folder, with npm's registry; prints each step and its seconds.
 * `-- --here` needs no registry, `-- --port 7001` chooses ports.
 */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { freeBasePort } from '../support/free-port.ts';
import { Walk } from './walk.ts';

const { values } = parseArgs({
  options: { here: { type: 'boolean', default: false }, port: { type: 'string' } },
});
const folder = mkdtempSync(join(tmpdir(), 'mtm-newcomer-'));
chmodSync(folder, 0o755); // as root the servers run as another user
const port = values.port === undefined ? await freeBasePort([18, 18, 18]) : Number(values.port);
try {
  await new Walk({
    folder,
    port,
    from: values.here ? 'here' : 'registry',
    done: (step, seconds) => process.stdout.write(`${seconds.toFixed(1).padStart(6)} s  ${step}\n`),
  }).run();
  process.stdout.write('done\n');
} finally {
  rmSync(folder, { recursive: true, force: true });
}
