/**
 * The messages of one extended group, read as far as the session must understand them and rebuilt for the server.
 * Grammar (manual, "Message Formats"): Parse = name, text, types; Bind = portal, statement, …; Execute = portal, row limit;
 * Describe and Close = 'S' or 'P', name.
 */
import { frontend } from '../wire/codes.ts';
import { MessageWriter } from '../wire/message-writer.ts';
import { cstringAt, cstringEnd } from '../wire/messages.ts';
import type { StatementClass } from '../statement/statement-class.ts';
import { singleClass } from './registry.ts';
import type { Prepared } from './registry.ts';
import { rewritten } from './rewrite.ts';
import type { ClientMessage, SessionMachine } from './session.ts';

export interface Item {
  readonly type: number;
  readonly bytes: Uint8Array;
}

export interface Group {
  readonly items: (repeat: boolean) => { readonly items: readonly Item[]; readonly prefix: number };
  /** Of what the group executes, in order; a group that executes nothing is an empty one. */
  readonly classes: readonly StatementClass[];
  readonly texts: readonly string[];
  /** Index of the message that executes the first COMMIT. */
  readonly commitAt: number | undefined;
}

const functionCall: StatementClass = { kind: 'write', certain: false, temporary: false, copyIn: false };

/** A FunctionCall: may do anything a function may do. */
export function singleQueryItem(message: ClientMessage): Group {
  return {
    items: () => ({ items: [message], prefix: 0 }),
    classes: [functionCall],
    texts: [''],
    commitAt: undefined,
  };
}

export function rebuildGroup(session: SessionMachine, messages: readonly ClientMessage[]): Group {
  const { registry } = session;
  const classes: StatementClass[] = [];
  const texts: string[] = [];
  const items: Item[] = [];
  const parsed: { name: string; prepared: Prepared }[] = [];
  let commitAt: number | undefined;
  let unnamed: Prepared | undefined;
  let unnamedParsed = false;
  for (const [index, message] of messages.entries()) {
    const { type, bytes } = message;
    let item: Item = message;
    if (type === frontend.parse) {
      const name = cstringAt(bytes, 5, bytes.length);
      const prepared = prepare(session, message);
      registry.parse(name, prepared);
      item = { type, bytes: prepared.message };
      parsed.push({ name, prepared });
      if (name === '') unnamedParsed = true;
    } else if (type === frontend.bind) {
      const portal = cstringAt(bytes, 5, bytes.length);
      const statement = cstringAt(bytes, 6 + cstringLength(bytes, 5), bytes.length);
      registry.bind(portal, statement);
      if (statement === '' && !unnamedParsed) unnamed = registry.statement('');
    } else if (type === frontend.describe && bytes[5] === 0x53 && bytes[6] === 0 && !unnamedParsed) {
      unnamed = registry.statement('');
    } else if (type === frontend.execute) {
      const portal = cstringAt(bytes, 5, bytes.length);
      const kind = registry.portalClass(portal);
      if (kind.kind === 'commit') commitAt ??= index;
      classes.push(kind);
      texts.push(registry.portal(portal)?.text ?? '');
    } else if (type === frontend.close) {
      const name = cstringAt(bytes, 6, bytes.length);
      if (bytes[5] === 0x53) registry.closeStatement(name);
      else registry.closePortal(name);
    }
    items.push(item);
  }
  const build = (repeat: boolean): ReturnType<Group['items']> => {
    if (repeat) for (const { name, prepared } of parsed) registry.parse(name, prepared);
    const named = repeat ? parsed.map(({ name }) => name).filter((name) => name !== '') : [];
    return withPrefix(session, items, named, unnamed);
  };
  return { items: build, classes, texts, commitAt };
}

function cstringLength(bytes: Uint8Array, at: number): number {
  return cstringEnd(bytes, at, bytes.length) - at;
}

function prepare(session: SessionMachine, message: ClientMessage): Prepared {
  const { bytes } = message;
  const nameEnd = cstringEnd(bytes, 5, bytes.length);
  const text = cstringAt(bytes, nameEnd + 1, bytes.length);
  const kind = singleClass(session.ports.classify(text));
  // A SET takes effect for the gateway when it runs; what is prepared keeps the text that is right now.
  const replaced = rewritten({ readOnlyDefault: session.readOnlyDefault }, kind);
  if (replaced === undefined) return { class: kind, text, message: bytes };
  const textEnd = cstringEnd(bytes, nameEnd + 1, bytes.length);
  const writer = new MessageWriter(bytes.length + replaced.length).begin(frontend.parse);
  writer
    .bytes(bytes.subarray(5, nameEnd + 1))
    .cstring(replaced)
    .bytes(bytes.subarray(textEnd + 1))
    .end();
  return { class: kind, text, message: writer.take() };
}

/**
 * A repeat closes the statements that the attempt before has prepared, and the unnamed statement that a simple Query of ours
 * has dropped is prepared again. Both stand in front, so that their replies are the first, which the client does not get.
 */
function withPrefix(
  session: SessionMachine,
  items: readonly Item[],
  parsedNames: readonly string[],
  unnamed: Prepared | undefined,
): { items: readonly Item[]; prefix: number } {
  const prefix: Item[] = parsedNames.map((name) => closeStatement(name));
  const dropped = session.registry.unnamedDropped || session.block?.explicit === false;
  if (unnamed !== undefined && dropped) {
    prefix.push({ type: frontend.parse, bytes: unnamed.message });
  }
  return { items: prefix.length === 0 ? items : [...prefix, ...items], prefix: prefix.length };
}

function closeStatement(name: string): Item {
  const bytes = new MessageWriter(name.length + 8)
    .begin(frontend.close)
    .byte(0x53)
    .cstring(name)
    .end()
    .take();
  return { type: frontend.close, bytes };
}
