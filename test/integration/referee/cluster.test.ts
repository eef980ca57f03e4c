/**
 * Two real nodes and a real Redis as their referee, under load: whatever fails, one of them goes on alone or
 * says why not, nobody loses what was acknowledged, and in the end nobody is preferred.
 */
import { dirname } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { clearedUpTo, type RefereeRecord } from '../../../src/core/generation/referee-record.ts';
import { stopGatewayProcess, writeGatewayConfig } from '../../../src/io/launcher/gateway-process.ts';
import { embeddedHost } from '../../../src/io/launcher/node-layout.ts';
import { stopServer } from '../../../src/io/launcher/postgres-server.ts';
import { Prng } from '../../../src/lib/prng.ts';
import type { SqlFailure } from '../../support/cluster.ts';
import { eventually } from '../../support/polling.ts';
import { createWorkload, judgeAtRest, testSeed, type Workload } from '../failover/fault-rounds.ts';
import { Load } from '../failover/load.ts';
import { killGateway, killServer } from '../failover/process-faults.ts';
import { ask, loopbackSite, wholeAgain, type Site } from '../failover/site.ts';
import { CutRelay } from './cut-relay.ts';
import { existingClusterFolder } from '../../../src/io/launcher/cluster-folder.ts';
import { needsRedis, redisProgram, RedisServer } from './redis-server.ts';

const onlineLimitMs = 60_000;

describe.skipIf(redisProgram === undefined)(`two nodes and a referee${needsRedis}`, () => {
  let redis: RedisServer;
  let site: Site;
  let workload: Workload;
  const relays: CutRelay[] = [];
  let load: Load | undefined;

  beforeAll(async () => {
    redis = await RedisServer.start();
    const settings = { referee_connstring: `redis://127.0.0.1:${redis.port}` };
    site = await loopbackSite({ majors: [18, 18], settings });
    workload = await createWorkload(site, new Prng(testSeed()));
    // From now on each gateway reaches the other through a link that can be cut.
    for (const node of site.nodes) {
      const other = site.node(3 - node.node);
      const relay = await CutRelay.open(other.peerPort);
      relays.push(relay);
      const peers = [{ id: other.node, host: embeddedHost, port: relay.port }];
      const cluster = existingClusterFolder(dirname(node.folder));
      writeGatewayConfig(node, cluster, { log_level: 'info', ...settings, peers });
      await stopGatewayProcess(node);
    }
    for (const number of site.numbers) await site.startGateway(number);
    await wholeAgain(site, onlineLimitMs);
  });

  afterAll(async () => {
    await site?.stop();
    for (const relay of relays) relay.close();
    await redis?.remove();
  });

  afterEach(async () => {
    await load?.stop();
    load = undefined;
  });

  // ---- what a test does and asks

  async function underLoad(): Promise<Load> {
    const { bank, lists, random } = workload;
    load = new Load(site, random);
    for (const number of site.numbers) {
      load.add(number, bank.transfers(number), true);
      load.add(number, bank.totals(number), false);
      load.add(number, lists.client(number), false);
    }
    for (const number of site.numbers) await writes(number);
    return load;
  }

  /** The node acknowledges more transactions. */
  async function writes(number: number, limitMs = 20_000): Promise<void> {
    const before = load!.writtenBy(number);
    await eventually(`node ${number} writes`, () => load!.writtenBy(number) > before + 3, limitMs);
  }

  /** It says why it does not serve, and does not. */
  async function refuses(number: number, reason: string): Promise<void> {
    let said = '';
    const saysIt = async (): Promise<boolean> => {
      const text = 'SELECT status, reason FROM mtm.status()';
      const rows = await ask<{ reason: string }>(site, number, 'postgres', text).catch(() => []);
      said = rows[0]?.reason ?? said;
      return said.includes(reason);
    };
    await eventually(`node ${number} says "${reason}"`, saysIt).catch((error: Error) => {
      throw new Error(`${error.message}; it says: ${said}`);
    });
    // What lease it has runs out by itself.
    const read = (): Promise<unknown> => ask(site, number, 'gateway', 'SELECT count(*) FROM account');
    const fails = async (): Promise<boolean> =>
      read().then(
        () => false,
        (error: SqlFailure) => error.code === '57P03',
      );
    await eventually(`node ${number} refuses reads`, fails);
  }

  async function stop(number: number): Promise<void> {
    await stopGatewayProcess(site.node(number));
    await stopServer(site.node(number));
  }

  async function kill(number: number): Promise<void> {
    await killGateway(site.node(number));
    await killServer(site.node(number));
  }

  async function start(number: number): Promise<void> {
    await site.startServer(number);
    await site.startGateway(number);
  }

  /** Both online and writing, then at rest: nothing is lost, and nobody has a grant. */
  async function allIsWell(): Promise<void> {
    await wholeAgain(site, onlineLimitMs);
    for (const number of site.numbers) await writes(number);
    await load?.stop();
    await judgeAtRest(site, workload);
    await eventually('no grant is left', async () => {
      const { generation, ...rest } = await record();
      return generation <= clearedUpTo({ generation, ...rest });
    });
  }

  async function record(): Promise<RefereeRecord> {
    const client = new Redis(redis.port, '127.0.0.1');
    try {
      const keys = await client.keys('*');
      expect(keys).toHaveLength(1);
      const fields = await client.hgetall(keys[0]!);
      return {
        winner: Number(fields['winner']),
        generation: Number(fields['generation']),
        onlineLow: Number(fields['online_low']),
        onlineHigh: Number(fields['online_high']),
        revision: Number(fields['revision']),
      };
    } finally {
      client.disconnect();
    }
  }

  // ---- the cases of the reference

  describe.each([
    [1, 2],
    [2, 1],
  ])('node %i goes on without node %i', (winner, loser) => {
    test('the neighbour restarts', async () => {
      await underLoad();
      await stop(loser);
      await writes(winner);
      expect(await record()).toMatchObject({ winner });
      await start(loser);
      await allIsWell();
    });

    test('the neighbour crashes', async () => {
      await underLoad();
      await kill(loser);
      await writes(winner, 10_000);
      await start(loser);
      await allIsWell();
    });

    test('double failure, and the decision is kept: the other is refused until the winner is back', async () => {
      await underLoad();
      await kill(loser);
      await writes(winner);
      await kill(winner);
      await start(loser);
      await refuses(loser, `the referee chose node ${winner}`);
      await start(winner);
      await allIsWell();
    });

    test('the winner is restarted, and crashes, while it is alone', async () => {
      await underLoad();
      await stop(loser);
      await writes(winner);
      await stop(winner);
      await start(winner);
      await writes(winner, 30_000);
      await kill(winner);
      await start(winner);
      await writes(winner, 30_000);
      expect(await record()).toMatchObject({ winner });
      await start(loser);
      await allIsWell();
    });

    test('both are stopped in turn', async () => {
      await underLoad();
      await stop(loser);
      await writes(winner);
      await stop(winner);
      await start(loser);
      await refuses(loser, `the referee chose node ${winner} in generation`);
      await start(winner);
      await allIsWell();
    });
  });

  test('the nodes are cut off from each other: one goes on, the other refuses', async () => {
    const running = await underLoad();
    for (const relay of relays) relay.cut();
    await eventually('somebody is chosen', async () => {
      const at = await record();
      return at.generation > clearedUpTo(at);
    });
    const { winner } = await record();
    const loser = 3 - winner;
    await writes(winner);
    await refuses(loser, `the referee chose node ${winner}`);
    const served = running.acknowledgedBy(loser);
    await writes(winner);
    expect(running.acknowledgedBy(loser)).toBe(served);
    for (const relay of relays) relay.mend();
    await allIsWell();
  });

  test('both crash at once: either may go on alone', async () => {
    await underLoad();
    await Promise.all(site.numbers.map(kill));
    await start(2);
    await writes(2, 30_000);
    await start(1);
    await allIsWell();
  });

  test('without the referee nobody goes on alone, and says so; with it everything is well again', async () => {
    await underLoad();
    await redis.kill();
    await writes(1);
    await kill(2);
    await refuses(1, 'no contact with the referee');
    await redis.run();
    await writes(1, 30_000);
    await start(2);
    await allIsWell();
  });
});
