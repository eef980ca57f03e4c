/** The console's protocol without a socket: what it says to each message, as a client library reads it. */
import { PassThrough } from 'node:stream';
import { parse } from 'pg-protocol';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  ConsoleMachine,
  type ConsoleAction,
  type ConsoleRights,
} from '../../../../src/core/console/console-machine.ts';
import type { ConsoleFacts } from '../../../../src/core/console/facts.ts';
import { shows } from '../../../../src/core/console/command.ts';
import { columnsOf } from '../../../../src/core/console/show.ts';
import { SessionStatistics } from '../../../../src/core/session/session-statistics.ts';
import { b, cs, dp, ds, e, h, message, p, q, s, x } from '../../../support/frontend-messages.ts';
import { brief, type Heard } from '../../../support/raw-frontend.ts';

const counts = { ...new SessionStatistics(), queries: 5, waitedMs: 2 };
const facts: ConsoleFacts = {
  version: 'mtm-gateway 1',
  clients: () => [1, 2, 3].map((id) => ({ ...counts, ...client, id })),
  databases: () => [
    { ...database, totals: counts },
    { ...database, name: 'late', totals: undefined },
  ],
  nodes: () => [],
  settings: () => [{ name: 'log_level', value: 'info', usual: 'info', live: true }],
  memory: () => [['rss', 2 ** 40]],
  state: () => [['active', 'yes']],
};
const client = {
  user: 'ü',
  database: 'app',
  application: '',
  state: 'idle',
  address: '::1',
  port: 5,
  encrypted: true,
  connectedAt: 0,
  serverPid: 0,
  supervised: true,
} as const;
const database = {
  name: 'app',
  host: 'h',
  port: 5432,
  status: 'online',
  reason: '',
  generation: 7,
  members: [1, 2],
  clients: 3,
  maxConnections: 250,
  paused: false,
  clientMemoryBytes: 0,
};

class Bench {
  readonly sent: Uint8Array[] = [];
  readonly actions: ConsoleAction[] = [];
  cancelled = 0;
  closed = false;
  full = false;
  readonly machine = new ConsoleMachine({
    facts,
    toClient: (bytes) => void this.sent.push(bytes.slice()),
    close: () => (this.closed = true),
    full: () => this.full,
    act: (action) => void this.actions.push(action),
    cancelAct: () => void this.cancelled++,
  });

  constructor(rights: ConsoleRights = 'all') {
    this.machine.begin(rights);
    this.sent.length = 0;
  }

  say(...messages: Uint8Array[]): void {
    for (const bytes of messages) {
      for (let at = 0; at < bytes.length;) {
        const end = at + 1 + new DataView(bytes.buffer, bytes.byteOffset).getInt32(at + 1);
        this.machine.message(bytes[at]!, bytes, at, end);
        at = end;
      }
    }
  }

  async heard(...messages: Uint8Array[]): Promise<Heard[]> {
    this.say(...messages);
    return this.all();
  }

  async all(): Promise<Heard[]> {
    const stream = new PassThrough();
    const heard: Heard[] = [];
    const done = parse(stream, (each) => heard.push(each as unknown as Heard));
    stream.end(Buffer.concat(this.sent.splice(0)));
    await done;
    return heard;
  }

  async briefly(...messages: Uint8Array[]): Promise<string[]> {
    return (await this.heard(...messages)).map(brief);
  }
}

describe('answers', () => {
  test.each(shows)('SHOW %s is the same in both protocols and formats', async (what) => {
    const bench = new Bench();
    const simple = await bench.heard(q(`SHOW ${what}`));
    const extended = await bench.heard(x(`SHOW ${what}`), s());
    const rows = (heard: Heard[]): unknown[] =>
      heard.filter(({ name }) => name === 'dataRow').map(({ fields }) => fields);
    expect(rows(extended)).toEqual(rows(simple));
    expect(simple[0]).toMatchObject({ name: 'rowDescription', fieldCount: columnsOf(what).length });
    expect(simple.at(-2)).toMatchObject({ name: 'commandComplete', text: 'SHOW' });
    const wide = columnsOf(what).length;
    for (const row of rows(simple)) expect(row).toHaveLength(wide);
  });

  test('binary is what PostgreSQL would send', async () => {
    const bench = new Bench();
    bench.say(p('SHOW MEM'), message('B', Buffer.from('\0\0\0\0\0\0\0\x01\0\x01', 'latin1')), dp(), e(), s());
    const raw = Buffer.concat(bench.sent).toString('latin1');
    expect(raw).toContain('\0\0\0\x03rss\0\0\0\x08\0\0\x01\0\0\0\0\0');
    const type = raw.slice(raw.indexOf('bytes\0') + 12);
    expect(type.startsWith('\0\0\0\x14\0\x08\xff\xff\xff\xff\0\x01')).toBe(true);
  });

  test('an action is answered when it is done, and later messages wait for it', async () => {
    const bench = new Bench();
    expect(await bench.briefly(q('PAUSE app'), q('SHOW VERSION'))).toEqual([]);
    expect(bench.actions).toEqual([{ kind: 'pause', database: 'app' }]);
    bench.machine.cancel();
    expect(bench.cancelled).toBe(1);
    bench.machine.acted({
      notices: [{ severity: 'NOTICE', sqlstate: '00000', message: 'so' }],
      error: undefined,
    });
    expect((await bench.all()).map(brief)).toEqual([
      'notice 00000',
      'commandComplete PAUSE',
      'readyForQuery I',
      'rowDescription',
      'dataRow mtm-gateway 1',
      'commandComplete SHOW',
      'readyForQuery I',
    ]);
  });

  test('the error of an action skips the rest of its group', async () => {
    const bench = new Bench();
    bench.say(x('RELOAD'), x('SHOW VERSION'), s(), x('SHOW VERSION'), s());
    const error = { severity: 'ERROR', sqlstate: '55P02', message: 'no' } as const;
    bench.machine.acted({ notices: [], error });
    const heard = (await bench.all()).map(brief);
    expect(heard.slice(0, 5)).toEqual([
      'parseComplete',
      'bindComplete',
      'noData',
      'error 55P02',
      'readyForQuery I',
    ]);
    expect(heard.at(-1)).toBe('readyForQuery I');
    expect(heard.filter((each) => each.startsWith('commandComplete'))).toEqual(['commandComplete SHOW']);
  });

  test('a portal gives its rows in pieces', async () => {
    const bench = new Bench();
    const heard = await bench.briefly(p('SHOW CLIENTS'), b(), e(2), e(2), e(2), s());
    const kinds = heard.map((each) => each.split(' ')[0]);
    expect(kinds).toEqual([
      ...['parseComplete', 'bindComplete', 'dataRow', 'dataRow', 'portalSuspended', 'dataRow'],
      ...['commandComplete', 'commandComplete', 'readyForQuery'],
    ]);
  });

  test('whoever may look changes nothing', async () => {
    const bench = new Bench('look');
    for (const text of ['PAUSE', 'RESUME', 'RELOAD', 'SHUTDOWN', 'KILL_CLIENT 1']) {
      expect(await bench.briefly(q(text))).toEqual(['error 42501', 'readyForQuery I']);
      expect((await bench.briefly(x(text), s())).slice(-2)).toEqual(['error 42501', 'readyForQuery I']);
    }
    expect(bench.actions).toEqual([]);
    expect(await bench.briefly(q('SHOW VERSION'))).toContain('commandComplete SHOW');
  });

  test('transactions of drivers mean nothing and fail as usual', async () => {
    const bench = new Bench();
    expect(await bench.briefly(q('BEGIN'))).toEqual(['commandComplete BEGIN', 'readyForQuery T']);
    expect(await bench.briefly(q('nonsense'))).toEqual(['error 42601', 'readyForQuery E']);
    expect(await bench.briefly(q('SHUTDOWN'))).toEqual(['error 25P02', 'readyForQuery E']);
    expect(await bench.briefly(q('COMMIT'))).toEqual(['commandComplete ROLLBACK', 'readyForQuery I']);
    expect(await bench.briefly(q(''))).toEqual(['emptyQuery', 'readyForQuery I']);
    expect(bench.actions).toEqual([]);
  });
});

describe('what is wrong with a message', () => {
  const body = (text: string): Uint8Array => Buffer.from(text, 'latin1');
  test.each([
    ['a parameter too many', [p('SHOW MEM'), b(['1'])], '08P01'],
    [
      'three formats for two columns',
      [p('SHOW MEM'), message('B', body('\0\0\0\0\0\0\0\x03\0\0\0\0\0\0'))],
      '08P01',
    ],
    ['a format that is none', [p('SHOW MEM'), message('B', body('\0\0\0\0\0\0\0\x01\0\x02'))], '22023'],
    ['Bind cut off', [p('SHOW MEM'), message('B', body('\0\0\0\x05'))], '08P01'],
    [
      'Bind with a negative length',
      [p('SHOW MEM'), message('B', body('\0\0\0\0\0\x01\xff\xff\xff\xf0\0\0'))],
      '08P01',
    ],
    ['Bind of nothing', [b([], 'gone')], '26000'],
    ['Execute of nothing', [e(0, 'gone')], '34000'],
    ['Execute cut off', [message('E', body('\0\0'))], '08P01'],
    ['Describe of nothing', [ds('gone')], '26000'],
    ['Describe of what', [message('D', body('Xa\0'))], '08P01'],
    ['Parse without an end', [message('P', body('a'))], '08P01'],
    ['Parse twice', [p('SHOW MEM', 'a'), p('SHOW MEM', 'a')], '42P05'],
    ['a long name', [message('P', body(`${'a'.repeat(64)}\0SHOW MEM\0\0\0`))], '42622'],
    ['Close of what', [message('C', body('Xa\0'))], '08P01'],
    ['Close that does not end', [message('C', body('Sa'))], '08P01'],
  ])('%s', async (_what, messages, sqlstate) => {
    const bench = new Bench();
    const heard = await bench.briefly(...messages, e(), s(), q('SHOW VERSION'));
    expect(heard.filter((each) => each.startsWith('error'))).toEqual([`error ${sqlstate}`]);
    expect(heard.at(-1)).toBe('readyForQuery I');
    expect(heard).toContain('commandComplete SHOW');
    expect(bench.closed).toBe(false);
  });

  test('bytes behind a text; a function; copy data; what is no message', async () => {
    const bench = new Bench();
    expect(await bench.briefly(message('Q', 'SHOW\0x\0'))).toEqual(['error 08P01', 'readyForQuery I']);
    expect(await bench.briefly(message('F', 'abcd'))).toEqual(['error 0A000', 'readyForQuery I']);
    expect(await bench.briefly(message('d', 'abcd'), message('c'), h())).toEqual([]);
    expect(await bench.briefly(message('z'))).toEqual(['error 08P01']);
    expect(bench.closed).toBe(true);
    expect(await bench.briefly(q('SHOW VERSION'))).toEqual([]);
  });

  test('so many statements and no more', async () => {
    const bench = new Bench();
    bench.say(...Array.from({ length: 1000 }, (_, index) => p('SHOW MEM', `s${index}`)), s());
    expect((await bench.all()).map(brief)).not.toContain('error 53000');
    expect(await bench.briefly(p('SHOW MEM', 'more'), s())).toEqual(['error 53000', 'readyForQuery I']);
    expect(await bench.briefly(cs('s1'), p('SHOW MEM', 'more'), s())).toContain('parseComplete');
  });

  test('DEALLOCATE forgets them', async () => {
    const bench = new Bench();
    bench.say(p('SHOW MEM', 'a'), p('SHOW MEM', 'b'), s());
    await bench.all();
    expect(await bench.briefly(q('DEALLOCATE a'))).toContain('commandComplete DEALLOCATE');
    expect(await bench.briefly(q('DEALLOCATE a'))).toContain('error 26000');
    expect(await bench.briefly(q('DEALLOCATE ALL'), b([], 'b'), s())).toContain('error 26000');
  });

  test('a client that does not read waits for its turn', async () => {
    const bench = new Bench();
    bench.full = true;
    expect(await bench.briefly(q('SHOW MEM'), q('SHOW MEM'))).toEqual([]);
    expect(bench.machine.waitingBytes).toBeGreaterThan(0);
    expect(bench.machine.hasMore).toBe(false);
    bench.full = false;
    bench.machine.pump();
    expect((await bench.all()).filter(({ name }) => name === 'readyForQuery')).toHaveLength(2);
    expect(bench.machine.waitingBytes).toBe(0);
  });

  test('whatever comes, each Sync and each Query is answered once, or the session ends', () => {
    const piece = fc.oneof(
      fc.constantFrom(
        q('SHOW MEM'),
        s(),
        p('SHOW MEM'),
        b(),
        e(),
        dp(),
        x('SHOW STATE'),
        q('BEGIN'),
        q('oops'),
      ),
      fc
        .tuple(fc.constantFrom(...'PBDECQFHXdcfpz'), fc.uint8Array({ maxLength: 24 }))
        .map(([type, bytes]) => message(type, bytes)),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (messages) => {
        const bench = new Bench();
        bench.say(...messages, s());
        expect(bench.closed || bench.sent.at(-1)?.[0] === 0x5a).toBe(true);
      }),
      { numRuns: 500 },
    );
  });
});
