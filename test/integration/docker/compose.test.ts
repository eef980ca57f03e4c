/**
 * config/compose.yaml on a real engine: a cluster comes up from nothing, is written to at each gateway, loses one and gets it
 * back, a gateway drains when it is told to stop, and nothing is left. The pair with its referee likewise.
 */
import { randomBytes } from 'node:crypto';
import { Client, type QueryResultRow } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { reportedState } from '../../newcomer/page.ts';
import { freePort } from '../../support/free-port.ts';
import { eventually, settled, within } from '../../support/polling.ts';
import { failureOf } from '../../support/cluster.ts';
import {
  Composition,
  docker,
  gatewayImage,
  hasCompose,
  needsCompose,
  postgresImage,
  redisImage,
} from './engine.ts';

const minutes = 60_000;
// A stop that is told to end in good order may take its time on a machine that does much else; killed it ends with 137.
const patience = { timeout: 15 * minutes };
const grace = ['-t', '300'];
const images: Record<string, string> = {};

/** What the tests ask of a cluster: its gateways by SQL from here, its servers by the psql that is in their containers. */
class Site {
  readonly composition: Composition;
  readonly #ports: ReadonlyMap<string, number>;
  readonly #httpPorts: ReadonlyMap<string, number>;
  #password = '';

  constructor(
    composition: Composition,
    ports: ReadonlyMap<string, number>,
    httpPorts: ReadonlyMap<string, number>,
  ) {
    this.composition = composition;
    this.#ports = ports;
    this.#httpPorts = httpPorts;
  }

  get gateways(): readonly string[] {
    return [...this.#ports.keys()];
  }

  async up(): Promise<void> {
    await this.composition.run('up', '-d', ...this.gateways);
    for (const gateway of this.gateways) await this.healthy(gateway);
    const file = '/run/secrets/postgres.password';
    const read = ['exec', '-T', this.gateways[0]!, 'node', '-p', `fs.readFileSync("${file}", "utf8")`];
    this.#password = (await this.composition.run(...read)).trim();
  }

  async healthy(service: string): Promise<void> {
    const container = await this.composition.container(service);
    const probe = async (): Promise<boolean> =>
      (await docker('inspect', '-f', '{{.State.Health.Status}}', container)) === 'healthy';
    await eventually(`${service} is healthy`, probe, 10 * minutes);
  }

  get password(): string {
    return this.#password;
  }

  async client(gateway: string, password = this.#password): Promise<Client> {
    const port = this.#ports.get(gateway)!;
    const client = new Client({ host: '127.0.0.1', port, user: 'postgres', database: 'app', password });
    client.on('error', () => undefined); // A broken connection fails the next query.
    await client.connect();
    return client;
  }

  /** In a session of its own; again while the others elect. */
  async query<R extends QueryResultRow>(gateway: string, text: string): Promise<R[]> {
    const attempt = async (): Promise<R[] | string> => {
      const client = await this.client(gateway);
      try {
        return (await client.query<R>(text)).rows;
      } catch (error) {
        if ((error as { code?: string }).code === '57P03') return (error as Error).message;
        throw error;
      } finally {
        await client.end();
      }
    };
    const rows = await settled(attempt, (value) => typeof value !== 'string', 3 * minutes);
    if (typeof rows === 'string') throw new Error(`${gateway}: ${rows}`);
    return rows;
  }

  members(gateway: string): Promise<number[]> {
    return this.query<{ m: number[] }>(gateway, 'SELECT gen_members_online AS m FROM mtm.status()').then(
      ([row]) => row!.m,
    );
  }

  /** What the status page of a gateway is made of: how it sees that node. */
  async shows(gateway: string, node: number, state: string): Promise<void> {
    const origin = `http://127.0.0.1:${this.#httpPorts.get(gateway)!}`;
    const probe = async (): Promise<boolean> => (await reportedState(origin, node)) === state;
    await eventually(`${gateway} shows that node ${node} is ${state}`, probe, 3 * minutes);
  }

  /** What a server holds, past its gateway. */
  held(server: string): Promise<string> {
    const text = `SELECT count(*), md5(string_agg(t::text, ',' ORDER BY id)) FROM t`;
    return this.composition.run('exec', '-T', server, 'psql', '-XAtU', 'postgres', '-d', 'app', '-c', text);
  }

  /** `down` as a user does it; what is left of it all. */
  async down(): Promise<string[]> {
    await this.composition.run('down', '-v', ...grace);
    return this.composition.left();
  }
}

async function site(name: string, gateways: readonly string[], profile?: string): Promise<Site> {
  const ports = new Map<string, number>();
  const httpPorts = new Map<string, number>();
  const variables: Record<string, string> = {};
  for (const gateway of gateways) {
    const port = await freePort();
    ports.set(gateway, port);
    variables[`${gateway.toUpperCase()}_PORT`] = String(port);
    const http = gateway.startsWith('pair')
      ? `${gateway.toUpperCase()}_HTTP_PORT`
      : `HTTP${gateway.at(-1)}_PORT`;
    httpPorts.set(gateway, await freePort());
    variables[http] = String(httpPorts.get(gateway));
  }
  const project = `mtm${name}${randomBytes(3).toString('hex')}`;
  return new Site(new Composition(project, { ...images, ...variables }, profile), ports, httpPorts);
}

describe.skipIf(!hasCompose)(`config/compose.yaml${needsCompose}`, () => {
  beforeAll(async () => {
    const postgres = await postgresImage();
    images['MTM_IMAGE'] = await gatewayImage();
    images['POSTGRES_IMAGE'] = postgres.name;
    images['POSTGRES_VERSION'] = postgres.version;
    images['REDIS_IMAGE'] = await redisImage();
  }, 20 * minutes);

  describe('three nodes', () => {
    let three: Site;
    beforeAll(async () => {
      three = await site('three', ['gateway1', 'gateway2', 'gateway3']);
      await three.up();
    }, 15 * minutes);
    afterAll(async () => {
      expect(await three.down()).toEqual([]);
    }, 15 * minutes);

    test('a row written at each gateway is on all of them', patience, async () => {
      await three.query('gateway1', 'CREATE TABLE t (id int PRIMARY KEY, at timestamptz DEFAULT now())');
      for (const [id, gateway] of three.gateways.entries()) {
        await three.query(gateway, `INSERT INTO t VALUES (${id})`);
      }
      for (const gateway of three.gateways) {
        expect(await three.query(gateway, 'SELECT id FROM t ORDER BY id')).toHaveLength(3);
      }
    });

    test('a password of its own, which is asked for; not root, nothing to write to', patience, async () => {
      expect(three.password).toMatch(/^[0-9a-f]{48}$/);
      expect(await failureOf(three.client('gateway1', 'postgres'))).toMatchObject({ code: '28P01' });
      const container = await three.composition.container('gateway1');
      const state =
        '{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.RestartCount}} {{.HostConfig.CapDrop}}';
      expect(await docker('inspect', '-f', state, container)).toBe('1000:1000 true 0 [ALL]');
      const said = `${await docker('logs', container)}${await docker('inspect', container)}`;
      expect(said).not.toContain(three.password);
    });

    test('a gateway that is killed: the others go on; back, it has everything', patience, async () => {
      const container = await three.composition.container('gateway2');
      await docker('kill', container);
      const rest = (): Promise<number[]> => three.members('gateway1');
      expect(await settled(rest, (members) => members.length === 2, 3 * minutes)).toEqual([1, 3]);
      await three.shows('gateway1', 2, 'away');
      await three.query('gateway1', 'INSERT INTO t SELECT generate_series(100, 199)');
      await three.query('gateway3', 'ALTER TABLE t ADD COLUMN name text');
      await docker('start', container);
      await three.healthy('gateway2');
      expect(await settled(rest, (members) => members.length === 3, 3 * minutes)).toEqual([1, 2, 3]);
      await three.shows('gateway3', 2, 'online');
      const held = await Promise.all(['postgres1', 'postgres2', 'postgres3'].map((one) => three.held(one)));
      expect(held[0]).toMatch(/^103\|/);
      expect(new Set(held).size).toBe(1);
    });

    test(
      'docker stop: an open transaction ends well, new ones go elsewhere, exit code 0',
      patience,
      async () => {
        const container = await three.composition.container('gateway3');
        const open = await three.client('gateway3');
        await open.query('BEGIN');
        await open.query('INSERT INTO t VALUES (1000)');
        const stopped = docker('stop', ...grace, container);
        await eventually(
          'nobody else is let in',
          async () => {
            const { code } = await failureOf(three.client('gateway3').then((other) => other.end())).catch(
              () => ({
                code: '',
              }),
            );
            return code === '57P03' || code === 'ECONNREFUSED';
          },
          3 * minutes,
        );
        await open.query('COMMIT');
        await within('docker stop', 5 * minutes, stopped);
        expect(await docker('inspect', '-f', '{{.State.ExitCode}}', container)).toBe('0');
        expect(await three.query('gateway1', 'SELECT FROM t WHERE id = 1000')).toHaveLength(1);
        await docker('start', container);
        await three.healthy('gateway3');
      },
    );

    test('everything stops in good order and comes back with its data', patience, async () => {
      await three.composition.run('stop', ...grace);
      for (const service of [...three.gateways, 'postgres1', 'postgres2', 'postgres3']) {
        const container = await three.composition.container(service);
        expect(await docker('inspect', '-f', `${service} {{.State.ExitCode}}`, container)).toBe(
          `${service} 0`,
        );
      }
      await three.up();
      expect(await three.query('gateway2', 'SELECT FROM t')).toHaveLength(104);
    });
  });

  describe('two nodes and a referee', () => {
    let pair: Site;
    beforeAll(async () => {
      pair = await site('pair', ['pair1', 'pair2'], 'referee');
      await pair.up();
    }, 15 * minutes);
    afterAll(async () => {
      expect(await pair.down()).toEqual([]);
    }, 15 * minutes);

    test('one of them goes on alone, and the other has everything when it is back', patience, async () => {
      await pair.query('pair1', 'CREATE TABLE t (id int PRIMARY KEY)');
      await pair.query('pair2', 'INSERT INTO t SELECT generate_series(1, 10)');
      const dead = await Promise.all(
        ['pair1', 'postgres-pair1'].map((one) => pair.composition.container(one)),
      );
      await docker('kill', ...dead);
      await pair.shows('pair2', 1, 'away');
      await pair.query('pair2', 'INSERT INTO t SELECT generate_series(11, 20)');
      await docker('start', ...dead);
      await pair.healthy('pair1');
      const members = (): Promise<number[]> => pair.members('pair1');
      expect(await settled(members, (list) => list.length === 2, 3 * minutes)).toEqual([1, 2]);
      const held = await Promise.all(['postgres-pair1', 'postgres-pair2'].map((one) => pair.held(one)));
      expect(held[0]).toMatch(/^20\|/);
      expect(held[1]).toBe(held[0]);
    });
  });
});
