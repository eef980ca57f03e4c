/**
 * Statements that would touch the gateway's own sensor, the read-only default of the server session, in other
 * words. The client's own wish lives in ReadOnlyWish; the server is shown it under a name of our own, so that
 * the answer is the server's. And NOTIFY, which PREPARE would refuse.
 */
import { quoteLiteral } from '../apply/quoting.ts';
import { beginText } from '../statement/session-command.ts';
import { payloadLimit } from '../pgoutput/notification.ts';
import type { StatementClass } from '../statement/statement-class.ts';
import { utf8Length } from '../statement/utf8-length.ts';
import type { ReadOnlyWish } from './read-only-wish.ts';

const guarded = 'default_transaction_read_only';
const shadow = 'multimaster.default_transaction_read_only';

/** The text to run instead; undefined: as it is. `inTransaction`: the server is in a transaction block. */
export function rewritten(
  wish: ReadOnlyWish,
  statement: StatementClass,
  inTransaction: boolean,
): string | undefined {
  switch (statement.kind) {
    case 'begin':
      return beginText(statement.tag, statement.modes, wish.value);
    case 'set-guarded': {
      if (statement.name !== guarded) return undefined;
      if (statement.also !== undefined) return statement.also;
      const value = wish.valueOf(statement);
      // A value that is no boolean goes through: the server says so in its own words.
      if (value === undefined) return undefined;
      if (statement.reset === true) return `RESET ${shadow}`;
      return `SET ${statement.local ? 'LOCAL ' : ''}${shadow} = ${value ? 'on' : 'off'}`;
    }
    case 'show-guarded':
      // Inside a transaction, transaction_read_only is what the client has made it.
      if (statement.name !== guarded && inTransaction) return undefined;
      return `SELECT '${wish.value ? 'on' : 'off'}'::text AS ${statement.name}`;
    case 'notify':
      // What is too long goes through: the server says so in its own words.
      if (utf8Length(statement.payload) >= payloadLimit) return undefined;
      return `CALL mtm.notify(${quoteLiteral(statement.channel)}, ${quoteLiteral(statement.payload)})`;
    case 'write':
      return statement.instead;
    default:
      return undefined;
  }
}

/** The command tag that the client expects where the statement that runs in its place has another. */
export function tagShown(statement: StatementClass): string | undefined {
  if (statement.kind === 'listen') return statement.entry.startsWith('+') ? 'LISTEN' : 'UNLISTEN';
  if (statement.kind === 'show-guarded') return 'SHOW';
  return statement.kind === 'notify' ? 'NOTIFY' : undefined;
}
