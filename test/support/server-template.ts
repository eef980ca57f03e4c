/**
 * Data directories for the servers of tests: initdb runs once for each version and the others are copies, which costs a
 * tenth. Rule: a copy is a server of its own: it has another system identifier, in pg_control and in its WAL, so that
 * nothing takes it for the server that it was copied from.
 * They are in the folder of the run (test-folder.ts); without one initdb makes every server.
 */
import { execFile } from 'node:child_process';
import { randomInt } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { clusterLayout, embeddedDatabase, type NodeLayout } from '../../src/io/launcher/node-layout.ts';
import {
  createDatabases,
  initServer,
  makeNodeFolder,
  startServer,
  stopServer,
} from '../../src/io/launcher/postgres-server.ts';
import type { PostgresMajor } from '../../src/io/launcher/server-binaries.ts';
import { freePort } from './free-port.ts';

const run = promisify(execFile);

/** Of XLogLongPageHeaderData (access/xlog_internal.h), the same in all versions that are tested. */
const systemInSegment = 24;

/** Made beside its place and renamed: of two workers that make it at once one is too late, and takes the other's. */
async function template(templates: string, major: PostgresMajor): Promise<string> {
  const place = join(templates, `pg${major}`);
  if (existsSync(place)) return place;
  const folder = mkdtempSync(join(templates, 'unfinished-'));
  chmodSync(folder, 0o755); // as root the server runs as another user
  const [layout] = clusterLayout(folder, 1, [major]);
  const node = { ...layout!, postgresPort: await freePort() };
  await initServer(node);
  await startServer(node);
  try {
    await createDatabases(node, [embeddedDatabase]);
  } finally {
    await stopServer(node);
  }
  try {
    renameSync(node.dataFolder, place);
  } catch (error) {
    if (!existsSync(place)) throw error;
  }
  rmSync(folder, { recursive: true, force: true });
  return place;
}

/** CRC-32C, bit by bit: it is for a few hundred bytes. */
function crc32c(bytes: Uint8Array): number {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ ((crc & 1) === 1 ? 0x82f63b78 : 0);
  }
  return ~crc >>> 0;
}

/** The system identifier is the first field of pg_control (catalog/pg_control.h), its CRC the last one. */
function renameSystem(dataFolder: string, system: Buffer): void {
  const file = join(dataFolder, 'global/pg_control');
  const control = readFileSync(file);
  let end = 200;
  while (crc32c(control.subarray(0, end)) !== control.readUInt32LE(end)) {
    end += 4;
    if (end > 512) throw new Error(`no CRC found in ${file}`);
  }
  system.copy(control);
  control.writeUInt32LE(crc32c(control.subarray(0, end)), end);
  writeFileSync(file, control);
  const wal = join(dataFolder, 'pg_wal');
  for (const name of readdirSync(wal).filter((one) => /^[0-9A-F]{24}$/.test(one))) {
    const segment = openSync(join(wal, name), 'r+');
    try {
      writeSync(segment, system, 0, system.length, systemInSegment);
    } finally {
      closeSync(segment);
    }
  }
}

/** As initServer, quicker: with the database of every node in it. One that has its data is left as it is. */
export async function makeServer(node: NodeLayout): Promise<void> {
  const templates = process.env['MTM_TEST_FOLDER'];
  if (templates === undefined || existsSync(node.dataFolder)) return initServer(node);
  const source = await template(templates, node.major);
  makeNodeFolder(node);
  // cp keeps owners and modes, which a server insists on.
  await run('cp', ['-a', source, node.dataFolder]);
  const system = Buffer.alloc(8);
  system.writeUInt32LE(randomInt(2 ** 32), 0);
  system.writeUInt32LE(randomInt(2 ** 31), 4);
  renameSystem(node.dataFolder, system);
}
