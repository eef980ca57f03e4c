/**
 * The HTTP port: / is the status page, /status.json what it shows, /metrics the same for Prometheus; /healthz
 * says that the process lives, /ready that the node serves clients (its body also, whether every member can
 * be reached, so that it serves writes).
 *
 * Rules: it only tells, GET and HEAD, no state of its own, nothing secret; so nobody needs a token, and a
 * page of somebody else's that reaches it by another name (DNS rebinding) can but read the state. No body is
 * read, answers are bounded, and a client that takes its time, or is one of too many, costs a socket for a
 * few seconds.
 */
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Registry } from 'prom-client';
import { GatewayError } from '../lib/gateway-error.ts';
import type { Logger } from '../telemetry/log.ts';
import { metricsRegistry } from './metrics.ts';
import { pageFiles } from './page-files.ts';
import { statusReport, type GatewaySource } from './status-report.ts';

export interface HealthSource {
  /** It serves clients. */
  readonly ready: boolean;
  /** It serves them writes too: every member can be reached. */
  readonly writable: boolean;
  readonly status: { readonly status: string; readonly reason: string };
}

export interface HttpSources {
  readonly health: () => HealthSource | undefined;
  readonly report: () => GatewaySource;
}

interface Answer {
  readonly code: number;
  readonly type: string;
  readonly body: string;
}

/** Connections at once; a page keeps one, Prometheus one. */
const maxConnections = 200;
/** Above it nothing is sent: a sign of a mistake of ours. */
const maxBodyBytes = 4 * 1024 * 1024;

const limits = {
  maxHeaderSize: 8192,
  requestTimeout: 5000,
  headersTimeout: 5000,
  keepAliveTimeout: 5000,
  connectionsCheckingInterval: 1000,
};

/** For every answer: nothing but the page's own two files may load, nobody frames it, nothing is kept. */
const headers = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
  'cache-control': 'no-store',
};

const json = 'application/json';
const paths = '/, /status.json, /metrics, /healthz and /ready';

export class HttpServer {
  readonly #server: Server;
  readonly #sources: HttpSources;
  readonly #log: Logger;
  #registry: Registry | undefined;

  constructor(sources: HttpSources, log: Logger) {
    this.#sources = sources;
    this.#log = log;
    this.#server = createServer(limits, (request, response) => void this.#serve(request, response));
    this.#server.maxConnections = maxConnections;
    // Who sends and does not read has nothing coming for ever.
    this.#server.setTimeout(10_000);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    request.resume();
    let answer: Answer;
    try {
      answer = await this.#answer(request.method ?? '', pathOf(request.url ?? '/'));
    } catch (err) {
      this.#log.error({ err }, 'the HTTP port could not make an answer');
      answer = { code: 500, type: json, body: '{"error":"the answer could not be made"}\n' };
    }
    const { code, type, body } = answer;
    const length = Buffer.byteLength(body);
    response.writeHead(code, {
      ...headers,
      'content-type': type,
      'content-length': length,
      ...(code === 405 ? { allow: 'GET, HEAD' } : {}),
    });
    response.end(request.method === 'HEAD' ? undefined : body);
  }

  async #answer(method: string, path: string): Promise<Answer> {
    if (method !== 'GET' && method !== 'HEAD')
      return { code: 405, type: json, body: '{"error":"this port only tells: GET and HEAD"}\n' };
    switch (path) {
      case '/healthz':
      case '/ready':
        return this.#health(path === '/ready');
      case '/status.json':
        return bounded(json, `${JSON.stringify(statusReport(this.#sources.report()))}\n`);
      case '/metrics':
        return this.#metrics();
      default: {
        const file = pageFiles.get(path);
        if (file !== undefined) return { code: 200, ...file };
        return { code: 404, type: json, body: `{"error":"there are ${paths}"}\n` };
      }
    }
  }

  async #metrics(): Promise<Answer> {
    this.#registry ??= metricsRegistry(this.#sources.report);
    return bounded(this.#registry.contentType, await this.#registry.metrics());
  }

  #health(mustBeReady: boolean): Answer {
    const health = this.#sources.health();
    const body = {
      ready: health?.ready === true,
      writable: health?.writable === true,
      ...(health?.status ?? { status: 'disabled', reason: 'the gateway is starting' }),
    };
    return { code: mustBeReady && !body.ready ? 503 : 200, type: json, body: `${JSON.stringify(body)}\n` };
  }

  /** Rejects with a GatewayError when the port cannot be opened. */
  listen(host: string, port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', (cause: NodeJS.ErrnoException) => {
        const inUse = cause.code === 'EADDRINUSE';
        const why = inUse ? 'another process listens there' : cause.message;
        const code = inUse ? 'address-in-use' : 'config-invalid';
        reject(new GatewayError(code, `the HTTP port ${host}:${port} cannot be opened: ${why}`, { cause }));
      });
      this.#server.listen({ host, port }, () => resolve());
    });
  }

  /** The port that is listened on (of use when the one asked for was 0). */
  get port(): number {
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

/** Empty, which nothing is served for, when it is none. */
function pathOf(url: string): string {
  return URL.canParse(url, 'http://gateway') ? new URL(url, 'http://gateway').pathname : '';
}

function bounded(type: string, body: string): Answer {
  if (body.length <= maxBodyBytes) return { code: 200, type, body };
  return { code: 500, type: json, body: '{"error":"the answer is too large"}\n' };
}
