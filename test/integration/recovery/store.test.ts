/** What a node keeps of elections and outcomes, on the oldest and the newest server. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NodeStore } from '../../../src/io/store/node-store.ts';
import { noteOutcomes } from '../../../src/io/store/outcome-table.ts';
import { RetainedSlot } from '../../../src/io/store/retained-slot.ts';
import {
  judgePosition,
  loadPeerPositions,
  notePeerPosition,
  readPosition,
} from '../../../src/io/store/server-position.ts';
import { RecoveryLab } from './lab.ts';
import { proof } from './site.ts';
import { slotNames } from '../../../src/io/postgres/slot-names.ts';

let lab: RecoveryLab;
beforeAll(async () => {
  lab = await RecoveryLab.start([15, 18]);
});
afterAll(async () => lab?.stop());

const record = {
  number: 2,
  proposer: 1,
  members: [1, 2],
  configured: [1, 2],
  joining: [],
  added: [],
  donors: [1],
  commits: ['mtm:1:1:1:7'],
};

describe.each([0, 1])('site %i', (index) => {
  test('the state is read as it was written, and never goes back', async () => {
    const { login, store } = lab.sites[index]!;
    await Promise.all([
      store.persist({ promised: { generation: 2, proposer: 1 } }),
      store.persist({ accepted: record }),
      store.persist({ chosen: record, promised: { generation: 3, proposer: 2 } }),
      store.persist({ lastOnline: 2 }),
    ]);
    const written = {
      promised: { generation: 3, proposer: 2 },
      accepted: record,
      chosen: record,
      lastOnline: 2,
    };
    expect(store.state).toEqual(written);
    let lost = '';
    const other = await NodeStore.open(login, (reason) => (lost = reason));
    expect(other.state).toEqual(written);
    await expect(other.persist({ promised: { generation: 3, proposer: 1 } })).rejects.toThrow(
      'would go back',
    );
    expect(lost).toContain('would go back');
    await expect(other.persist({ lastOnline: 3 })).rejects.toThrow('would go back');
    await other.close();
  });

  test('what is written is durable before it is said', async () => {
    const { login } = lab.sites[index]!;
    const store = await NodeStore.open(login, () => undefined);
    await store.persist({ promised: { generation: 4, proposer: 1 } });
    await lab.kill(index);
    const site = await lab.restart(index);
    expect(site.store.state.promised).toEqual({ generation: 4, proposer: 1 });
    await store.close().catch(() => undefined); // its server was killed
  });

  test('outcomes: committed, aborted, in doubt, unknown', async () => {
    const site = lab.sites[index]!;
    const { admin } = site;
    const outcome = async (gid: string): Promise<unknown> =>
      (await site.rows(`SELECT mtm.transaction_outcome('${gid}')`))[0]?.[0];
    const forgotten = async (gid: string): Promise<unknown> =>
      (await site.rows(`SELECT mtm.is_forgotten('${gid}')`))[0]?.[0];
    expect(await outcome('mtm:1:1:1:7')).toBe('committed'); // the chosen record says so
    expect(await outcome('mtm:1:1:1:8')).toBe('unknown');
    await admin.query('CREATE TABLE IF NOT EXISTS o (id int PRIMARY KEY)');
    await site.prepare('INSERT INTO o VALUES (1)', admin, 'mtm:1:1:1:9');
    await noteOutcomes(admin, {
      committed: ['mtm:1:1:1:3', 'mtm:1:1:1:1', 'mtm:1:1:1:2', 'mtm:2:1:5:40', 'nobody'],
      completeBelow: 0,
    });
    await noteOutcomes(admin, { committed: ['mtm:1:1:1:5'], aborted: ['mtm:1:1:1:4'], completeBelow: 0 });
    for (const counter of [1, 2, 3, 5]) expect(await outcome(`mtm:1:1:1:${counter}`)).toBe('committed');
    expect(await outcome('mtm:2:1:5:40')).toBe('committed');
    expect(await outcome('mtm:2:1:6:40')).toBe('unknown');
    expect(await outcome('mtm:1:1:1:4')).toBe('aborted');
    expect(await outcome('mtm:1:1:1:6')).toBe('unknown');
    expect(await outcome('mtm:1:1:1:9')).toBe('in doubt');
    expect(await outcome('nothing of ours')).toBe('unknown');
    expect(await forgotten('nothing of ours')).toBe(false);
    await noteOutcomes(admin, { committed: [], completeBelow: 2 });
    expect(await outcome('mtm:1:1:1:6')).toBe('aborted');
    expect(await outcome('mtm:1:1:1:9')).toBe('in doubt');
    expect(await outcome('mtm:1:2:1:1')).toBe('unknown');
    await admin.query(`ROLLBACK PREPARED 'mtm:1:1:1:9'`);
    const position = await site.retained.walEnd();
    await site.retained.moveTo(position, { generation: 2, counters: new Map([[1, 50]]) });
    // The gateway forgets, the table does not.
    expect([await outcome('mtm:1:1:1:3'), await forgotten('mtm:1:1:1:3')]).toEqual(['committed', true]);
    expect([await outcome('mtm:1:1:1:6'), await forgotten('mtm:1:1:1:6')]).toEqual(['aborted', true]);
    expect([await outcome('mtm:1:2:1:49'), await forgotten('mtm:1:2:1:49')]).toEqual(['unknown', true]);
    expect([await outcome('mtm:1:2:1:50'), await forgotten('mtm:1:2:1:50')]).toEqual(['unknown', false]);
    expect([await outcome('mtm:2:2:1:50'), await forgotten('mtm:2:2:1:50')]).toEqual(['unknown', false]);
    await site.retained.giveUp(position, { generation: 2, counters: new Map([[1, 50]]) }, 3);
    await noteOutcomes(admin, { committed: [], completeBelow: 5 });
    expect(await outcome('mtm:1:3:1:1')).toBe('unknown');
    expect(await outcome('mtm:1:4:1:1')).toBe('aborted');
    const loaded = await RetainedSlot.load(() => admin, slotNames({}).retained);
    expect(loaded.syncpoint).toEqual({
      position,
      floor: { generation: 2, counters: new Map([[1, 50]]) },
    });
    expect(loaded.lost).toEqual({ generation: 3, position });
  });

  test('a user may ask, and may not tell', async () => {
    const { admin } = lab.sites[index]!;
    await admin.query('CREATE ROLE asker');
    await admin.query('SET ROLE asker');
    const { rows } = await admin.query(`SELECT mtm.transaction_outcome('mtm:9:9:9:9') AS outcome`);
    expect(rows).toEqual([{ outcome: 'unknown' }]);
    await expect(admin.query(`SELECT mtm.persist('{}')`)).rejects.toThrow('permission denied');
    await expect(admin.query(`SELECT mtm.note_outcomes('[]', 9)`)).rejects.toThrow('permission denied');
    await expect(admin.query(`SELECT mtm.set_syncpoint(9, '{}', '0/0')`)).rejects.toThrow(
      'permission denied',
    );
    await admin.query('RESET ROLE');
  });

  test('unlogged outcomes that a crash took are unknown, not aborted', async () => {
    const outcome = `SELECT mtm.transaction_outcome('mtm:1:4:1:1')`;
    expect(await lab.sites[index]!.rows(outcome)).toEqual([['aborted']]);
    await lab.kill(index);
    const site = await lab.restart(index);
    expect(await site.rows(outcome)).toEqual([['unknown']]);
    // Filled again, it does not vouch for what was below the floor then.
    await noteOutcomes(site.admin, { committed: [], completeBelow: 5 });
    expect(await site.rows(outcome)).toEqual([['aborted']]);
    expect(await site.rows(`SELECT mtm.transaction_outcome('mtm:1:1:1:3')`)).toEqual([['unknown']]);
  });

  test('a restart remembers what committed since the syncpoint, and only that', async () => {
    const site = lab.sites[index]!;
    await site.admin.query('TRUNCATE o');
    const before = await site.commit('INSERT INTO o VALUES (1)', site.admin, 'mtm:1:6:1:1');
    const position = await site.retained.walEnd();
    await site.retained.moveTo(position, { generation: 6, counters: new Map([[1, 2]]) });
    await site.commit('INSERT INTO o VALUES (2)', site.admin, 'mtm:1:6:1:2');
    await site.prepare('INSERT INTO o VALUES (3)', site.admin, 'mtm:1:6:1:3');
    await site.admin.query(`ROLLBACK PREPARED 'mtm:1:6:1:3'`);
    await site.prepare('INSERT INTO o VALUES (4)', site.admin, 'mtm:1:6:1:4');
    await site.commit('SELECT * FROM o FOR UPDATE', site.admin, 'mtm:1:6:1:5');
    await site.commit('CREATE TABLE made (id int)', site.admin, 'mtm:1:6:1:6');
    // Its header says what only a gateway can say; a forged one is no header.
    const rows = `INSERT INTO o VALUES (7); SELECT pg_logical_emit_message(true, 'mtm', '{"gid":"mtm:1:6:1:7"`;
    await site.admin.query(`BEGIN; ${rows},"hmac":"${proof('mtm:1:6:1:7')}"}'); COMMIT`);
    await site.admin.query(`BEGIN; ${rows.replace('(7)', '(8)')},"hmac":"forged"}'); COMMIT`);
    expect(await site.outcomes()).toEqual(['mtm:1:6:1:2', 'mtm:1:6:1:5 empty', 'mtm:1:6:1:6', 'mtm:1:6:1:7']);
    expect(before).toBe('mtm:1:6:1:1');
    await site.admin.query(`ROLLBACK PREPARED 'mtm:1:6:1:4'`);
  });

  test('a server knows where it is, and what its peers were', async () => {
    const { admin } = lab.sites[index]!;
    const now = await readPosition(admin);
    expect(now.timeline).toBe(1);
    const { branches, ...rest } = now;
    const position = { ...rest, since: 5 };
    expect(branches).toEqual([]);
    await notePeerPosition(admin, 7, position);
    const known = (await loadPeerPositions(admin)).get(7);
    expect(known).toEqual(position);
    expect(judgePosition(known, now)).toBe('as-known');
    expect(judgePosition({ ...position, flushed: now.flushed + 1n }, now)).toBe('went-back');
  });
});
