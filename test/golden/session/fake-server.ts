/**
 * A server that answers as PostgreSQL does, as far as a session must get it right: transaction states,
 * read-only transactions, the extended protocol with its skipping, COPY FROM STDIN, cancel. What a statement
 * does is told by its text: `rows N` gives N rows, `notice` a notice first, `notices N` so many, `late N` so
 * many at the PREPARE, `fail CODE` that error, `hang` waits until it is told to go on or cancelled, and so does
 * the next PREPARE TRANSACTION after `hangAtPrepare`.
 * `mixed` makes the transaction one that cannot be prepared, `deferred` one whose deferred triggers fail.
 */
import { backend, frontend } from '../../../src/core/wire/codes.ts';
import { FrameScanner } from '../../../src/core/wire/frame-scanner.ts';
import { MessageWriter } from '../../../src/core/wire/message-writer.ts';
import {
  commandComplete,
  cstringAt,
  errorResponse,
  parameterStatus,
} from '../../../src/core/wire/messages.ts';
import { readyForQuery } from '../../../src/core/wire/messages.ts';

type Status = 'I' | 'T' | 'E';

export class FakeServer {
  readonly #output: Uint8Array[] = [];
  readonly #input: { type: number; bytes: Uint8Array }[] = [];
  readonly #scanner: FrameScanner;
  readonly #statements = new Map<string, string>();
  readonly #portals = new Map<string, string>();
  #status: Status = 'I';
  #writable = false;
  #wrote = false;
  #savepoint = false;
  #skip = false;
  #hanging: { text: string; simple: boolean } | undefined;
  #copying: { simple: boolean } | undefined;
  #sensorOff = false;
  /** What follows in a string of two statements. */
  #rest: string | undefined;
  hangAtPrepare = false;
  /** The next COMMIT of a transaction that cannot be prepared fails. */
  refusesCommit = false;
  #mixed = false;
  #deferred = false;
  #late = 0;

  constructor() {
    this.#scanner = new FrameScanner({
      limit: () => 0x3fffffff,
      streams: () => false,
      message: (type, buffer, start, end) => this.#input.push({ type, bytes: buffer.slice(start, end) }),
      part: () => undefined,
    });
  }

  receive(bytes: Uint8Array): void {
    this.#scanner.push(bytes);
  }

  /** What it says next; undefined: it waits. */
  next(): Uint8Array | undefined {
    while (this.#output.length === 0 && this.#hanging === undefined) {
      const message = this.#input.shift();
      if (message === undefined) return undefined;
      this.#message(message.type, message.bytes);
    }
    return this.#output.shift();
  }

  goOn(): void {
    const hanging = this.#hanging;
    if (hanging === undefined) return;
    this.#hanging = undefined;
    this.#execute(hanging.text.replace('hang', ''), hanging.simple);
  }

  cancel(): void {
    const hanging = this.#hanging;
    if (hanging === undefined) return;
    this.#hanging = undefined;
    this.#fail('57014', 'canceling statement due to user request', hanging.simple);
  }

  say(bytes: Uint8Array): void {
    this.#output.push(bytes);
  }

  #message(type: number, bytes: Uint8Array): void {
    const text = (at: number) => cstringAt(bytes, at, bytes.length);
    if (this.#copying !== undefined) return this.#copyMessage(type, text(5));
    if (type === frontend.query) {
      if (this.#skip) return;
      this.#statements.delete('');
      this.#portals.delete('');
      return this.#execute(text(5), true);
    }
    if (type === frontend.sync) {
      this.#skip = false;
      return this.#ready();
    }
    if (this.#skip || type === frontend.flush) return;
    switch (type) {
      case frontend.parse:
        if (text(6 + text(5).length).startsWith('SELEC ')) return this.#fail('42601', 'syntax error', false);
        this.#statements.set(text(5), text(6 + text(5).length));
        return this.#empty(backend.parseComplete);
      case frontend.bind: {
        const statement = this.#statements.get(text(6 + text(5).length));
        if (statement === undefined) return this.#fail('26000', 'prepared statement does not exist', false);
        this.#portals.set(text(5), statement);
        return this.#empty(backend.bindComplete);
      }
      case frontend.describe:
        return this.#empty(backend.noData);
      case frontend.execute: {
        const portal = this.#portals.get(text(5));
        if (portal === undefined) return this.#fail('34000', 'portal does not exist', false);
        return this.#execute(portal, false);
      }
      case frontend.close:
        if (bytes[5] === 0x53) this.#statements.delete(text(6));
        else this.#portals.delete(text(6));
        return this.#empty(backend.closeComplete);
      default:
    }
  }

  #copyMessage(type: number, reason: string): void {
    const { simple } = this.#copying!;
    if (type === frontend.copyData || type === frontend.sync || type === frontend.flush) return;
    this.#copying = undefined;
    if (type === frontend.copyFail) return this.#fail('57014', `COPY from stdin failed: ${reason}`, simple);
    if (type !== frontend.copyDone) return this.#fail('08P01', 'unexpected message during COPY', simple);
    this.#complete('COPY 1', simple);
  }

  #execute(whole: string, simple: boolean): void {
    const [text = '', prepare] = whole.split(/; (?=PREPARE TRANSACTION)/);
    this.#rest = prepare;
    if (text.includes('hang')) {
      this.#hanging = { text, simple };
      return;
    }
    const word = /^\s*(\w+(?: (?:TO|TRANSACTION))?)/.exec(text)?.[1]?.toUpperCase() ?? '';
    if (word === 'PREPARE TRANSACTION' && this.hangAtPrepare) {
      this.hangAtPrepare = false;
      this.#hanging = { text, simple };
      return;
    }
    if (word === 'PREPARE TRANSACTION') {
      const tag = this.#status === 'T' ? word : 'ROLLBACK';
      for (; this.#late > 0; this.#late--) this.#notice('late');
      if (text.includes('fail')) return this.#fail('40001', 'could not serialize', simple);
      return this.#end(tag, simple);
    }
    if (word === 'COMMIT' && this.#mixed && this.refusesCommit) {
      this.refusesCommit = false;
      this.#status = 'I';
      this.#mixed = false;
      return this.#fail('22012', 'division by zero', simple);
    }
    if (word === 'ROLLBACK' || word === 'COMMIT') {
      if (this.#status === 'I') this.#notice(`no transaction`);
      const tag = this.#status === 'E' ? 'ROLLBACK' : word;
      if (!text.includes('AND CHAIN')) return this.#end(tag, simple);
      this.#status = 'T';
      return this.#complete(tag, simple);
    }
    if (word === 'ROLLBACK TO' && this.#savepoint) {
      this.#status = 'T';
      return this.#complete('ROLLBACK', simple);
    }
    if (this.#status === 'E') return this.#fail('25P02', 'current transaction is aborted', simple);
    if (word === 'ROLLBACK TO') return this.#fail('3B001', 'savepoint does not exist', simple);
    if (word === 'BEGIN' || word === 'START TRANSACTION') {
      this.#status = 'T';
      this.#writable = text.includes('READ WRITE');
      return this.#complete('BEGIN', simple);
    }
    this.#run(word, text, simple);
  }

  #run(word: string, text: string, simple: boolean): void {
    const notices = Number(/notices (\d+)/.exec(text)?.[1] ?? (text.includes('notice') ? 1 : 0));
    for (let count = 0; count < notices; count++) this.#notice('hear');
    this.#late += Number(/late (\d+)/.exec(text)?.[1] ?? 0);
    const error = /fail (\w{5})/.exec(text)?.[1];
    if (error !== undefined) return this.#fail(error, 'as told', simple);
    if (text.startsWith('SET CONSTRAINTS')) {
      if (this.#deferred) return this.#fail('23503', 'deferred', simple);
      return this.#complete('SET CONSTRAINTS', simple);
    }
    if (text.includes('mixed')) this.#mixed = true;
    if (text.includes('deferred')) this.#deferred = true;
    if (text.includes('CLIENT')) {
      if (text.includes('ROWS')) this.#wrote = true;
      this.#rows(['']);
      return this.#complete('SELECT 1', simple);
    }
    if (text.includes('FRAME')) {
      this.#rows([frameOf(text)]);
      return this.#complete('SELECT 1', simple);
    }
    if (text.includes('DECISION')) this.#wrote = true;
    if (text.includes('HEADER')) {
      const kind = this.#mixed ? 'mixed' : this.#wrote ? 'write' : 'empty';
      this.#rows([text.includes('OPEN HEADER') ? '4711' : kind]);
      return this.#complete('SELECT 1', simple);
    }
    if (/^(?:INSERT|UPDATE|DELETE|COPY)/.test(word) || text.includes('writes') || word === 'CALL') {
      if (!this.#writable) return this.#fail('25006', 'read-only transaction', simple);
      this.#wrote = true;
    }
    if (word === 'COPY') {
      this.#copying = { simple };
      return this.say(new MessageWriter().begin(backend.copyInResponse).byte(0).int16(0).end().take());
    }
    if (word === 'SAVEPOINT') this.#savepoint = true;
    const count = Number(/rows (\d+)/.exec(text)?.[1] ?? 0);
    if (count > 0) this.#rows(Array.from({ length: count }, (_, index) => `row ${index + 1}`));
    if (/(?<!multimaster\.)default_transaction_read_only = /.test(text))
      this.#setSensor(text.includes('= off'));
    if (/^CREATE/.test(word)) this.#wrote = true;
    const tags: Record<string, string> = { INSERT: 'INSERT 0 1', UPDATE: 'UPDATE 1', DELETE: 'DELETE 1' };
    this.#complete(tags[word] ?? (word === 'SELECT' ? `SELECT ${count}` : word), simple);
  }

  #setSensor(off: boolean): void {
    if (off !== this.#sensorOff)
      this.say(parameterStatus('default_transaction_read_only', off ? 'off' : 'on'));
    this.#sensorOff = off;
  }

  #rows(values: readonly string[]): void {
    this.say(new MessageWriter().begin(backend.rowDescription).int16(0).end().take());
    for (const value of values) {
      const row = new MessageWriter().begin(backend.dataRow).int16(1).int32(value.length).text(value);
      this.say(row.end().take());
    }
  }

  #notice(message: string): void {
    this.say(errorResponse({ severity: 'NOTICE', sqlstate: '00000', message }));
  }

  #end(tag: string, simple: boolean): void {
    this.#status = 'I';
    this.#writable = false;
    this.#wrote = false;
    this.#savepoint = false;
    this.#mixed = false;
    this.#deferred = false;
    this.#portals.clear();
    this.#complete(tag, simple);
  }

  #complete(tag: string, simple: boolean): void {
    this.say(commandComplete(tag));
    const rest = this.#rest;
    if (rest !== undefined) return this.#execute(rest, simple);
    if (simple) this.#ready();
  }

  #fail(sqlstate: string, message: string, simple: boolean): void {
    this.#status = this.#status === 'I' ? 'I' : 'E';
    this.#rest = undefined;
    this.say(errorResponse({ severity: 'ERROR', sqlstate, message }));
    if (simple) this.#ready();
    else this.#skip = true;
  }

  #ready(): void {
    if (this.#status === 'I') this.#portals.clear();
    this.say(readyForQuery(this.#status.charCodeAt(0)));
  }

  #empty(type: number): void {
    this.say(new MessageWriter().begin(type).end().take());
  }
}

/** What a command for all nodes names, by the name of its table. */
function frameOf(text: string): string {
  if (text.endsWith('temporary')) return '{"temporary": true}';
  if (text.endsWith('missing')) return '{"error": {"sqlstate": "42P01", "message": "does not exist"}}';
  if (text.endsWith('there'))
    return '{"notice": {"sqlstate": "42P07", "message": "already exists, skipping"}}';
  return '{"chosen": "t_a_idx"}';
}
