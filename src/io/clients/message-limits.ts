/**
 * How long a client's message may claim to be, as in PostgreSQL.
 * Rule: whoever has not proved who he is may not fill our memory.
 */
import { backend, frontend } from '../../core/wire/codes.ts';

/** PQ_LARGE_MESSAGE_LIMIT, for messages with user data. */
const longestMessageBytes = 0x3fffffff;

/** What is read as one text (128 MB): reading it takes a second, and a peer waits for two. */
const longestTextBytes = 0x07ffffff;

/** PQ_SMALL_MESSAGE_LIMIT, for the others. */
const smallMessageBytes = 10_000;

/** PG_MAX_AUTH_TOKEN_LENGTH. */
const loginMessageBytes = 65_535;

/** What waits for the end of the login; above it the client is not read. */
export const waitingForLoginBytes = 65_536;

/** The largest length (field value) of a message of this type; undefined: there is no such type. */
export function clientMessageLimit(type: number, loggedIn: boolean): number | undefined {
  const usual = usualLimit(type);
  return usual === undefined || loggedIn ? usual : loginMessageBytes;
}

function usualLimit(type: number): number | undefined {
  switch (type) {
    case frontend.query:
    case frontend.parse:
      return longestTextBytes;
    case frontend.functionCall:
    case frontend.bind:
    case frontend.copyData:
      return longestMessageBytes;
    case frontend.sync:
    case frontend.flush:
    case frontend.terminate:
    case frontend.copyDone:
    case frontend.copyFail:
    case frontend.close:
    case frontend.describe:
    case frontend.execute:
      return smallMessageBytes;
    case frontend.password:
      return loginMessageBytes;
    default:
      return undefined;
  }
}

/** The same for the server's. */
export function serverMessageLimit(type: number): number {
  return type === backend.dataRow || type === backend.copyData || type === backend.functionCallResponse
    ? longestMessageBytes
    : longestTextBytes;
}
