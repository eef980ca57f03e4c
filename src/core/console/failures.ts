/** What is wrong with messages and names of a console session, in PostgreSQL's words where it has some. */
import type { ErrorText } from '../wire/messages.ts';
import type { BindMessage } from './bind-message.ts';

/** Prepared statements, and portals, that a session may keep. */
const mostNamed = 1000;

export function failure(sqlstate: string, message: string, hint?: string): ErrorText {
  return { severity: 'ERROR', sqlstate, message, hint };
}
export const malformed = failure('08P01', 'invalid message format');

export function noStatement(name: string): ErrorText {
  if (name === '') return failure('26000', 'unnamed prepared statement does not exist');
  return failure('26000', `prepared statement "${name}" does not exist`);
}

export function noPortal(name: string): ErrorText {
  return failure('34000', `portal "${name}" does not exist`);
}

export function tooMuch(known: ReadonlyMap<string, unknown>, name: string): ErrorText | undefined {
  if (name.length > 63)
    return failure('42622', '[multimaster] a name in the console has at most 63 characters');
  if (known.size < mostNamed || known.has(name)) return undefined;
  const hint = 'Close some of them.';
  return failure('53000', `[multimaster] a session of the console keeps at most ${mostNamed} of these`, hint);
}

export function bindError(bind: BindMessage, columns: number): ErrorText | undefined {
  if (bind.parameters > 0) {
    const supplied = `bind message supplies ${bind.parameters} parameters`;
    return failure('08P01', `${supplied}, but prepared statement "${bind.statement}" requires 0`);
  }
  if (bind.formats.length > 1 && bind.formats.length !== columns) {
    const has = `bind message has ${bind.formats.length} result formats but query has ${columns} columns`;
    return failure('08P01', has);
  }
  const strange = bind.formats.find((format) => format !== 0 && format !== 1);
  return strange === undefined ? undefined : failure('22023', `unsupported format code: ${strange}`);
}

export function formatOf(formats: readonly number[], column: number): number {
  return (formats.length === 1 ? formats[0] : formats[column]) ?? 0;
}
