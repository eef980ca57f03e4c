/**
 * Questions between gateways: a verb, arguments and an answer as JSON.
 * Rule: a question is lost with its link, and with the process that asked: whoever asks gets an error then,
 * or when the time is up, and may ask again. What answers must bear to be asked twice.
 */
import type { NodeId } from '../core/identity.ts';
import { maxBodyBytes } from '../core/peer/frame.ts';
import type { PeerMessage } from '../core/peer/message.ts';
import { RequestError } from './request-desk.ts';

export type PeerQuestion = Extract<PeerMessage, { kind: 'request' | 'reply' }>;
export type Answerer = (args: unknown, from: NodeId) => Promise<unknown>;

export interface PeerQuestionsParts {
  /** Ids of questions are above those of former processes, whose answers may still come. */
  readonly incarnation: number;
  readonly answerers: Readonly<Record<string, Answerer>>;
  /** The link to the node is up. */
  linked(to: NodeId): boolean;
  send(to: NodeId, message: PeerQuestion): void;
}

interface Pending {
  readonly to: NodeId;
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

/** Questions of one process. */
const idsOfProcess = 2 ** 24;

export class PeerQuestions {
  readonly #parts: PeerQuestionsParts;
  readonly #pending = new Map<number, Pending>();
  #next: number;

  constructor(parts: PeerQuestionsParts) {
    this.#parts = parts;
    this.#next = parts.incarnation * idsOfProcess;
  }

  /** The answer; rejects with a RequestError when none came in time, or with what the answerer has thrown. */
  ask(to: NodeId, verb: string, args: unknown, timeoutMs: number): Promise<unknown> {
    const body = JSON.stringify(args ?? null);
    if (Buffer.byteLength(body) > maxBodyBytes) return Promise.reject(tooLong(`the question "${verb}"`));
    if (!this.#parts.linked(to)) return Promise.reject(unanswered(to, 'there is no link to it'));
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#end(id, `it gave no answer within ${timeoutMs} ms`), timeoutMs);
      this.#pending.set(id, { to, resolve, reject, timer });
      this.#parts.send(to, { kind: 'request', id, verb, body });
    });
  }

  received(from: NodeId, message: PeerQuestion): void {
    if (message.kind === 'request') return void this.#answer(from, message.id, message.verb, message.body);
    const pending = this.#pending.get(message.id);
    if (pending?.to !== from) return; // nobody waits for it any more
    this.#forget(message.id, pending);
    const body = parsed(message.body);
    if (message.ok) return pending.resolve(body);
    pending.reject(RequestError.of(body, `node ${from} could not answer`));
  }

  /** What was asked of the node is not answered. */
  linkDown(to: NodeId, reason: string): void {
    for (const [id, pending] of this.#pending) if (pending.to === to) this.#end(id, reason);
  }

  stop(): void {
    for (const id of [...this.#pending.keys()]) this.#end(id, 'this gateway ends');
  }

  #end(id: number, reason: string): void {
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    this.#forget(id, pending);
    pending.reject(unanswered(pending.to, reason));
  }

  #forget(id: number, { timer }: Pending): void {
    clearTimeout(timer);
    this.#pending.delete(id);
  }

  async #answer(to: NodeId, id: number, verb: string, body: string): Promise<void> {
    const { answerers } = this.#parts;
    let message: PeerQuestion;
    try {
      const answerer = Object.hasOwn(answerers, verb) ? answerers[verb] : undefined;
      if (answerer === undefined) throw new RequestError('0A000', `this gateway does not know "${verb}"`);
      const answer = JSON.stringify((await answerer(parsed(body), to)) ?? null);
      if (Buffer.byteLength(answer) > maxBodyBytes) throw tooLong(`the answer to "${verb}"`);
      message = { kind: 'reply', id, ok: true, body: answer };
    } catch (error) {
      message = { kind: 'reply', id, ok: false, body: JSON.stringify(RequestError.fields(error)) };
    }
    if (this.#parts.linked(to)) this.#parts.send(to, message);
  }
}

/** The JSON of a peer; undefined when it is none. */
function parsed(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined; // whoever reads it finds that it is not what it should be
  }
}

function tooLong(what: string): RequestError {
  return new RequestError('54000', `[multimaster] ${what} is longer than ${maxBodyBytes} bytes`);
}

function unanswered(node: NodeId, reason: string): RequestError {
  return new RequestError('57P03', `[multimaster] node ${node} could not be asked: ${reason}`);
}
