/**
 * This process's hold on its server, across the in-process restarts of the node: by it a gateway recognises
 * that another one has taken the server over.
 * Rule: a process takes the server from whoever has it only once, when it begins. Whoever loses it afterwards
 * ends: two gateways would take it from each other for ever.
 */
import { randomUUID } from 'node:crypto';
import type { GatewayConfig } from '../config/schema.ts';
import { connectForCheck } from '../io/postgres-check.ts';
import type { Holding } from '../io/postgres/control.ts';
import { GatewayError } from '../lib/gateway-error.ts';

const lookAgainMs = 100;

export function newHolding(): Holding {
  return { holder: randomUUID(), incarnation: undefined };
}

/**
 * What a failed start really means: the sessions of a gateway end also because another one has taken over.
 * Returns the error to be thrown.
 */
export async function orSuperseded(
  error: unknown,
  config: GatewayConfig,
  { holder, incarnation }: Holding,
): Promise<unknown> {
  if (incarnation === undefined || (error instanceof GatewayError && !error.retryable)) return error;
  // The other one may be ending all sessions just now, this one too.
  for (let tries = 1; tries <= 5; tries++) {
    try {
      const client = await connectForCheck(config.postgres, config.connectTimeoutMs);
      try {
        const { rows } = await client.query(
          'SELECT FROM mtm.incarnation i WHERE i.holder <> $1 AND i.incarnation >= $2',
          [holder, incarnation],
        );
        return rows.length === 0 ? error : superseded(config);
      } finally {
        await client.end();
      }
    } catch {
      await new Promise((resolve) => setTimeout(resolve, lookAgainMs));
    }
  }
  return error; // The server does not answer: that is what the error says, and the next start looks again.
}

export function superseded({ postgres: { host, port } }: GatewayConfig): GatewayError {
  return new GatewayError(
    'incarnation-superseded',
    `another gateway has taken over the PostgreSQL at ${host}:${port}: this one ends`,
  );
}
