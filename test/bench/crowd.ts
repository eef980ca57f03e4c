/**
 * `node test/bench/crowd.ts`: what those who were there feel of 1,000 clients that connect to one gateway at once. (Thousands
 * that are idle: `npm run bench -- --only sessions`.) Everything is on loopback, in a temporary folder, and ended at the end.
 */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { gatewayPid } from '../../src/io/launcher/gateway-process.ts';
import type { NodeLayout } from '../../src/io/launcher/node-layout.ts';
import { residentMegabytes } from './process-figures.ts';
import {
  Established,
  establishedClients,
  login,
  startSpaciousNode,
  watchMs,
  type Answers,
} from './sessions.ts';

const port = Number(process.env['MTM_BENCH_PORT'] ?? 24_601);
const atOnce = 1000;
const allowed = 250;

const say = (line: string): boolean => process.stdout.write(`${line}\n`);

async function storm(node: NodeLayout, pid: number): Promise<void> {
  const established = new Established(node.gatewayPort);
  await established.begin();
  const before = await established.watch();
  const memory = residentMegabytes(pid) ?? 0;
  const begun = performance.now();
  const all = await Promise.all(Array.from({ length: atOnce }, () => login(node.gatewayPort)));
  const ms = performance.now() - begun;
  await pause(Math.max(0, watchMs - ms));
  const during = await established.look();
  const served = all.filter((one) => one.served).length;
  for (const { socket } of all) socket.destroy();
  await established.end();
  say(
    `${atOnce} clients at once, answered in ${(ms / 1000).toFixed(1)} s: ${served} let in, the others 53300;`,
  );
  say(`  memory +${((residentMegabytes(pid) ?? 0) - memory).toFixed(0)} MB`);
  const line = (what: string, { count, p99, longest }: Answers): string =>
    `  ${establishedClients} established clients, ${watchMs / 1000} s ${what}: ${count} answers, ` +
    `p99 ${p99.toFixed(2)} ms, longest ${longest.toFixed(0)} ms`;
  say(line('before', before));
  say(line('from its beginning', during));
  say(`  p99: ${(during.p99 / before.p99).toFixed(2)} × (limit: 3)`);
}

const folder = mkdtempSync(join(tmpdir(), 'mtm-crowd-'));
chmodSync(folder, 0o755); // as root the servers run as another user
const stack = new AsyncDisposableStack();
const end = async (): Promise<void> => {
  await stack.disposeAsync();
  rmSync(folder, { recursive: true, force: true });
};
for (const name of ['SIGINT', 'SIGTERM'] as const)
  process.once(name, () => void end().then(() => process.exit(1)));
try {
  const node = await startSpaciousNode(stack, folder, 18, port, allowed + 300, allowed);
  await storm(node, gatewayPid(node) ?? 0);
} finally {
  await end();
}
