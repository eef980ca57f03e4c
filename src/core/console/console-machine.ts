/**
 * One session of the admin console: protocol 3 in both forms, answered by the gateway itself.
 *
 * Rules: messages are answered in their order; while an action runs (PAUSE waits for others) later ones
 * wait. After an error in an extended group everything up to its Sync is skipped. Whoever may only look
 * changes nothing. It must never keep a text: what is prepared is the command that the text is.
 */
import { backend, frontend, status } from '../wire/codes.ts';
import { MessageWriter } from '../wire/message-writer.ts';
import { commandComplete, cstringAt, cstringEnd, errorResponse, readyForQuery } from '../wire/messages.ts';
import type { ErrorText } from '../wire/messages.ts';
import { readBind } from './bind-message.ts';
import { parseConsoleText, type ConsoleCommand } from './command.ts';
import type { ConsoleFacts } from './facts.ts';
import { bindError, failure, formatOf, malformed, noPortal, noStatement, tooMuch } from './failures.ts';
import { columnsOf, tableOf } from './show.ts';
import { addDataRow, rowDescription, type Table } from './table.ts';

export type ConsoleRights = 'all' | 'look';

type ActionKind = 'pause' | 'resume' | 'reload' | 'shutdown' | 'kill-client';
export type ConsoleAction = Extract<ConsoleCommand, { kind: ActionKind }>;

export interface ActionResult {
  readonly notices: readonly ErrorText[];
  /** Undefined: it is done. */
  readonly error: ErrorText | undefined;
}

/** Orders that never call back into the machine before they return. */
export interface ConsolePorts {
  readonly facts: ConsoleFacts;
  toClient(bytes: Uint8Array): void;
  /** Ends the session after what was said has left. */
  close(): void;
  /** The client reads too slowly: `pump` is called when it has read. */
  full(): boolean;
  /** `acted` follows. */
  act(action: ConsoleAction): void;
  /** The client does not want to wait for it any more; `acted` follows all the same. */
  cancelAct(): void;
}

interface Message {
  readonly type: number;
  readonly bytes: Uint8Array;
}

interface Portal {
  readonly command: ConsoleCommand;
  readonly formats: readonly number[];
  /** Made when it is executed first. */
  table: Table | undefined;
  /** The first row that was not given yet. */
  next: number;
}

const tags: Readonly<Record<ActionKind, string>> = {
  pause: 'PAUSE',
  resume: 'RESUME',
  reload: 'RELOAD',
  shutdown: 'SHUTDOWN',
  'kill-client': 'KILL_CLIENT',
};

const empty = (type: number): Uint8Array => new MessageWriter(8).begin(type).end().take();
const parseComplete = empty(backend.parseComplete);
const bindComplete = empty(backend.bindComplete);
const closeComplete = empty(backend.closeComplete);
const noData = empty(backend.noData);
const portalSuspended = empty(backend.portalSuspended);
const emptyQuery = empty(backend.emptyQueryResponse);
const noParameters = new MessageWriter(8).begin(backend.parameterDescription).int16(0).end().take();

export class ConsoleMachine {
  readonly #ports: ConsolePorts;
  #rights: ConsoleRights | undefined;
  #queue: Message[] = [];
  #queuedBytes = 0;
  #pumping = false;
  /** An action runs: how its command is completed, and whether ReadyForQuery follows. */
  #acting: { readonly tag: string; readonly simple: boolean } | undefined;
  #skipping = false;
  #status: number = status.idle;
  readonly #statements = new Map<string, ConsoleCommand>();
  readonly #portals = new Map<string, Portal>();
  #ended = false;

  constructor(ports: ConsolePorts) {
    this.#ports = ports;
  }

  /** Bytes of messages that wait for their turn. */
  get waitingBytes(): number {
    return this.#queuedBytes;
  }

  /** Something waits that has its turn now. */
  get hasMore(): boolean {
    const may = this.#rights !== undefined && this.#acting === undefined && !this.#ended;
    return may && this.#queue.length > 0 && !this.#ports.full();
  }

  /** The user is who he says; what he has sent already has its turn. */
  begin(rights: ConsoleRights): void {
    this.#rights = rights;
    this.#ready();
    this.pump();
  }

  message(type: number, buffer: Uint8Array, start: number, end: number): void {
    if (this.#ended) return;
    this.#queue.push({ type, bytes: buffer.slice(start, end) });
    this.#queuedBytes += end - start;
    this.pump();
  }

  /** What waits has its turn. */
  pump(): void {
    if (this.#pumping || this.#rights === undefined) return;
    this.#pumping = true;
    let at = 0;
    while (at < this.#queue.length && !this.#ended && this.#acting === undefined && !this.#ports.full()) {
      const message = this.#queue[at++]!;
      this.#queuedBytes -= message.bytes.length;
      this.#take(message);
    }
    if (at > 0) this.#queue = this.#queue.slice(at);
    this.#pumping = false;
  }

  cancel(): void {
    if (this.#acting !== undefined) this.#ports.cancelAct();
  }

  acted(result: ActionResult): void {
    const acting = this.#acting;
    if (acting === undefined || this.#ended) return;
    this.#acting = undefined;
    for (const notice of result.notices) this.#tell(errorResponse(notice));
    if (result.error === undefined) this.#tell(commandComplete(acting.tag));
    else this.#fail(result.error, !acting.simple);
    if (acting.simple) this.#ready();
    this.pump();
  }

  fatal(sqlstate: string, message: string): void {
    if (this.#ended) return;
    this.#tell(errorResponse({ severity: 'FATAL', sqlstate, message }));
    this.end();
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#ports.close();
  }

  #tell(bytes: Uint8Array): void {
    this.#ports.toClient(bytes);
  }

  #ready(): void {
    this.#tell(readyForQuery(this.#status));
  }

  #fail(error: ErrorText, skip: boolean): void {
    this.#tell(errorResponse(error));
    this.#skipping = skip;
    if (this.#status === status.inBlock) this.#status = status.failed;
  }

  #take({ type, bytes }: Message): void {
    if (type === frontend.terminate) return this.end();
    if (type === frontend.sync) return this.#sync();
    if (type === frontend.query) return this.#query(bytes);
    if (type === frontend.functionCall) {
      this.#fail(failure('0A000', '[multimaster] the console has no functions'), false);
      return this.#ready();
    }
    if (type === frontend.flush || isCopy(type)) return; // as PostgreSQL outside of a COPY
    if (!isGrouped(type)) return this.fatal('08P01', `invalid frontend message type ${type}`);
    if (this.#skipping) return;
    const error = this.#grouped(type, bytes);
    if (error !== undefined) this.#fail(error, true);
  }

  #sync(): void {
    this.#skipping = false;
    if (this.#status === status.idle) this.#portals.clear();
    this.#ready();
  }

  #query(bytes: Uint8Array): void {
    if (this.#skipping) return;
    this.#statements.delete('');
    this.#portals.delete('');
    const text = onlyText(bytes, 5);
    const parsed = text === undefined ? { kind: 'error' as const, error: malformed } : parseConsoleText(text);
    const error = parsed.kind === 'error' ? parsed.error : this.#refusal(parsed);
    if (parsed.kind === 'error' || error !== undefined) {
      this.#fail(error ?? malformed, false);
      return this.#ready();
    }
    const portal: Portal = { command: parsed, formats: [], table: undefined, next: 0 };
    if (parsed.kind === 'show') this.#tell(rowDescription(columnsOf(parsed.what), []));
    this.#run(portal, 0, true);
    if (this.#acting === undefined) this.#ready();
  }

  /** Why this command may not run now. */
  #refusal(command: ConsoleCommand): ErrorText | undefined {
    const { kind } = command;
    if (this.#status === status.failed && kind !== 'commit' && kind !== 'rollback' && kind !== 'empty')
      return failure(
        '25P02',
        'current transaction is aborted, commands ignored until end of transaction block',
      );
    if (kind === 'deallocate' && command.name !== undefined && !this.#statements.has(command.name))
      return noStatement(command.name);
    if (this.#rights === 'all' || !isAction(command)) return undefined;
    const hint = 'Members of pg_monitor may SHOW.';
    const who = 'only superusers and members of multimaster.admin_role may';
    return failure('42501', `[multimaster] permission denied for ${tags[command.kind]}: ${who}`, hint);
  }

  #grouped(type: number, bytes: Uint8Array): ErrorText | undefined {
    switch (type) {
      case frontend.parse:
        return this.#parse(bytes);
      case frontend.bind:
        return this.#bind(bytes);
      case frontend.describe:
        return this.#describe(bytes);
      case frontend.execute:
        return this.#execute(bytes);
      default:
        return this.#close(bytes);
    }
  }

  #parse(bytes: Uint8Array): ErrorText | undefined {
    const nameEnd = cstringEnd(bytes, 5, bytes.length);
    const textEnd = cstringEnd(bytes, nameEnd + 1, bytes.length);
    if (textEnd + 3 > bytes.length) return malformed;
    const types = (bytes[textEnd + 1]! << 8) | bytes[textEnd + 2]!;
    if (textEnd + 3 + types * 4 !== bytes.length) return malformed;
    const name = cstringAt(bytes, 5, bytes.length);
    if (name !== '' && this.#statements.has(name))
      return failure('42P05', `prepared statement "${name}" already exists`);
    const parsed = parseConsoleText(cstringAt(bytes, nameEnd + 1, bytes.length));
    if (parsed.kind === 'error') return parsed.error;
    const full = tooMuch(this.#statements, name);
    if (full !== undefined) return full;
    this.#statements.set(name, parsed);
    this.#tell(parseComplete);
    return undefined;
  }

  #bind(bytes: Uint8Array): ErrorText | undefined {
    const bind = readBind(bytes);
    if (bind === undefined) return malformed;
    const command = this.#statements.get(bind.statement);
    if (command === undefined) return noStatement(bind.statement);
    if (bind.portal !== '' && this.#portals.has(bind.portal))
      return failure('42P03', `cursor "${bind.portal}" already exists`);
    const columns = command.kind === 'show' ? columnsOf(command.what).length : 0;
    const error = bindError(bind, columns) ?? tooMuch(this.#portals, bind.portal);
    if (error !== undefined) return error;
    const formats = Array.from({ length: columns }, (_, index) => formatOf(bind.formats, index));
    this.#portals.set(bind.portal, { command, formats, table: undefined, next: 0 });
    this.#tell(bindComplete);
    return undefined;
  }

  #describe(bytes: Uint8Array): ErrorText | undefined {
    const name = onlyText(bytes, 6);
    if (name === undefined) return malformed;
    const isPortal = bytes[5] === 0x50;
    if (!isPortal && bytes[5] !== 0x53) return malformed;
    const portal = isPortal ? this.#portals.get(name) : undefined;
    const command = isPortal ? portal?.command : this.#statements.get(name);
    if (command === undefined) return isPortal ? noPortal(name) : noStatement(name);
    if (!isPortal) this.#tell(noParameters);
    if (command.kind !== 'show') this.#tell(noData);
    else this.#tell(rowDescription(columnsOf(command.what), portal?.formats ?? []));
    return undefined;
  }

  #execute(bytes: Uint8Array): ErrorText | undefined {
    const nameEnd = cstringEnd(bytes, 5, bytes.length);
    if (nameEnd + 5 !== bytes.length) return malformed;
    const name = cstringAt(bytes, 5, bytes.length);
    const portal = this.#portals.get(name);
    if (portal === undefined) return noPortal(name);
    const error = this.#refusal(portal.command);
    if (error !== undefined) return error;
    const at = nameEnd + 1;
    const most = (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
    this.#run(portal, most, false);
    return undefined;
  }

  #close(bytes: Uint8Array): ErrorText | undefined {
    const name = onlyText(bytes, 6);
    if (name === undefined) return malformed;
    if (bytes[5] === 0x50) this.#portals.delete(name);
    else if (bytes[5] === 0x53) this.#statements.delete(name);
    else return malformed;
    this.#tell(closeComplete);
    return undefined;
  }

  /** `most`: rows, 0 for all. */
  #run(portal: Portal, most: number, simple: boolean): void {
    const { command } = portal;
    switch (command.kind) {
      case 'empty':
        return this.#tell(emptyQuery);
      case 'show':
        portal.table ??= tableOf(command.what, this.#ports.facts);
        return this.#rows(portal, portal.table, most);
      case 'begin':
      case 'commit':
      case 'rollback':
        return this.#transaction(command.kind);
      case 'deallocate':
        if (command.name === undefined) this.#statements.clear();
        else this.#statements.delete(command.name);
        return this.#tell(commandComplete(command.tag));
      case 'set':
        return this.#tell(commandComplete(command.tag));
      default:
        this.#acting = { tag: tags[command.kind], simple };
        this.#ports.act(command);
    }
  }

  #rows(portal: Portal, table: Table, most: number): void {
    const writer = new MessageWriter(4096);
    const last = most > 0 ? Math.min(table.rows.length, portal.next + most) : table.rows.length;
    for (; portal.next < last; portal.next++) addDataRow(writer, table, portal.next, portal.formats);
    if (writer.size > 0) this.#tell(writer.take());
    if (most > 0 && portal.next === last && last < table.rows.length) return this.#tell(portalSuspended);
    this.#tell(commandComplete('SHOW'));
  }

  #transaction(kind: 'begin' | 'commit' | 'rollback'): void {
    const failed = this.#status === status.failed;
    this.#status = kind === 'begin' ? status.inBlock : status.idle;
    if (kind === 'begin') return this.#tell(commandComplete('BEGIN'));
    this.#tell(commandComplete(kind === 'commit' && !failed ? 'COMMIT' : 'ROLLBACK'));
  }
}

function isAction(command: ConsoleCommand): command is ConsoleAction {
  return Object.hasOwn(tags, command.kind);
}

function isCopy(type: number): boolean {
  return type === frontend.copyData || type === frontend.copyDone || type === frontend.copyFail;
}

function isGrouped(type: number): boolean {
  const { parse, bind, describe, execute, close } = frontend;
  return type === parse || type === bind || type === describe || type === execute || type === close;
}

/** The text at `at`, when the message ends with it. */
function onlyText(bytes: Uint8Array, at: number): string | undefined {
  return cstringEnd(bytes, at, bytes.length) === bytes.length - 1
    ? cstringAt(bytes, at, bytes.length)
    : undefined;
}
