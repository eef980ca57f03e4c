/**
 * Ports of loopback for servers of tests. Rule: below the usual range of ephemeral ports (32768), so that no outgoing
 * connection takes one, also while its server is down; workers that run side by side draw from ranges of their own.
 */
import { clusterLayout, isFreePort, requireFreePorts } from '../../src/io/launcher/node-layout.ts';
import type { PostgresMajor } from '../../src/io/launcher/server-binaries.ts';
import { GatewayError } from '../../src/lib/gateway-error.ts';

const ranges = 4;
const range = Number(process.env['VITEST_POOL_ID'] ?? 0) % ranges;
const singleFrom = 10_000;
const singleCount = 2400;
const clusterFrom = 20_000;
const clusterWidth = 3000;
const given = new Set<number>();

/** A port that nobody listens on (any more), never the same one twice in a test file. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = singleFrom + singleCount * range + Math.floor(Math.random() * singleCount);
    if (given.has(port) || !(await isFreePort(port))) continue;
    given.add(port);
    return port;
  }
}

/** The base port of a cluster (node-layout.ts): all ports of so many nodes are free, and those up to it plus 410 its own. */
export async function freeBasePort(majors: readonly PostgresMajor[]): Promise<number> {
  for (;;) {
    const port = clusterFrom + clusterWidth * range + 5 * Math.floor(Math.random() * 510);
    try {
      await requireFreePorts(clusterLayout('/', port, majors), ['gateway', 'postgres']);
      return port;
    } catch (error) {
      if (!(error instanceof GatewayError) || error.code !== 'address-in-use') throw error;
    }
  }
}
