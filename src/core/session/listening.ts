/**
 * LISTEN and UNLISTEN inside a transaction, which PREPARE would refuse: they wait in a setting of the server
 * session, so that a rollback (also to a savepoint) forgets them, and run when the transaction has committed,
 * before its client is answered. Rule: the setting is the client's to write too, so it holds names only.
 */
import { quoteLiteral } from '../apply/quoting.ts';
import { settled } from './server-reply.ts';
import type { SessionMachine } from './session.ts';

const setting = 'multimaster.listening';

/** Everything beyond ASCII is escaped, so that it means the same in every client encoding. */
function ascii(text: string): string {
  return JSON.stringify(text).replace(/[^\0-\x7f]/gu, (character) => {
    let escaped = '';
    for (let index = 0; index < character.length; index++)
      escaped += `\\u${character.charCodeAt(index).toString(16).padStart(4, '0')}`;
    return escaped;
  });
}

/** The statement by which a LISTEN waits; undefined when its channel cannot be read. */
export function listenLater(entry: string): string | undefined {
  if (entry.includes('\uFFFD')) return undefined;
  return `CALL mtm.listen_later(${quoteLiteral(ascii(entry))})`;
}

function identifier(name: string): string {
  const escaped = name.replace(/[\\"\u0080-\u{10ffff}]/gu, (character) => {
    if (character === '\\' || character === '"') return character + character;
    return `\\+${character.codePointAt(0)!.toString(16).padStart(6, '0')}`;
  });
  return `U&"${escaped}"`;
}

/** The commands that wait in the setting's value. */
export function waitingCommands(value: string): readonly string[] {
  return value.split('\n').flatMap((line) => {
    let entry: unknown;
    try {
      entry = JSON.parse(line);
    } catch {
      return []; // the client wrote it
    }
    if (typeof entry !== 'string' || entry.includes('\0')) return [];
    if (entry === '*') return ['UNLISTEN *'];
    if (entry.length < 2) return [];
    return [`${entry.startsWith('+') ? 'LISTEN' : 'UNLISTEN'} ${identifier(entry.slice(1))}`];
  });
}

/** The transaction has committed. */
export function* listenNow(session: SessionMachine): Generator<void, void, void> {
  const asked = session.sendOwn(`SELECT pg_catalog.current_setting('${setting}', true)`);
  yield* settled(session, asked);
  const commands = waitingCommands(asked.value ?? '');
  if (commands.length === 0) return;
  const reply = session.sendOwn([`SET ${setting} = ''`, ...commands].join('; '));
  yield* settled(session, reply);
  if (reply.error !== undefined) session.ports.deliveryFailed(`LISTEN after a commit: ${reply.sqlstate}`);
}
