/** The HTTP port, with a made-up gateway behind it. */
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { HttpServer } from '../../../src/admin/http-server.ts';
import type { GatewaySource } from '../../../src/admin/status-report.ts';
import { createLog } from '../../../src/telemetry/log.ts';
import { metricDefinitions } from '../../../src/telemetry/metric-definitions.ts';
import { NodeTelemetry } from '../../../src/telemetry/node-telemetry.ts';

const telemetry = new NodeTelemetry(createLog('silent'), 0);
const evil = `</script><img src=x onerror=alert(1)> postgresql://u:hush@h/d`;
telemetry.chronicle.note('warn', 'kind', evil);
telemetry.tally.committed = 3;
telemetry.tally.commit.whole.addMs(4);

const source: GatewaySource = {
  node: 7,
  cluster: 'shop',
  version: '1.2.3',
  uptimeSeconds: 12,
  loopDelay: { p50Ms: 1, p99Ms: 2, maxMs: 3 },
  refusedClients: { '53300': 2 },
  strangers: 1,
  databases: [
    { database: 'app', telemetry, report: undefined },
    { database: 'other"\\\n', telemetry, report: undefined },
  ],
};

let ready = false;
let broken = false;
const lines: string[] = [];
const server = new HttpServer(
  {
    health: () => ({ ready, writable: false, status: { status: 'isolated', reason: 'alone' } }),
    report: () => {
      if (broken) throw new Error('no report to be had');
      return source;
    },
  },
  createLog('info', { write: (line: string) => void lines.push(line) }),
);
beforeAll(() => server.listen('127.0.0.1', 0));
afterAll(() => server.close());

interface Answer {
  readonly code: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
}

function ask(path: string, method = 'GET'): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asking = request({ host: '127.0.0.1', port: server.port, path, method, agent: false }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on('data', (chunk: Buffer) => chunks.push(chunk));
      answer.on('end', () =>
        resolve({
          code: answer.statusCode ?? 0,
          headers: answer.headers,
          body: Buffer.concat(chunks).toString(),
        }),
      );
    });
    asking.on('error', reject);
    asking.end();
  });
}

describe('health', () => {
  test('lives, whatever the node does', async () => {
    const { code, body } = await ask('/healthz');
    expect(code).toBe(200);
    expect(JSON.parse(body)).toEqual({ ready: false, writable: false, status: 'isolated', reason: 'alone' });
  });

  test('ready or not', async () => {
    expect((await ask('/ready')).code).toBe(503);
    ready = true;
    expect((await ask('/ready?x=1')).code).toBe(200);
    ready = false;
  });
});

test('what goes wrong with an answer is said in the log, and not to whoever asked', async () => {
  broken = true;
  const { code, body } = await ask('/status.json');
  broken = false;
  expect([code, body]).toEqual([500, '{"error":"the answer could not be made"}\n']);
  expect(lines.map((line) => JSON.parse(line) as object)).toMatchObject([
    {
      level: 'error',
      msg: 'the HTTP port could not make an answer',
      err: { message: 'no report to be had' },
    },
  ]);
  // An address that is none is a mistake of whoever asks.
  expect((await ask('http://[')).code).toBe(404);
  expect(lines).toHaveLength(1);
});

describe('what anybody may ask', () => {
  test('only GET and HEAD', async () => {
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH']) {
      const { code, headers } = await ask('/', method);
      expect([code, headers['allow']]).toEqual([405, 'GET, HEAD']);
    }
    const head = await ask('/status.json', 'HEAD');
    expect([head.code, head.body]).toEqual([200, '']);
    expect(Number(head.headers['content-length'])).toBeGreaterThan(100);
  });

  test.each(['/x', '/page-files.ts', '/../package.json', '/%2e%2e/package.json', '//x/y', '/page.html'])(
    'nothing else is there: %s',
    async (path) => expect((await ask(path)).code).toBe(404),
  );

  test.each(['/', '/page.css', '/page.js', '/status.json', '/metrics', '/healthz', '/no'])(
    'each answer forbids what the page does not need: %s',
    async (path) => {
      const { headers } = await ask(path);
      expect(headers['content-security-policy']).toContain("default-src 'none'");
      expect(headers['content-security-policy']).not.toContain('unsafe');
      expect(headers).toMatchObject({
        'x-content-type-options': 'nosniff',
        'x-frame-options': 'DENY',
        'cache-control': 'no-store',
      });
      expect(headers['access-control-allow-origin']).toBeUndefined();
    },
  );

  test('the page loads nothing from elsewhere and has no script or style of its own', () => {
    const html = readFileSync(new URL('../../../src/admin/page.html', import.meta.url), 'utf8');
    const script = readFileSync(new URL('../../../src/admin/page.js', import.meta.url), 'utf8');
    expect(html.match(/(?:src|href)="[^"]*"/g)).toEqual([
      'href="data:,"',
      'href="page.css"',
      'src="page.js"',
      'href="status.json"',
      'href="metrics"',
    ]);
    expect(html).not.toMatch(/<script(?![^>]*src=)|<style| style=| on[a-z]+=/);
    expect(script).not.toMatch(/innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function/);
  });
});

test('/status.json has everything that the page shows, and no password', async () => {
  const { body, headers } = await ask('/status.json');
  expect(headers['content-type']).toBe('application/json');
  expect(body).not.toContain('hush');
  const report = JSON.parse(body) as { databases: { events: { text: string }[] }[] };
  expect(report).toMatchObject({ node: 7, cluster: 'shop', databases: [{ totals: { committed: 3 } }, {}] });
  expect(report.databases[0]!.events[0]!.text).toContain('</script>');
});

describe('/metrics', () => {
  test('every metric is there with its help and kind, and only those', async () => {
    const { body, headers } = await ask('/metrics');
    expect(headers['content-type']).toMatch(/^text\/plain; version=0.0.4/);
    const told = [...body.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, kind]) => [name!, kind]);
    const defined = Object.entries(metricDefinitions).map(([name, { kind }]) => [name, kind]);
    expect(Object.fromEntries(told)).toEqual(Object.fromEntries(defined));
    expect(told.length).toBe(defined.length);
    expect([...body.matchAll(/^# HELP \S+ \S/gm)].length).toBe(defined.length);
  });

  test('labels are escaped, the node is in each, histograms are whole', async () => {
    const { body } = await ask('/metrics');
    expect(body).toContain('mtm_writes_total{database="app",outcome="committed",node="7"} 3');
    expect(body).toContain('database="other\\"\\\\\\n"');
    expect(body).toContain(
      'mtm_commit_duration_seconds_bucket{database="app",phase="whole",le="0.005",node="7"} 1',
    );
    expect(body).toContain(
      'mtm_commit_duration_seconds_bucket{database="app",phase="whole",le="+Inf",node="7"} 1',
    );
    expect(body).toContain('mtm_commit_duration_seconds_count{database="app",phase="whole",node="7"} 1');
    expect(body).toContain('mtm_refused_connections_total{port="client",reason="53300",node="7"} 2');
    for (const line of body.split('\n'))
      if (line !== '' && line[0] !== '#') expect(line).toContain('node="7"');
  });

  test('the same twice: nothing is added up by asking', async () => {
    const counted = ({ body }: Answer): string[] =>
      body.split('\n').filter((line) => /^mtm_(writes|commit|refused|reads)/.test(line));
    expect(counted(await ask('/metrics'))).toEqual(counted(await ask('/metrics')));
  });
});

describe('clients without manners', () => {
  test('a header that never ends is answered with 431, a request that never comes ends', async () => {
    const answer = await new Promise<string>((resolve, reject) => {
      const socket = connect(server.port, '127.0.0.1', () =>
        socket.write(`GET / HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(20_000)}`),
      );
      let text = '';
      socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
      socket.on('close', () => resolve(text));
      socket.on('error', reject);
    });
    expect(answer).toContain('431');
    const silent = connect(server.port, '127.0.0.1', () => silent.write('GET / HTTP/1.1\r\n'));
    silent.resume();
    const ended = await new Promise<boolean>((resolve) => silent.on('close', () => resolve(true)));
    expect(ended).toBe(true);
  }, 60_000);
});
