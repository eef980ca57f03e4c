/**
 * Statements that would touch the gateway's own sensor, the read-only default of the server session, in other words.
 * The client's own wish lives in the setting multimaster.default_transaction_read_only of the same session.
 */
import { beginText } from '../statement/session-command.ts';
import type { StatementClass } from '../statement/statement-class.ts';

export interface RewriteContext {
  readOnlyDefault: boolean;
}

const shadow = 'multimaster.default_transaction_read_only';

/** The text to run instead; undefined: as it is. Takes down the client's wish in passing. */
export function rewritten(context: RewriteContext, statement: StatementClass): string | undefined {
  switch (statement.kind) {
    case 'begin':
      return beginText(statement.tag, statement.modes, context.readOnlyDefault);
    case 'set-guarded': {
      if (statement.name !== 'default_transaction_read_only') return undefined;
      const on = statement.value !== undefined && isTrue(statement.value);
      context.readOnlyDefault = on;
      return `SET ${statement.local ? 'LOCAL ' : ''}${shadow} = ${on ? 'on' : 'off'}`;
    }
    case 'show-guarded':
      if (statement.name === 'default_transaction_read_only') {
        return `SELECT '${context.readOnlyDefault ? 'on' : 'off'}'::text AS default_transaction_read_only`;
      }
      return undefined;
    default:
      return undefined;
  }
}

/** PostgreSQL's parse_bool: unique prefixes of true, yes, on and 1. */
function isTrue(value: string): boolean {
  return /^(?:t|tr|tru|true|y|ye|yes|on|1)$/i.test(value.trim());
}
