/**
 * The HTTP port: /healthz says that the process lives, /ready that the node serves clients (its body also,
 * whether
 * every member can be reached, so that it serves writes).
 * Rule: read-only, no state of its own; an answer is of the moment at which it was asked for.
 */
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import { GatewayError } from '../lib/gateway-error.ts';

export interface HealthSource {
  /** It serves clients. */
  readonly ready: boolean;
  /** It serves them writes too: every member can be reached. */
  readonly writable: boolean;
  readonly status: { readonly status: string; readonly reason: string };
}

export class HttpServer {
  readonly #server: Server;

  constructor(source: () => HealthSource | undefined) {
    this.#server = createServer((request, response) => {
      const health = source();
      const body = {
        ready: health?.ready === true,
        writable: health?.writable === true,
        ...(health?.status ?? { status: 'disabled', reason: 'the gateway is starting' }),
      };
      const found = request.url === '/healthz' || request.url === '/ready';
      const code = !found ? 404 : request.url === '/ready' && !body.ready ? 503 : 200;
      response.writeHead(code, { 'content-type': 'application/json' });
      response.end(found ? `${JSON.stringify(body)}\n` : '{"error":"there are /healthz and /ready"}\n');
    });
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

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}
