/**
 * What a client's text says to its server session: standard_conforming_strings and client_encoding decide
 * where a literal ends. The session follows the server's word about both (ParameterStatus), which comes with
 * each ReadyForQuery.
 * Rules: the server gets the client's own text, but for commands whose text may reach other nodes or is sent
 * at another time: they go in words that read alike everywhere ("clear"). What may read otherwise than it
 * was read here is refused.
 */
import { refused, unreadableNotify } from '../statement/refusal.ts';
import type { Refusal } from '../statement/refusal.ts';
import type { ParsedText, StatementClass } from '../statement/statement-class.ts';
import { edited, literalsOf, readsAlike } from '../statement/string-literals.ts';
import { frontend } from '../wire/codes.ts';
import { cstringEnd, withText } from '../wire/messages.ts';
import { editedText, isTreacherous, queryTextAt } from './query-text.ts';
import type { QueryText } from './query-text.ts';
import { singleClass } from './registry.ts';
import type { Prepared } from './registry.ts';
import type { SessionMachine } from './session.ts';

export interface Reading {
  /** Undefined: the server refuses the text, or it is in a syntax that only an older server knows. */
  readonly statements: ParsedText;
  /** The same text, so that it reads alike with standard_conforming_strings on and off; or as it came. */
  readonly clear: QueryText;
}

/** The text as the server session reads it now. */
export function readText(session: SessionMachine, source: QueryText): Reading {
  if (session.standardStrings) return { statements: understood(session, source), clear: source };
  const { edits, unicode, ends } = literalsOf(source.text, false);
  if (unicode || !ends) return { statements: undefined, clear: source };
  const clear = edits.length === 0 ? source : editedText(source, edits);
  return { statements: understood(session, clear), clear };
}

/** A text that is not UTF-8 was read byte by byte. */
function understood(session: SessionMachine, { text, isUtf8 }: QueryText): ParsedText {
  const statements = session.ports.classify(text);
  if (isUtf8 || statements?.some((each) => each.class.kind === 'notify') !== true) return statements;
  return statements.map((each) =>
    isForeignNotify(each.class) ? { ...each, class: unreadableNotify } : each,
  );
}

function isForeignNotify(each: StatementClass): boolean {
  return each.kind === 'notify' && /[^\0-\x7f]/u.test(each.channel + each.payload);
}

/**
 * One query or row change: several of them may run in one string, because no event trigger has to tell them
 * apart. A comment is read in one way only (the time would be exponential), and one in which others are
 * nested not at all.
 */
export const plain = new RegExp(
  String.raw`^(?:\s|--[^\n\r]*[\n\r]|/\*(?:[^*/]|\*(?!/)|/(?!\*))*\*/)*` +
    String.raw`(?:insert|update|delete|merge|select|values|with|table|copy|\()`,
  'i',
);

/** Its text may be told to other nodes, or be sent again. */
export function mustBeClear(kind: StatementClass, text: string): boolean {
  switch (kind.kind) {
    case 'write':
      return !plain.test(text);
    case 'announced':
    case 'everywhere':
    case 'local':
    case 'prepare-transaction':
      return true;
    default:
      return false;
  }
}

export const changedMeanwhile: Refusal = refused(
  '0A000',
  'this text may read otherwise since what was sent with it has changed standard_conforming_strings or ' +
    'client_encoding',
  "Write strings with backslashes as E'…', or send it later: in a Query of its own, or after Sync.",
);

/**
 * The Query of one statement of a string that was read with other settings than those of now. Undefined: it
 * cannot be put so that it reads as it was read.
 */
export function readAsBefore(
  session: SessionMachine,
  message: Uint8Array,
  standard: boolean,
  encoding: string,
): Uint8Array | undefined {
  const source = queryTextAt(message, 5, encoding);
  if (encoding !== session.clientEncoding && isTreacherous(session.clientEncoding)) {
    if (/[^\0-\x7f]/u.test(source.text)) return undefined;
  }
  if (standard === session.standardStrings) return message;
  const { edits, unicode } = literalsOf(source.text, standard);
  if (unicode) return undefined;
  return edits.length === 0 ? message : queryOf(editedText(source, edits));
}

const nothing = new Uint8Array(0);

export function queryOf({ bytes }: Pick<QueryText, 'bytes'>): Uint8Array {
  return withText(frontend.query, nothing, bytes, nothing);
}

/** A Parse with another text. */
export function parseOf(message: Uint8Array, { bytes }: Pick<QueryText, 'bytes'>): Uint8Array {
  const nameEnd = cstringEnd(message, 5, message.length);
  const textEnd = cstringEnd(message, nameEnd + 1, message.length);
  return withText(frontend.parse, message.subarray(5, nameEnd + 1), bytes, message.subarray(textEnd + 1));
}

/** The Parse of a statement that the server is to have once more. */
export function parseAgain(session: SessionMachine, { message, standard }: Prepared): Uint8Array {
  if (standard === session.standardStrings) return message;
  const nameEnd = cstringEnd(message, 5, message.length);
  const source = queryTextAt(message, nameEnd + 1, session.clientEncoding);
  const { edits } = literalsOf(source.text, standard);
  return edits.length === 0 ? message : parseOf(message, editedText(source, edits));
}

/**
 * The settings may have changed since the server's last word: may the text be run as `kind`, which it is by
 * that word? Only if it is the same by any other, or a server refuses it by that.
 */
export function isSure(session: SessionMachine, source: QueryText, kind: StatementClass): boolean {
  const { text } = source;
  const standard = session.standardStrings;
  const variants: string[] = [];
  if (!readsAlike(text, standard) || !readsAlike(text, !standard)) {
    if (mustBeClear(kind, text)) return false;
    const other = literalsOf(text, !standard);
    if (other.ends && (standard ? !other.unicode : true))
      variants.push(standard ? edited(text, other.edits) : text);
  }
  // The backslash may be the end of a character.
  const hidden = text.replaceAll(/([^\0-\x7f])\\/gu, '$1x');
  if (hidden !== text) variants.push(hidden);
  const known = JSON.stringify(kind);
  return variants.every((each) => JSON.stringify(singleClass(session.ports.classify(each))) === known);
}
