/**
 * How long a client's message may claim to be, as in PostgreSQL.
 * Rule: whoever has not proved who he is may not fill our memory.
 */
import { frontend } from '../../core/wire/codes.ts';

/** PQ_LARGE_MESSAGE_LIMIT, for messages with user data. */
export const longestMessageBytes = 0x3fffffff;

/** PQ_SMALL_MESSAGE_LIMIT, for the others. */
const smallMessageBytes = 10_000;

/** PG_MAX_AUTH_TOKEN_LENGTH. */
const loginMessageBytes = 65_535;

/** The largest length (field value) that a message of this type may claim. */
export function clientMessageLimit(type: number, loggedIn: boolean): number {
  if (!loggedIn) return loginMessageBytes;
  return isLarge(type) ? longestMessageBytes : smallMessageBytes;
}

function isLarge(type: number): boolean {
  switch (type) {
    case frontend.sync:
    case frontend.flush:
    case frontend.terminate:
    case frontend.copyDone:
    case frontend.close:
    case frontend.describe:
    case frontend.execute:
      return false;
    default:
      return true;
  }
}
