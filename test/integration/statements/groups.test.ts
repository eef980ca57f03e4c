/**
 * Extended groups in which the transaction changes midway – BEGIN, savepoints, a failed one that lives again – before something
 * that the gateway has to see: each ends the same on both nodes. Raw messages, because drivers differ in what they send together.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { startCluster, type Cluster } from '../../support/cluster.ts';
import { equalEverywhere, noPrepared } from '../../support/convergence.ts';
import { b, c, d, e, p, q, s, x } from '../../support/frontend-messages.ts';
import { RawFrontend, brief } from '../../support/raw-frontend.ts';
import type { PostgresMajor } from '../../../src/io/launcher/server-binaries.ts';

const majors: readonly PostgresMajor[] = [15, 18];

describe.each(majors)('groups on PostgreSQL %i', (major) => {
  let cluster: Cluster;
  let client: RawFrontend;

  beforeAll(async () => {
    cluster = await startCluster({ majors: [major, major] });
    await cluster.query(1, 'CREATE TABLE kept (id int PRIMARY KEY)');
    client = await RawFrontend.open(cluster.node(1).gatewayPort);
  });

  afterEach(async () => {
    await client.query('ROLLBACK');
    await noPrepared(cluster);
    await equalEverywhere(cluster);
  });

  afterAll(async () => {
    client?.close();
    await cluster?.stop();
  });

  /** What the client hears of a packet, up to ReadyForQuery, without what is the same for each statement. */
  async function answers(...messages: Uint8Array[]): Promise<string[]> {
    client.send(...messages);
    const heard = (await client.ready()).map(brief);
    return heard.filter(
      (each) => !['parseComplete', 'bindComplete', 'noData', 'copyInResponse'].includes(each),
    );
  }

  async function told(text: string): Promise<string> {
    return (await client.query(text)).map(brief).join(', ');
  }

  const roles = (name: string) =>
    cluster.onAllServers('SELECT rolname FROM pg_roles WHERE rolname = $1', [name]);
  const rows = (id: number) => cluster.onAllServers('SELECT id FROM kept WHERE id = $1', [id]);
  const everywhere = (rolname: string) => [[{ rolname }], [{ rolname }]];
  const nowhere = [[], []];

  async function failedTransaction(): Promise<void> {
    await told('BEGIN');
    await told('SAVEPOINT sp');
    expect(await told('SELECT 1 / 0')).toBe('error 22012, readyForQuery E');
  }

  describe('a command that no event trigger sees', () => {
    test('behind BEGIN', async () => {
      expect(await answers(x('BEGIN'), x('CREATE ROLE behind_begin'), s())).toContain('readyForQuery T');
      await answers(x('INSERT INTO kept VALUES (1)'), s());
      expect(await told('COMMIT')).toBe('commandComplete COMMIT, readyForQuery I');
      expect(await roles('behind_begin')).toEqual(everywhere('behind_begin'));
    });

    test('between BEGIN and COMMIT', async () => {
      const heard = await answers(x('BEGIN'), x('CREATE ROLE between'), x('COMMIT'), s());
      expect(heard.at(-2)).toBe('commandComplete COMMIT');
      expect(await roles('between')).toEqual(everywhere('between'));
    });

    test('behind a savepoint that is rolled back', async () => {
      await told('BEGIN');
      await answers(x('SAVEPOINT sp'), x('CREATE ROLE undone'), s());
      await told('ROLLBACK TO sp');
      await told('INSERT INTO kept VALUES (2)');
      expect(await told('COMMIT')).toBe('commandComplete COMMIT, readyForQuery I');
      expect(await roles('undone')).toEqual(nowhere);
    });

    test('behind ROLLBACK TO, in a transaction that lives and in one that has failed', async () => {
      await told('BEGIN');
      await told('SAVEPOINT sp');
      await answers(x('ROLLBACK TO sp'), x('CREATE ROLE lives'), s());
      expect(await told('COMMIT')).toBe('commandComplete COMMIT, readyForQuery I');
      expect(await roles('lives')).toEqual(everywhere('lives'));
      await failedTransaction();
      await answers(x('ROLLBACK TO sp'), x('CREATE ROLE lives_again'), s());
      expect(await told('COMMIT')).toBe('commandComplete COMMIT, readyForQuery I');
      expect(await roles('lives_again')).toEqual(everywhere('lives_again'));
    });
  });

  test('a table without replica identity is changed behind BEGIN', async () => {
    await told('CREATE TABLE anonymous (a int); ALTER TABLE anonymous REPLICA IDENTITY NOTHING');
    await told('INSERT INTO anonymous VALUES (1)');
    const heard = await answers(x('BEGIN'), x('UPDATE anonymous SET a = 2'), s());
    expect(heard).toEqual(['commandComplete BEGIN', 'commandComplete UPDATE 1', 'readyForQuery T']);
    expect(await told('COMMIT')).toBe('commandComplete COMMIT, readyForQuery I');
    expect(await cluster.onAllServers('SELECT a FROM anonymous')).toEqual([[{ a: 2 }], [{ a: 2 }]]);
    await told('DROP TABLE anonymous');
  });

  describe('behind ROLLBACK TO in a failed transaction', () => {
    test('PREPARE TRANSACTION prepares on all nodes', async () => {
      await failedTransaction();
      const prepare = x(`PREPARE TRANSACTION 'again'`);
      const heard = await answers(x('ROLLBACK TO sp'), x('INSERT INTO kept VALUES (10)'), prepare, s());
      expect(heard.at(-2)).toBe('commandComplete PREPARE TRANSACTION');
      expect(await told(`COMMIT PREPARED 'again'`)).toBe('commandComplete COMMIT PREPARED, readyForQuery I');
      expect(await rows(10)).toEqual([[{ id: 10 }], [{ id: 10 }]]);
    });

    test('COPY reads its data', async () => {
      await failedTransaction();
      client.send(x('ROLLBACK TO sp'), x('COPY kept FROM STDIN'), s());
      await client.until('copyInResponse');
      expect(await answers(d('11\n'), c(), s())).toEqual(['commandComplete COPY 1', 'readyForQuery T']);
      expect(await told('COMMIT')).toBe('commandComplete COMMIT, readyForQuery I');
      expect(await rows(11)).toEqual([[{ id: 11 }], [{ id: 11 }]]);
    });
  });

  test('two COPYs in one group', async () => {
    const copy = (id: number) => [x('COPY kept FROM STDIN'), d(`${id}\n`), c()];
    expect(await answers(...copy(20), ...copy(21), s())).toEqual([
      'commandComplete COPY 1',
      'commandComplete COPY 1',
      'readyForQuery I',
    ]);
    expect(await rows(21)).toEqual([[{ id: 21 }], [{ id: 21 }]]);
  });

  test('a COPY by EXECUTE is refused where its Sync is on its way, and hangs nobody', async () => {
    await answers(p('COPY kept FROM STDIN', 'copy'), s());
    expect(await answers(x('EXECUTE copy'), s())).toEqual(['error 57014', 'readyForQuery I']);
    await told('BEGIN');
    expect(await answers(x('EXECUTE copy'), s())).toEqual(['error 57014', 'readyForQuery E']);
    await told('ROLLBACK');
    client.send(q('EXECUTE copy'));
    await client.until('copyInResponse');
    expect(await answers(d('22\n'), c())).toEqual(['commandComplete COPY 1', 'readyForQuery I']);
    expect(await rows(22)).toEqual([[{ id: 22 }], [{ id: 22 }]]);
  });

  describe('COMMIT under a name never commits on one node alone', () => {
    const name = 'n'.repeat(63);

    test('by EXECUTE it rolls back', async () => {
      await answers(p('COMMIT', 'c'), s());
      await told('BEGIN');
      await told('INSERT INTO kept VALUES (30)');
      expect(await told('EXECUTE c')).toBe('commandComplete ROLLBACK, readyForQuery I');
      expect(await rows(30)).toEqual(nowhere);
    });

    test('by a name that is longer than a name', async () => {
      await answers(p('COMMIT', `${name}a`), s());
      await told('BEGIN');
      await told('INSERT INTO kept VALUES (31)');
      expect(await answers(b([], `${name}b`), e(), s())).toEqual([
        'commandComplete COMMIT',
        'readyForQuery I',
      ]);
      expect(await rows(31)).toEqual([[{ id: 31 }], [{ id: 31 }]]);
    });

    test('by a portal that outlives DEALLOCATE ALL, by a statement whose namesake was deallocated', async () => {
      await answers(p('COMMIT', 'd'), p('SELECT 1', 'd"e'), s());
      await told('BEGIN');
      await told('INSERT INTO kept VALUES (32)');
      await told('DEALLOCATE "d""e"');
      await answers(b([], 'd', 'portal'), s());
      await told('DEALLOCATE ALL');
      expect(await answers(e(0, 'portal'), s())).toEqual(['commandComplete COMMIT', 'readyForQuery I']);
      expect(await rows(32)).toEqual([[{ id: 32 }], [{ id: 32 }]]);
    });

    test('without a transaction it is the warning of PostgreSQL', async () => {
      expect(await answers(x('COMMIT'), s())).toEqual([
        'notice 25P01',
        'commandComplete COMMIT',
        'readyForQuery I',
      ]);
    });
  });
});
