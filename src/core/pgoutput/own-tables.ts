/** What in the stream is the gateway's own: its tables and its messages. */
import type { Gid } from '../identity.ts';

const ownSchema = 'mtm';

/** Tables in our schema whose rows are replicated like a user's (sql/client-prepared.sql). */
export const clientTables = { head: 'client_prepared', body: 'client_body' } as const;

/** Each node keeps for itself what is in it: never sent to peers, never an unsupervised write. */
export function isOwnTable(schema: string, name: string): boolean {
  return schema === ownSchema && !isSharedTable(schema, name);
}

export function isSharedTable(schema: string, name: string): boolean {
  return schema === ownSchema && (name === clientTables.head || name === clientTables.body);
}

/** Prefixes of messages that say which transaction this is. */
export const headerPrefix = { supervised: 'mtm', client: 'mtm-client' } as const;

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** The content of a header message, or undefined when it is not one: anybody may write our prefix. */
export function readHeader(content: Uint8Array): { readonly gid: Gid; readonly hmac: string } | undefined {
  let value: unknown;
  try {
    value = JSON.parse(decoder.decode(content));
  } catch {
    return undefined; // judged by those that are
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { gid, hmac } = value as { readonly gid?: unknown; readonly hmac?: unknown };
  return typeof gid === 'string' && typeof hmac === 'string' ? { gid, hmac } : undefined;
}
