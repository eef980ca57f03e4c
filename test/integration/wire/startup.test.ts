/**
 * What comes before the first statement, said to a server and to a gateway in front of such a server: the answers are
 * equal, on 15, which speaks protocol 3.0, and on 18, which speaks 3.2. And who may work past the supervision.
 */
import { connect, type Socket } from 'node:net';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { failureOf, startCluster, type Cluster } from '../../support/cluster.ts';
import { within } from '../../support/polling.ts';
import { findProgram, needs, runProgram } from '../../support/programs.ts';
import { startStockServer, type StockServer } from '../statements/stock-server.ts';
import { parts, type Exchange, exchanges } from './first-packets.ts';
import { describe as lineOf } from './wire-client.ts';

const majors = [15, 18] as const;
let cluster: Cluster;
const stock: StockServer[] = [];

beforeAll(async () => {
  cluster = await startCluster({ majors: [...majors] });
  for (const major of majors) stock.push(await startStockServer(major));
  await cluster.query(1, 'CREATE TABLE t (id int PRIMARY KEY, node int)');
  await cluster.query(1, 'CREATE ROLE stranger LOGIN; GRANT ALL ON t TO stranger');
  await cluster.query(1, 'CREATE ROLE keeper LOGIN; GRANT ALL ON t TO keeper');
  await cluster.query(1, 'CREATE ROLE mtm_admin_role; GRANT mtm_admin_role TO keeper');
});

afterAll(async () => {
  await cluster?.stop();
  for (const each of stock) await each.stop();
});

/** Everything that comes until the connection ends, or until it is logged in and has answered one Sync more. */
async function answer(port: number, { send, ends, alsoLast = false }: Exchange): Promise<string[]> {
  const socket = connect({ host: '127.0.0.1', port, noDelay: true });
  socket.on('error', () => undefined); // the close that follows is what counts
  let heard = Buffer.alloc(0);
  let stir: () => void = () => undefined;
  let closed = false;
  socket.on('data', (chunk: Buffer) => {
    heard = Buffer.concat([heard, chunk]);
    stir();
  });
  socket.on('close', () => {
    closed = true;
    stir();
  });
  const until = (good: () => boolean): Promise<void> =>
    within(
      'an answer',
      20_000,
      waitFor(good, (again) => (stir = again)),
    );
  for (const [index, packet] of send.entries()) {
    socket.write(packet);
    // Each request for encryption is answered with one byte before the next one is sent.
    if (index < send.length - 1) await until(() => closed || heard.length > index);
  }
  await until(() => closed || (ends === 'ready' && heard.includes(ready)));
  socket.destroy();
  return [...lines(heard, alsoLast ? send.length : send.length - 1), ...(closed ? ['closed'] : [])];
}

const ready = Buffer.from('Z\0\0\0\x05I', 'latin1');

function waitFor(good: () => boolean, onStir: (look: () => void) => void): Promise<void> {
  return new Promise((resolve) => {
    const look = (): void => (good() ? resolve() : undefined);
    onStir(look);
    look();
  });
}

/** `single`: so many bytes stand for themselves. Of the key only its length is told. */
function lines(heard: Buffer, single: number): string[] {
  const told: string[] = [];
  let at = 0;
  while (at < heard.length) {
    const type = heard[at]!;
    if (told.length < single && (type === 0x4e || type === 0x53)) {
      told.push(String.fromCharCode(type));
      at++;
    } else if (at + 5 > heard.length || heard.readUInt32BE(at + 1) > heard.length) {
      told.push(heard.subarray(at).toString('latin1'));
      break;
    } else {
      const end = at + 1 + heard.readInt32BE(at + 1);
      told.push(type === 0x4b ? `key of ${end - at - 9}` : lineOf(type, heard, at, end));
      at = end;
    }
  }
  // Several values may stand in any order.
  return told.filter((line) => !line.startsWith('parameterStatus')).concat(told.filter(isParameter).sort());
}

function isParameter(line: string): boolean {
  return line.startsWith('parameterStatus');
}

describe.each([...majors.entries()])('the first packets, server %i (PostgreSQL %i)', (index) => {
  test.each(Object.entries(exchanges))('%s', async (_, exchange) => {
    const [theirs, ours] = await Promise.all([
      answer(stock[index]!.node.postgresPort, exchange),
      answer(cluster.node(index + 1).gatewayPort, exchange),
    ]);
    expect(ours).toEqual(theirs);
  });
});

describe('replication connections', () => {
  const port = (): number => cluster.node(1).gatewayPort;

  test.each(['database', 'true', 'on', 't', '1'])('replication=%s is refused clearly', async (value) => {
    const heard = await answer(port(), {
      send: [parts.startup([['replication', value]])],
      ends: 'closed',
    });
    expect(heard[0]).toMatch(/C=0A000 \| M=\[multimaster\] replication connections .* H=.*mtm_admin/);
  });

  test.each(['off', 'no', 'f', '0'])('replication=%s is none', async (value) => {
    const heard = await answer(port(), { send: [parts.startup([['replication', value]])], ends: 'ready' });
    expect(heard.some((line) => line.startsWith('readyForQuery'))).toBe(true);
  });

  test(`administrators' pass through: pg_basebackup${needs('pg_basebackup')}`, async ({ skip }) => {
    skip(findProgram('pg_basebackup') === undefined);
    const folder = mkdtempSync(join(tmpdir(), 'mtm-backup-'));
    const to = ['-h', '127.0.0.1', '-p', String(port()), '-U', 'postgres', '-X', 'stream', '-c', 'fast'];
    try {
      const name = (application: string): string[] => ['-d', `application_name=${application}`];
      const good = await runProgram('pg_basebackup', [...to, '-D', join(folder, 'a'), ...name('mtm_admin')]);
      expect(good).toMatchObject({ code: 0 });
      const bad = await runProgram('pg_basebackup', [...to, '-D', join(folder, 'b'), ...name('backup')]);
      expect(bad.stderr).toContain('[multimaster] replication connections');
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

describe.each([...majors.entries()])('application_name=mtm_admin, server %i (PostgreSQL %i)', (index) => {
  const here = index + 1;
  const there = 2 - index;
  let id = here * 1000;

  /** What this session writes is replicated, and its name is what the client gave. */
  async function expectSupervised(parameters: [string, string][], name: string, set?: string): Promise<void> {
    const client = await Talker.open(cluster.node(here).gatewayPort, parameters);
    if (set !== undefined) await client.query(set);
    expect(await client.query('SHOW application_name')).toContain(
      `dataRow ${JSON.stringify(cell(name)).slice(1, -1)}`,
    );
    id++;
    await client.query(`INSERT INTO t VALUES (${id}, ${here})`);
    client.end();
    expect(await cluster.directly(there, `SELECT node FROM t WHERE id = ${id}`)).toEqual([{ node: here }]);
  }

  test.each([
    ['SET', "SET application_name = 'mtm_admin'"],
    ['set_config', "SELECT set_config('application_name', 'mtm_admin', false)"],
    ['code', "DO $$ BEGIN PERFORM set_config('application_name', 'mtm_admin', false); END $$"],
  ])('set later by %s it is a name only', async (_, text) => {
    await expectSupervised([], 'mtm_admin', text);
  });

  test.each([
    ['-c application_name=mtm_admin'],
    ['-capplication_name=mtm_admin'],
    ['--application-name=mtm_admin'],
  ])('in options (%s) too', async (options) => {
    await expectSupervised([['options', options]], 'mtm_admin');
  });

  test.each([
    ['another case of the name', 'Application_Name', 'mtm_admin'],
    ['another case of the value', 'application_name', 'MTM_Admin'],
    ['a space behind it', 'application_name', 'mtm_admin '],
    ['a space before it', 'application_name', ' mtm_admin'],
    ['padded to more than 63 bytes', 'application_name', `mtm_admin${' '.repeat(60)}`],
    ['letters beyond 63 bytes', 'application_name', `mtm_admin${'x'.repeat(60)}`],
  ])('in the startup packet: %s', async (_, key, value) => {
    await expectSupervised([[key, value]], value.slice(0, 63));
  });

  test('the last of two counts, as in PostgreSQL', async () => {
    await expectSupervised(
      [
        ['application_name', 'mtm_admin'],
        ['application_name', 'other'],
      ],
      'other',
    );
  });

  test('as the default of a role it is a name only', async () => {
    await cluster.query(1, "ALTER ROLE stranger SET application_name = 'mtm_admin'");
    await expectSupervised([['user', 'stranger']], 'mtm_admin');
    await cluster.query(1, 'ALTER ROLE stranger RESET application_name');
  });

  test('with bytes around it that are not text, it is another name', async () => {
    for (const value of ['\ufeffmtm_admin', 'mtm_admin\u0001', 'mtm_admin\u00a0']) {
      const client = await Talker.open(cluster.node(here).gatewayPort, [['application_name', value]]);
      id++;
      await client.query(`INSERT INTO t VALUES (${id}, ${here})`);
      client.end();
      expect(await cluster.directly(there, `SELECT FROM t WHERE id = ${id}`)).toHaveLength(1);
    }
  });

  test('a NUL ends the packet before it', async () => {
    const exchange: Exchange = {
      send: [parts.startup([['application_name', '\0mtm_admin']])],
      ends: 'closed',
    };
    expect((await answer(cluster.node(here).gatewayPort, exchange)).join()).toContain('C=08P01');
  });

  test('whoever may not is refused', async () => {
    const wish = { application_name: 'mtm_admin', user: 'stranger' };
    expect(await failureOf(cluster.client(here, wish))).toMatchObject({ code: '42501', severity: 'FATAL' });
  });
});

const cell = (text: string): string => `\0\x01\0\0\0${String.fromCharCode(text.length)}${text}`;

/** Says a simple query and reads the whole answer. */
class Talker {
  readonly #socket: Socket;
  #heard = Buffer.alloc(0);
  #look: () => void = () => undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('error', () => undefined); // what is awaited does not come then
    socket.on('data', (chunk: Buffer) => {
      this.#heard = Buffer.concat([this.#heard, chunk]);
      this.#look();
    });
  }

  static async open(port: number, parameters: [string, string][]): Promise<Talker> {
    const talker = new Talker(connect({ host: '127.0.0.1', port, noDelay: true }));
    await talker.#say(parts.startup(parameters));
    return talker;
  }

  async query(text: string): Promise<string> {
    return (await this.#say(parts.query(text))).join('\n');
  }

  async #say(bytes: Uint8Array): Promise<string[]> {
    this.#heard = Buffer.alloc(0);
    this.#socket.write(bytes);
    await within(
      'ReadyForQuery',
      20_000,
      waitFor(
        () => this.#heard.includes(ready),
        (look) => (this.#look = look),
      ),
    );
    return lines(this.#heard, 0);
  }

  end(): void {
    this.#socket.destroy();
  }
}
