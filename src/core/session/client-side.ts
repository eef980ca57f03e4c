/**
 * The client's side of a session: what its messages begin, and what waits.
 * Rule: messages take effect in their order. During a COPY they are the server's business and go straight
 * through; otherwise they wait while a unit runs.
 */
import { frontend } from '../wire/codes.ts';
import { copyDataHead } from '../wire/messages.ts';
import { functionCallTask, groupTask } from './group-task.ts';
import { Intake, isExtended } from './intake.ts';
import type { ClientMessage, Segment } from './intake.ts';
import { planSimple } from './query-plan.ts';
import type { SessionMachine, Task } from './session.ts';

export class ClientSide {
  readonly #session: SessionMachine;
  readonly #intake: Intake;
  loggedIn = false;
  /** The client sends the data of a COPY. */
  copying = false;
  /** The task of an open group waits for its client. */
  groupWaits = false;
  /**
   * A string runs of which the client hears at its end, unless it is urgent or much: so PostgreSQL fills its
   * buffer, and a client that waits for a string cannot tell which of its statements waits.
   */
  gathers = false;
  urgent = false;
  #segment: Segment | undefined;
  #pumping = false;

  constructor(session: SessionMachine) {
    this.#session = session;
    this.#intake = new Intake(session.limits.inboxBytes);
  }

  get #busy(): boolean {
    return !this.loggedIn || this.#session.busy;
  }

  /** Logged in, and nothing of the client's waits or is half collected. */
  get quiet(): boolean {
    return (
      this.loggedIn && !this.copying && !this.groupWaits && !this.#intake.waiting && !this.#intake.collecting
    );
  }

  /** What was said so far may wait for the rest. Once: asked when there is something to send. */
  takeGathering(): boolean {
    const { urgent } = this;
    this.urgent = false;
    return this.gathers && !urgent;
  }

  /** Bytes of messages that wait for their turn or for the rest of their group. */
  get waitingBytes(): number {
    return this.#intake.bytes + this.#intake.groupBytes;
  }

  /** `partialBytes`: of a message that is still arriving. */
  wantsPause(partialBytes: number): boolean {
    return !this.copying && this.#busy && this.#intake.bytes + partialBytes > this.#session.limits.inboxBytes;
  }

  /** Copy data need not be collected: they go straight through, or nobody wants them. */
  get streamsCopyData(): boolean {
    return this.copying || (!this.#busy && !this.#intake.collecting);
  }

  get leaving(): boolean {
    return this.#intake.leaving;
  }

  message(type: number, buffer: Uint8Array, start: number, end: number): void {
    const session = this.#session;
    if (session.ended) return;
    if (this.copying) return this.#copyMessage(type, buffer, start, end);
    if (!this.loggedIn && type === frontend.password) return session.ports.toServer(buffer, start, end);
    if (!this.loggedIn && type === frontend.terminate) return session.end();
    const message = { type, bytes: buffer.subarray(start, end) };
    if (this.#busy || this.#intake.waiting) this.#intake.put(message);
    else this.#accept(message);
  }

  /**
   * A part of a CopyData message. Each part goes on as a message of its own: the server never waits for the
   * rest of one.
   */
  part(buffer: Uint8Array, start: number, end: number, first: boolean): void {
    const session = this.#session;
    if (!this.copying || session.ended) return;
    const from = first ? start + 5 : start;
    if (from >= end) return;
    session.toServer(copyDataHead(end - from));
    session.ports.toServer(buffer, from, end);
  }

  /** The server waits for an answer to its request for authentication, and takes what comes next for one. */
  challenged(): void {
    if (!this.#intake.waiting) return;
    const { bytes } = this.#intake.take();
    this.#session.toServer(bytes);
  }

  login(): void {
    this.loggedIn = true;
    this.pump();
  }

  /** What waited has its turn. */
  pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    while (this.#intake.waiting && !this.#session.ended) {
      if (this.copying) {
        const { type, bytes } = this.#intake.take();
        this.#copyMessage(type, bytes, 0, bytes.length);
      } else if (this.#busy) {
        break;
      } else {
        this.#accept(this.#intake.take());
      }
    }
    this.#pumping = false;
  }

  #accept(message: ClientMessage): void {
    const intake = this.#intake;
    const { type } = message;
    if (isExtended(type)) {
      const full = intake.collect(message);
      if (full !== undefined) this.#give(full);
      return;
    }
    const collecting = this.groupWaits || intake.collecting;
    switch (type) {
      case frontend.sync:
        return this.#give(intake.cut('sync', message));
      case frontend.flush:
        // One with a body is an error of the server's, and what follows is skipped up to a Sync.
        if (collecting || message.bytes.length > 5) this.#give(intake.cut('flush', message));
        return;
      case frontend.query:
        if (collecting) return this.#give(intake.cut('query', message));
        return this.#begin(planSimple(this.#session, message));
      case frontend.functionCall:
        if (collecting) return this.#give(intake.cut('query', message));
        return this.#begin(functionCallTask(this.#session, message.bytes));
      case frontend.copyData:
      case frontend.copyDone:
      case frontend.copyFail:
        if (intake.collecting) return this.#runBefore(message);
        return; // the rest of a COPY that has failed: the server ignores it too
      case frontend.terminate:
        return this.#session.end();
      default:
        this.#session.fatal('08P01', `invalid frontend message type ${type}`);
    }
  }

  #begin(unit: Task): void {
    const session = this.#session;
    session.statistics.begun(session.block === undefined);
    session.start(unit);
  }

  // ---- groups

  /** Copy data right behind an Execute: whether anybody wants them is known when that has run. */
  #runBefore(message: ClientMessage): void {
    this.#intake.putBack([message]);
    this.#give(this.#intake.cut('part', undefined));
  }

  #give(segment: Segment): void {
    const session = this.#session;
    if (!session.groupIsOpen) return this.#begin(groupTask(session, segment));
    this.#segment = segment;
    session.resume();
  }

  /** What the client sent next to its open group. While there is nothing, the group waits for it. */
  takeSegment(): Segment | undefined {
    const segment = this.#segment;
    this.#segment = undefined;
    this.groupWaits = segment === undefined;
    return segment;
  }

  /** The task of the group does not wait for its client. */
  groupWorks(): void {
    this.groupWaits = false;
  }

  giveBack(messages: readonly ClientMessage[]): void {
    this.#intake.putBack(messages);
  }

  // ---- COPY

  #copyMessage(type: number, buffer: Uint8Array, start: number, end: number): void {
    if (type === frontend.terminate) return this.#session.end();
    if (type === frontend.sync || type === frontend.flush) return; // ignored by the server too
    this.#session.ports.toServer(buffer, start, end);
    // CopyDone, CopyFail, or what the server will call unexpected.
    if (type !== frontend.copyData) this.copyEnded();
  }

  copyBegan(): void {
    this.copying = true;
    this.urgent = true;
    this.#session.resume();
  }

  copyEnded(): void {
    if (!this.copying) return;
    this.copying = false;
    this.#session.resume();
  }
}
