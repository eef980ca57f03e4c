/**
 * The short way of the commonest unit: one chunk that is exactly Bind (of a named statement that is a read),
 * Describe (if any), Execute, Sync, outside of a transaction; and its answer, when that is one chunk with
 * rows and nothing else. Both go on as the bytes that they are, without a task, an intake or a registry
 * entry.
 *
 * Rules: it changes speed, never meaning. Whatever is not exactly that takes the long way (group-task.ts),
 * also the answer alone: an error, a notice or an answer in pieces is relayed as that of any unit, and a
 * read that turns out to write (25006) is run again in a block. The obstacle is asked before the statement,
 * the lease before the first byte of its result (invariant 9).
 */
import { backend, frontend, status } from '../wire/codes.ts';
import { int32At } from '../wire/messages.ts';
import { wholeUnit } from './group-task.ts';
import { settled } from './server-reply.ts';
import type { ClientMessage, Segment } from './intake.ts';
import { newReply } from './reply.ts';
import type { Reply } from './reply.ts';
import type { SessionMachine, Task } from './session.ts';
import { endOutside } from './unit.ts';

const headerBytes = 5;
/** 'P' in Describe. */
const portalKind = 0x50;
const selectTag = [0x53, 0x45, 0x4c, 0x45, 0x43, 0x54, 0x20]; // "SELECT "

function endOf(buffer: Uint8Array, at: number): number {
  const length = int32At(buffer, at + 1);
  return length < 4 ? -1 : at + 1 + length;
}

/** The name of the statement that the chunk binds to the unnamed portal, when the chunk is such a unit. */
function plainReadName(buffer: Uint8Array): string | undefined {
  const size = buffer.length;
  // Bind, the unnamed portal, a name.
  if (size < 20 || buffer[0] !== frontend.bind || buffer[5] !== 0 || buffer[6] === 0) return undefined;
  let at = endOf(buffer, 0);
  if (at < 0 || at > size - 15) return undefined;
  if (buffer[at] === frontend.describe) {
    // Describe of the unnamed portal is seven bytes long.
    if (buffer[at + 5] !== portalKind || endOf(buffer, at) !== at + 7 || buffer[at + 6] !== 0)
      return undefined;
    at += 7;
  }
  // Execute of the unnamed portal is ten bytes long, and Sync five.
  if (buffer[at] !== frontend.execute || endOf(buffer, at) !== at + 10 || buffer[at + 5] !== 0)
    return undefined;
  at += 10;
  if (buffer[at] !== frontend.sync || endOf(buffer, at) !== size || at + headerBytes !== size)
    return undefined;
  let name = '';
  for (let index = 6; buffer[index] !== 0; index++) {
    const byte = buffer[index];
    if (byte === undefined || byte > 0x7f) return undefined;
    name += String.fromCharCode(byte);
  }
  return name;
}

/** True when the chunk is the whole answer to such a unit, and a good one. */
function isPlainAnswer(buffer: Uint8Array): boolean {
  const size = buffer.length;
  let at = 0;
  let completed = false;
  while (at + headerBytes <= size) {
    const end = endOf(buffer, at);
    if (end < 0 || end > size) return false;
    switch (buffer[at]) {
      case backend.bindComplete:
      case backend.rowDescription:
      case backend.noData:
      case backend.dataRow:
        break;
      case backend.commandComplete:
        for (const [index, byte] of selectTag.entries()) if (buffer[at + 5 + index] !== byte) return false;
        completed = true;
        break;
      case backend.readyForQuery:
        return completed && end === size && buffer[at + 5] === status.idle;
      default:
        return false;
    }
    at = end;
  }
  return false;
}

/** True when the chunk was one whole plain read: it is on its way. No part of a message came before it. */
export function sendPlainRead(session: SessionMachine, chunk: Uint8Array): boolean {
  if (!session.mayShorten || session.ports.paused()) return false;
  const name = plainReadName(chunk);
  if (name === undefined || session.registry.statement(name)?.class.kind !== 'read') return false;
  if (session.ports.obstacle(false) !== undefined) return false;
  session.statistics.begun(true);
  session.beginPlainRead(new PlainRead(session, chunk));
  session.ports.toServer(chunk, 0, chunk.length);
  return true;
}

/** True when the chunk was the whole answer to it. No part of a message came before it. */
export function relayPlainAnswer(session: SessionMachine, chunk: Uint8Array): boolean {
  if (session.plainRead?.isAnsweredBy(chunk) !== true || !session.ports.hasLease()) return false;
  session.ports.toClient(chunk, 0, chunk.length);
  session.ports.tally.reads++;
  session.plainReadAnswered();
  return true;
}

/** The task of such a unit: nothing to do as long as its answer comes whole. */
export class PlainRead {
  readonly reply: Reply = newReply('client', false);
  readonly #session: SessionMachine;
  readonly #chunk: Uint8Array;
  #longWay: Task | undefined;

  constructor(session: SessionMachine, chunk: Uint8Array) {
    this.#session = session;
    this.#chunk = chunk;
  }

  next(): { readonly done?: boolean } {
    this.#longWay ??= this.#tail();
    return this.#longWay.next();
  }

  isAnsweredBy(chunk: Uint8Array): boolean {
    return this.reply.told === 0 && this.reply.error === undefined && isPlainAnswer(chunk);
  }

  /** As runPassing goes on behind its sending. */
  *#tail(): Task {
    const session = this.#session;
    yield* settled(session, this.reply);
    yield* endOutside(session, this.reply, wholeUnit(session, segmentOf(this.#chunk)));
  }
}

function segmentOf(chunk: Uint8Array): Segment {
  const messages: ClientMessage[] = [];
  for (let at = 0; ;) {
    const end = endOf(chunk, at);
    const message = { type: chunk[at]!, bytes: chunk.subarray(at, end) };
    if (message.type === frontend.sync) return { messages, end: 'sync', last: message };
    messages.push(message);
    at = end;
  }
}
