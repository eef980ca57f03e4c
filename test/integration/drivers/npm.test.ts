/**
 * The drivers, query builders and ORMs of npm through the gateways of one cluster, over TLS and with SCRAM passwords:
 * the duties that all share, and what each has of its own.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe } from 'vitest';
import { embeddedDatabase } from '../../../src/io/launcher/node-layout.ts';
import { Authority } from '../../support/certificates.ts';
import { startCluster, type Cluster } from '../../support/cluster.ts';
import { equalRows, noPrepared } from '../../support/convergence.ts';
import { findProgram, needs } from '../../support/programs.ts';
import type { Access, Driver } from './npm/driver.ts';
import { drizzleDriver } from './npm/drizzle.ts';
import { duties, table, type Site } from './npm/duties.ts';
import { knexDriver } from './npm/knex.ts';
import { kyselyDriver } from './npm/kysely.ts';
import { kyselyMigrations } from './npm/kysely-migrations.ts';
import { pgDriver } from './npm/pg.ts';
import { pgStreams } from './npm/pg-streams.ts';
import { postgresDriver } from './npm/postgres.ts';
import { forgetPrisma, prismaDriver } from './npm/prisma.ts';
import { prismaModels } from './npm/prisma-models.ts';
import { sequelizeDriver } from './npm/sequelize.ts';
import { sequelizeModels } from './npm/sequelize-models.ts';
import { typeormDriver } from './npm/typeorm.ts';

const drivers: readonly Driver[] = [
  pgDriver,
  postgresDriver,
  knexDriver,
  kyselyDriver,
  drizzleDriver,
  typeormDriver,
  sequelizeDriver,
  prismaDriver,
];

describe.skipIf(findProgram('openssl') === undefined)(`through gateways${needs('openssl')}`, () => {
  let cluster: Cluster;
  let folder: string;
  let ca: string;

  const site: Site = {
    cluster: () => cluster,
    access: (node): Access => ({
      host: 'localhost',
      port: cluster.node(node).gatewayPort,
      user: 'app',
      password: 'it is ä secret',
      database: embeddedDatabase,
      ssl: { ca, rejectUnauthorized: true },
    }),
  };

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'mtm-npm-'));
    const authority = new Authority(folder);
    const { cert, key } = authority.issue('gateway', 'gateway', ['DNS:localhost']);
    ca = readFileSync(authority.cert, 'utf8');
    cluster = await startCluster({ majors: [15, 18], settings: { tls: { cert_file: cert, key_file: key } } });
    await cluster.query(1, `CREATE ROLE app LOGIN PASSWORD 'it is ä secret'`);
    await cluster.query(1, 'GRANT ALL ON SCHEMA public TO app');
    for (const { node, dataFolder } of cluster.nodes) {
      const file = join(dataFolder, 'pg_hba.conf');
      const rules = ['local', 'host'].map(
        (kind) => `${kind} all app ${kind === 'host' ? 'all' : ''} scram-sha-256`,
      );
      writeFileSync(file, `${rules.join('\n')}\n${readFileSync(file, 'utf8')}`);
      await cluster.directly(node, 'SELECT pg_reload_conf()');
    }
    await cluster.query(1, `SET ROLE app; ${table}; RESET ROLE`);
  });
  /** Behind the tests of one driver. */
  const level = async (): Promise<void> => {
    await noPrepared(cluster);
    await equalRows(cluster);
  };
  afterAll(async () => {
    await forgetPrisma();
    await cluster?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  describe.each(drivers)('$name', (driver) => {
    duties(driver, site);
    afterAll(level);
  });
  describe.each([
    ['pg: cursors, streams, LISTEN', pgStreams],
    ['kysely: migrations and queries', kyselyMigrations],
    ['sequelize: models', sequelizeModels],
    ['prisma: models', prismaModels],
  ])('%s', (_, own) => {
    own(site);
    afterAll(level);
  });
});
