/**
 * How the server's messages reach the client: at once, held until the outcome is known, or not at all.
 * Rules: bytes that nobody needs to read are never read; no result leaves without a lease at its first byte
 * (invariant 9); the order of what the client gets is the server's; what the client was told is counted, so
 * that a repeat tells it the rest only.
 */
import { backend } from '../wire/codes.ts';
import { commandComplete, copyFail, cstringAt, errorResponse, syncMessage } from '../wire/messages.ts';
import type { ErrorText } from '../wire/messages.ts';
import { translated } from './interruption.ts';
import { takeError } from './own-message.ts';
import { endsResult, isResult, noteTag } from './reply.ts';
import type { Reply } from './reply.ts';
import type { SessionMachine } from './session.ts';

const leaseLost: ErrorText = {
  severity: 'ERROR',
  sqlstate: '57P01',
  message:
    '[multimaster] node lost its lease while the statement ran: its result may be outdated and was dropped',
  hint: 'Repeat the statement, on another node if this one stays without quorum.',
};

const leaseLostError = errorResponse(leaseLost);

/** The nodes agree on a new generation: soon the same may be asked here again. */
const generationChangedError = errorResponse({
  severity: 'ERROR',
  sqlstate: '40001',
  message: '[multimaster] the generation changed while the statement ran: its result may be outdated',
  hint: 'Repeat the transaction.',
});

/** A new generation is on its way, so a result that was dropped is worth being asked for again. */
export function isPassing(session: SessionMachine): boolean {
  return session.ports.obstacle(false)?.passing === true;
}

/** What the client is told instead of a result that may be outdated. */
export function staleError(session: SessionMachine): Uint8Array {
  return isPassing(session) ? generationChangedError : leaseLostError;
}

/** One message, whole, of the reply to a unit of the client's. */
export function relay(
  session: SessionMachine,
  reply: Reply,
  type: number,
  buffer: Uint8Array,
  start: number,
  end: number,
): void {
  if (type === backend.errorResponse) return relayError(session, reply, buffer, start, end);
  if (reply.prefix > 0) {
    reply.prefix--;
    return;
  }
  const tag = endsResult(type) ? reply.tags[reply.ended++] : undefined;
  if (tag === undefined || type !== backend.commandComplete)
    return pass(session, reply, type, buffer, start, end);
  const shown = commandComplete(tag);
  pass(session, reply, type, shown, 0, shown.length);
}

function pass(
  session: SessionMachine,
  reply: Reply,
  type: number,
  buffer: Uint8Array,
  start: number,
  end: number,
): void {
  switch (type) {
    case backend.commandComplete:
      noteCompletion(session, reply, cstringAt(buffer, start + 5, end));
      break;
    case backend.parseComplete:
      session.registry.parseCompleted();
      session.registry.messageAnswered();
      break;
    case backend.closeComplete:
      session.registry.closeCompleted();
      session.registry.messageAnswered();
      break;
    case backend.bindComplete:
    case backend.noData:
    case backend.rowDescription:
    case backend.emptyQueryResponse:
    case backend.portalSuspended:
      session.registry.messageAnswered();
      break;
    case backend.copyInResponse:
      return relayCopyIn(session, reply, buffer, start, end);
  }
  if (reply.leaseDue && !reply.hold && isResult(type)) checkLease(session, reply);
  if (endsResult(type)) reply.leaseDue = true;
  if (reply.dropped) return;
  if (reply.skip > 0) {
    reply.skip--;
    reply.told++;
  } else if (reply.hold) {
    hold(session, reply, type, buffer.subarray(start, end));
  } else {
    reply.told++;
    if (!reply.seen && isResult(type)) reply.seen = true;
    session.ports.toClient(buffer, start, end);
  }
}

/** A part of a message that did not come whole: rows and copy data only. */
export function relayPart(
  session: SessionMachine,
  reply: Reply,
  buffer: Uint8Array,
  start: number,
  end: number,
  first: boolean,
): void {
  if (first) {
    if (reply.leaseDue && (!reply.hold || !reply.byCommit)) checkLease(session, reply);
    if (reply.dropped) return;
    release(session, reply);
    reply.seen = true;
    reply.told++;
  }
  if (!reply.dropped) session.ports.toClient(buffer, start, end);
}

/** Without a lease, nothing more of this reply goes out but an error. */
function checkLease(session: SessionMachine, reply: Reply): void {
  reply.leaseDue = false;
  if (reply.free || reply.dropped || session.ports.hasLease()) return;
  reply.dropped = true;
  reply.held = [];
  reply.error ??= staleError(session);
  if (reply.open) tellError(session, reply, reply.error);
}

function noteCompletion(session: SessionMachine, reply: Reply, tag: string): void {
  session.registry.messageAnswered();
  noteTag(reply, tag);
  if (tag === 'DISCARD ALL' || tag === 'DEALLOCATE ALL') session.registry.clear();
}

function hold(session: SessionMachine, reply: Reply, type: number, bytes: Uint8Array): void {
  keep(reply, bytes);
  if (reply.heldBytes <= session.limits.holdBytes) return;
  // A large result streams; the last completion alone waits for the outcome.
  const completion = type === backend.commandComplete ? reply.held.pop() : undefined;
  if (!reply.byCommit) checkLease(session, reply);
  if (reply.dropped) return;
  release(session, reply);
  if (completion !== undefined) hold(session, reply, type, completion);
}

function keep(reply: Reply, bytes: Uint8Array): void {
  reply.held.push(bytes);
  reply.heldBytes += bytes.length;
  if (isResult(bytes[0]!)) reply.holdsResult = true;
}

/** Tells the client what was held. */
export function release(session: SessionMachine, reply: Reply): void {
  const { held } = reply;
  if (held.length === 0) return;
  for (const bytes of held) {
    if (bytes[0] === backend.noticeResponse) reply.toldNotices++;
    else reply.told++;
    session.toClient(bytes);
  }
  if (reply.holdsResult) reply.seen = true;
  reply.held = [];
  reply.heldBytes = 0;
  reply.holdsResult = false;
}

/**
 * A notice goes out in its place among the results; one that an attempt before has shown does not come again.
 */
export function relayNotice(
  session: SessionMachine,
  reply: Reply | undefined,
  buffer: Uint8Array,
  start: number,
  end: number,
): void {
  if (reply?.kind === 'client') {
    if (reply.skipNotices > 0) {
      reply.skipNotices--;
      reply.toldNotices++;
      return;
    }
    if (reply.hold && reply.holdsResult) return keepNotice(session, reply, buffer.subarray(start, end));
    release(session, reply);
    reply.toldNotices++;
  } else if (reply !== undefined && session.holding !== undefined && session.holding.held.length > 0) {
    return keepFromTheEnd(session, session.holding, buffer.subarray(start, end));
  }
  session.client.urgent = true;
  session.ports.toClient(buffer, start, end);
}

/** Behind what is held. Too many are not kept, like a large result. */
function keepNotice(session: SessionMachine, reply: Reply, notice: Uint8Array): void {
  if (reply.dropped) return; // with the result behind which it stands
  keep(reply, notice);
  if (reply.heldBytes <= session.limits.holdBytes) return;
  if (!reply.byCommit) checkLease(session, reply);
  if (!reply.dropped) release(session, reply);
}

/**
 * From the end of the transaction (a deferred trigger): PostgreSQL tells it before the completion. Too many
 * stream, past what must wait for the outcome: the last completion, and without a lease all results. They
 * are not dropped for it: the votes may yet prove them fresh, and of what commits no error is told.
 */
function keepFromTheEnd(session: SessionMachine, reply: Reply, notice: Uint8Array): void {
  const { held } = reply;
  const beforeLast = reply.endsLate && held.at(-1)![0] === backend.commandComplete;
  held.splice(beforeLast ? held.length - 1 : held.length, 0, notice);
  reply.heldBytes += notice.length;
  if (reply.heldBytes <= session.limits.holdBytes) return;
  const mayGo = reply.byCommit || session.ports.hasLease();
  const waitsFrom = mayGo ? held.findLastIndex(([type]) => type === backend.commandComplete) : 0;
  const waits = (bytes: Uint8Array, index: number): boolean =>
    index >= waitsFrom && bytes[0] !== backend.noticeResponse;
  reply.held = held.filter((bytes, index) => !waits(bytes, index));
  release(session, reply);
  for (const bytes of held.filter(waits)) keep(reply, bytes);
}

/**
 * Never held: the client sends its data only now. They are gone then, so the statement cannot be repeated.
 */
function relayCopyIn(
  session: SessionMachine,
  reply: Reply,
  buffer: Uint8Array,
  start: number,
  end: number,
): void {
  reply.copies++;
  if (reply.synced) {
    // EXECUTE of what was prepared as COPY: nothing else begins one that was not seen coming.
    session.toServer(copyFail('in the extended protocol it is not run by EXECUTE'));
    session.toServer(syncMessage);
    return;
  }
  if (reply.dropped) {
    session.toServer(copyFail('the node lost its lease'));
    return;
  }
  release(session, reply);
  reply.seen = true;
  reply.told++;
  session.ports.toClient(buffer, start, end);
  session.client.copyBegan();
}

function relayError(
  session: SessionMachine,
  reply: Reply,
  buffer: Uint8Array,
  start: number,
  end: number,
): void {
  session.client.copyEnded();
  if (reply.error !== undefined) return; // after a loss of the lease; otherwise there is one error in a reply
  takeError(reply, buffer, start, end);
  // What was to be parsed again has failed, as everything does in a failed transaction.
  if (reply.prefix > 0) session.registry.unnamedDropped = true;
  reply.prefix = 0;
  reply.skip = 0;
  if (reply.open) tellError(session, reply, reply.error!);
}

/** The error of a reply, in its place behind what was held. */
export function tellError(session: SessionMachine, reply: Reply, error: Uint8Array): void {
  if (reply.errorTold) return;
  reply.errorTold = true;
  release(session, reply);
  session.toClient(translated(session, error));
  session.resume();
}
