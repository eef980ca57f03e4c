/** What happens to sessions and is worth a line in the night. Rule: never a text of the client's. */
import type { ClientSession } from '../io/clients/client-session.ts';
import type { GatewayConfig } from '../config/schema.ts';
import type { NodeTelemetry } from '../telemetry/node-telemetry.ts';

/** It held the most of `max_client_memory`, and had to go. */
export function tellEndedForMemory(
  { tally, chronicle }: NodeTelemetry,
  { maxClientMemoryBytes: limitBytes, postgres: { database } }: GatewayConfig,
  { backendPid: pid, identity: { user } }: ClientSession,
): void {
  tally.clientsEndedForMemory++;
  const message = 'a client was ended: it held the most of max_client_memory';
  chronicle.tell('warn', 'client-ended', `${message} (process ${pid})`, message, {
    pid,
    user,
    database,
    limitBytes,
  });
}

export function tellDrain({ chronicle }: NodeTelemetry, sessions: number, limitMs: number): void {
  const message = 'client sessions are ended';
  chronicle.tell('info', 'drain', `${message}, ${sessions} of them`, message, { sessions, limitMs });
}
