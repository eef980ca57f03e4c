/**
 * The first packet of a connection: startup, cancel, or a request for encryption.
 * Rule: nothing is allocated from the claimed length, and what PostgreSQL refuses is refused as it does: some
 * of it without a word, because whoever sends it does not speak the protocol.
 * Grammar (manual, "Message Formats"): Int32 length, Int32 code, then by code.
 */
import { cancelRequestCode, gssEncRequestCode, sslRequestCode } from './codes.ts';
import { cstringEnd, int32At } from './messages.ts';
import { anyText } from './any-text.ts';

/** PostgreSQL's MAX_STARTUP_PACKET_LENGTH, which does not count the length itself. */
export const maxStartupBytes = 10_004;

export type StartupPacket =
  | { readonly kind: 'incomplete' }
  /** PostgreSQL closes the connection. */
  | { readonly kind: 'alien' }
  | { readonly kind: 'violation'; readonly reason: string }
  /** Of a major version that nobody speaks any more, or yet. */
  | { readonly kind: 'unsupported'; readonly major: number; readonly minor: number }
  | { readonly kind: 'ssl-request'; readonly bytes: number }
  | { readonly kind: 'gss-request'; readonly bytes: number }
  | { readonly kind: 'cancel'; readonly bytes: number; readonly processId: number; readonly key: Uint8Array }
  | {
      readonly kind: 'startup';
      readonly bytes: number;
      readonly major: number;
      readonly minor: number;
      readonly parameters: ReadonlyMap<string, string>;
    };

const alien: StartupPacket = { kind: 'alien' };
const layout: StartupPacket = {
  kind: 'violation',
  reason: 'invalid startup packet layout: expected terminator as last byte',
};

/** Reads the packet at the beginning of `buffer`; `bytes` says how much it took. */
export function readStartupPacket(buffer: Uint8Array): StartupPacket {
  if (buffer.length < 4) return { kind: 'incomplete' };
  const length = int32At(buffer, 0);
  if (length < 8 || length > maxStartupBytes) return alien;
  if (buffer.length < length) return { kind: 'incomplete' };
  const code = int32At(buffer, 4);
  switch (code) {
    case sslRequestCode:
      return { kind: 'ssl-request', bytes: length };
    case gssEncRequestCode:
      return { kind: 'gss-request', bytes: length };
    case cancelRequestCode:
      if (length < 13 || length > 12 + 256) return alien;
      return { kind: 'cancel', bytes: length, processId: int32At(buffer, 8), key: buffer.slice(12, length) };
    default:
      return readParameters(buffer, length, code);
  }
}

function readParameters(buffer: Uint8Array, length: number, code: number): StartupPacket {
  const major = code >>> 16;
  const minor = code & 0xffff;
  if (major !== 3) return { kind: 'unsupported', major, minor };
  const parameters = new Map<string, string>();
  let at = 8;
  while (at < length && buffer[at] !== 0) {
    const nameEnd = cstringEnd(buffer, at, length);
    const valueEnd = cstringEnd(buffer, nameEnd + 1, length);
    if (valueEnd >= length) return layout;
    parameters.set(anyText(buffer.subarray(at, nameEnd)), anyText(buffer.subarray(nameEnd + 1, valueEnd)));
    at = valueEnd + 1;
  }
  if (at !== length - 1) return layout;
  return { kind: 'startup', bytes: length, major, minor, parameters };
}
