/**
 * The class of the commonest statements from a glance at their text, without the parser (15–80 µs).
 * Rule: answers only where classifyTree would give the same class (a property test holds the two together);
 * at the first doubt – a quote that might escape, a parenthesis in a query, a second semicolon – it answers
 * nothing.
 */
import type { ClassifyContext } from './context.ts';
import type { StatementClass, TransactionModes } from './statement-class.ts';

const read: StatementClass = { kind: 'read' };
const write: StatementClass = { kind: 'write', certain: true, temporary: false, copyIn: false };
const noModes: TransactionModes = { isolation: undefined, readOnly: undefined, deferrable: undefined };

const control: ReadonlyMap<string, StatementClass> = new Map<string, StatementClass>([
  ['BEGIN', { kind: 'begin', tag: 'BEGIN', modes: noModes }],
  ['BEGIN TRANSACTION', { kind: 'begin', tag: 'BEGIN', modes: noModes }],
  ['START TRANSACTION', { kind: 'begin', tag: 'START TRANSACTION', modes: noModes }],
  ['COMMIT', { kind: 'commit', chain: false }],
  ['END', { kind: 'commit', chain: false }],
  ['ROLLBACK', { kind: 'rollback', chain: false }],
  ['ABORT', { kind: 'rollback', chain: false }],
]);

const longestControl = 17;

/** Words that apply an operator without showing it. */
const hiddenOperators: ReadonlySet<string> = new Set(
  'between case distinct ilike in is isnull like natural notnull similar'.split(' '),
);

const other = 0;
const space = 1;
const word = 2;
const digit = 3;
const operator = 4;
const plain = 5;

/** What a character of a query is; `other` ends the glance. */
const kinds = new Uint8Array(128);
for (const character of ' \t\n\r\f') kinds[character.charCodeAt(0)] = space;
for (const character of 'abcdefghijklmnopqrstuvwxyz_') {
  kinds[character.charCodeAt(0)] = word;
  kinds[character.toUpperCase().charCodeAt(0)] = word;
}
for (const character of '0123456789') kinds[character.charCodeAt(0)] = digit;
for (const character of '=<>+-*/%') kinds[character.charCodeAt(0)] = operator;
for (const character of ',.:') kinds[character.charCodeAt(0)] = plain;

function kindAt(text: string, index: number): number {
  const code = text.charCodeAt(index);
  return code < 128 ? (kinds[code] ?? other) : other;
}

/** The end of the statement without white space and the one semicolon that may close it. */
export function quickEnd(text: string): number {
  let end = text.length;
  while (end > 0 && kindAt(text, end - 1) === space) end -= 1;
  if (text.charCodeAt(end - 1) === 0x3b) end -= 1;
  return end;
}

/** Letters of ASCII in lower case, so that one comparison does for both. */
function lowerAt(text: string, index: number): number {
  return text.charCodeAt(index) | 0x20;
}

/** `for`, `into`, and the names and words that the catalog makes doubtful. */
function wordIsDoubtful(text: string, start: number, end: number, context: ClassifyContext): boolean {
  const length = end - start;
  const first = lowerAt(text, start);
  if (length === 3 && first === 0x66 && lowerAt(text, start + 1) === 0x6f) return true;
  if (length === 4 && first === 0x69 && lowerAt(text, start + 1) === 0x6e) return true;
  const { suspiciousRelations, attributeFunctions, suspiciousOperators } = context;
  if (suspiciousRelations.size + attributeFunctions.size + suspiciousOperators.size === 0) return false;
  const name = text.slice(start, end).toLowerCase();
  if (suspiciousRelations.has(name) || attributeFunctions.has(name)) return true;
  return suspiciousOperators.size > 0 && hiddenOperators.has(name);
}

function skipKinds(text: string, start: number, end: number, first: number, second: number): number {
  let index = start;
  while (index < end) {
    const kind = kindAt(text, index);
    if (kind !== first && kind !== second) break;
    index += 1;
  }
  return index;
}

/** PostgreSQL's NAMEDATALEN - 1. */
const longestOperator = 63;

/** A run of operator characters: its end, or -1 when it is a comment or one of a user's operators. */
function operatorEnd(text: string, start: number, end: number, context: ClassifyContext): number {
  const stop = skipKinds(text, start, end, operator, operator);
  for (let index = start; index + 1 < stop; index++) {
    const code = text.charCodeAt(index);
    const next = text.charCodeAt(index + 1);
    if ((code === 0x2d && next === 0x2d) || (code === 0x2f && next === 0x2a)) return -1;
  }
  if (context.suspiciousOperators.size === 0) return stop;
  if (stop - start > longestOperator) return -1;
  // The lexer may cut a run such as `=-` in two: every part of it must be harmless.
  for (let from = start; from < stop; from++) {
    for (let to = from + 1; to <= stop; to++) {
      if (context.suspiciousOperators.has(text.slice(from, to))) return -1;
    }
  }
  return stop;
}

/** Where the next token ends, -1 in doubt. `index` stands on something that is not white space. */
function tokenEnd(text: string, index: number, end: number, context: ClassifyContext): number {
  const kind = kindAt(text, index);
  if (kind === word) {
    const stop = skipKinds(text, index, end, word, digit);
    const next = text.charCodeAt(stop);
    // A quote after a word may be E'…', a dollar sign belongs to the word, beyond ASCII case folds elsewhere.
    if (stop < end && (next === 0x27 || next === 0x24 || next > 127)) return -1;
    return wordIsDoubtful(text, index, stop, context) ? -1 : stop;
  }
  if (kind === digit) {
    const stop = skipKinds(text, index, end, digit, digit);
    return stop < end && kindAt(text, stop) === word ? -1 : stop;
  }
  if (kind === operator) return operatorEnd(text, index, end, context);
  if (kind === plain) return index + 1;
  const code = text.charCodeAt(index);
  if (code === 0x27) {
    const close = text.indexOf("'", index + 1);
    return close < 0 || close >= end ? -1 : close + 1;
  }
  // $1, never $tag$.
  if (code !== 0x24 || kindAt(text, index + 1) !== digit) return -1;
  const stop = skipKinds(text, index + 1, end, digit, digit);
  return stop < end && kindAt(text, stop) === word ? -1 : stop;
}

function isPlainSelect(text: string, end: number, context: ClassifyContext): boolean {
  if (context.hiddenCode) return false;
  let index = 6;
  while (index < end) {
    if (kindAt(text, index) === space) {
      index += 1;
      continue;
    }
    index = tokenEnd(text, index, end, context);
    if (index < 0) return false;
  }
  return true;
}

/**
 * Nothing in it could end the statement, name our objects, a temporary schema or a function that is refused.
 */
function isPlainWrite(text: string, end: number, context: ClassifyContext): boolean {
  if (context.hiddenLargeObjects) return false;
  for (let index = 6; index < end; index++) {
    const code = text.charCodeAt(index);
    switch (code) {
      case 0x3b: // ;
        return false;
      case 0x26: // & as in U&"…"
        if (text.charCodeAt(index + 1) === 0x22) return false;
        break;
      case 0x4c: // lo_, lowrite, loread
      case 0x6c:
        if (
          lowerAt(text, index + 1) === 0x6f &&
          /^.._|^..(?:write|read)/iu.test(text.slice(index, index + 7))
        )
          return false;
        break;
      case 0x4d: // mtm
      case 0x6d:
        if (lowerAt(text, index + 1) === 0x74 && lowerAt(text, index + 2) === 0x6d) return false;
        break;
      case 0x50: // pg_
      case 0x70:
        if (lowerAt(text, index + 1) === 0x67 && text.charCodeAt(index + 2) === 0x5f) return false;
        break;
      case 0x53: // set_
      case 0x73:
        if (lowerAt(text, index + 1) === 0x65 && text.charCodeAt(index + 3) === 0x5f) return false;
        break;
      default:
    }
  }
  return true;
}

function beginsWith(text: string, lowerWord: string): boolean {
  for (let index = 0; index < lowerWord.length; index++) {
    if (lowerAt(text, index) !== lowerWord.charCodeAt(index)) return false;
  }
  return kindAt(text, lowerWord.length) === space;
}

/** The class of a text that is one common statement; undefined whenever the parser has to look. */
export function quickClass(text: string, context: ClassifyContext): StatementClass | undefined {
  const end = quickEnd(text);
  switch (lowerAt(text, 0)) {
    case 0x73: // select, start transaction
      if (beginsWith(text, 'select')) return isPlainSelect(text, end, context) ? read : undefined;
      break;
    case 0x69: // insert
      return beginsWith(text, 'insert') && isPlainWrite(text, end, context) ? write : undefined;
    case 0x75: // update
      return beginsWith(text, 'update') && isPlainWrite(text, end, context) ? write : undefined;
    case 0x64: // delete
      return beginsWith(text, 'delete') && isPlainWrite(text, end, context) ? write : undefined;
    default:
  }
  return end <= longestControl ? control.get(text.slice(0, end).trimEnd().toUpperCase()) : undefined;
}
