/**
 * The first packet of a connection: startup, cancel, or a request for encryption.
 * Rule: nothing is allocated from the claimed length, and a packet longer than PostgreSQL itself accepts is
 * refused.
 * Grammar (manual, "Message Formats"): Int32 length, Int32 code, then by code.
 */
import { cancelRequestCode, gssEncRequestCode, sslRequestCode } from './codes.ts';
import { cstringAt, cstringEnd, int32At } from './messages.ts';

/** PostgreSQL's MAX_STARTUP_PACKET_LENGTH. */
export const maxStartupBytes = 10_000;

export type StartupPacket =
  | { readonly kind: 'incomplete' }
  | { readonly kind: 'violation'; readonly reason: string }
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

const violation = (reason: string): StartupPacket => ({ kind: 'violation', reason });

/** Reads the packet at the beginning of `buffer`; `bytes` says how much it took. */
export function readStartupPacket(buffer: Uint8Array): StartupPacket {
  if (buffer.length < 4) return { kind: 'incomplete' };
  const length = int32At(buffer, 0);
  if (length < 8 || length > maxStartupBytes) return violation('invalid length of startup packet');
  if (buffer.length < length) return { kind: 'incomplete' };
  const code = int32At(buffer, 4);
  switch (code) {
    case sslRequestCode:
      return length === 8 ? { kind: 'ssl-request', bytes: 8 } : violation('invalid length of SSLRequest');
    case gssEncRequestCode:
      return length === 8 ? { kind: 'gss-request', bytes: 8 } : violation('invalid length of GSSENCRequest');
    case cancelRequestCode:
      if (length < 13 || length > 12 + 256) return violation('invalid length of CancelRequest');
      return { kind: 'cancel', bytes: length, processId: int32At(buffer, 8), key: buffer.slice(12, length) };
    default:
      return readParameters(buffer, length, code);
  }
}

function readParameters(buffer: Uint8Array, length: number, code: number): StartupPacket {
  const major = code >>> 16;
  const minor = code & 0xffff;
  if (major !== 3) {
    return violation(`unsupported frontend protocol ${major}.${minor}: server supports 3.0 to 3.2`);
  }
  const parameters = new Map<string, string>();
  let at = 8;
  while (at < length && buffer[at] !== 0) {
    const nameEnd = cstringEnd(buffer, at, length);
    const valueEnd = cstringEnd(buffer, nameEnd + 1, length);
    if (valueEnd >= length)
      return violation('invalid startup packet layout: expected terminator as last byte');
    parameters.set(cstringAt(buffer, at, length), cstringAt(buffer, nameEnd + 1, length));
    at = valueEnd + 1;
  }
  if (at !== length - 1) return violation('invalid startup packet layout: expected terminator as last byte');
  return { kind: 'startup', bytes: length, major, minor, parameters };
}
