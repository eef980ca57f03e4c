/**
 * What the gateway keeps of a session's settings and prepared statements follows the commands that have
 * succeeded. Rule: called with a unit's classes only after the server has executed it.
 */
import type { StatementClass } from '../statement/statement-class.ts';
import type { SessionMachine } from './session.ts';

/** Statements have succeeded that may have changed what the gateway keeps of the session. */
export function noteSettings(
  session: SessionMachine,
  classes: readonly StatementClass[],
  texts: readonly string[],
): void {
  for (const [index, each] of classes.entries()) {
    if (each.kind === 'set-guarded') session.wish.set(each, session.block !== undefined);
    else if (each.kind === 'savepoint') session.wish.savepoint(each);
    else if (each.kind === 'session') noteSessionCommand(session, texts[index] ?? '');
  }
}

function noteSessionCommand(session: SessionMachine, text: string): void {
  if (/^\s*(?:reset\s+all|discard\s+all)\b/i.test(text)) session.wish.reset(session.block !== undefined);
  const name = /^\s*deallocate\s+(?:prepare\s+)?(?:"((?:[^"]|"")+)"|([\w$\x80-\uffff]+))/i.exec(text);
  if (name !== null) session.registry.forget(name[1]?.replaceAll('""', '"') ?? name[2]!.toLowerCase());
}
