/**
 * Answers what functions in the server ask of the gateway (mtm.ask_gateway, sql/requests.sql).
 * Rule: a question that another gateway was asked, or that carries no proof of our function, is nobody's.
 * Each other one gets an answer or an error, but none once the gateway ends: the function sees that by
 * itself.
 */
import type { Logger } from 'pino';
import { isSqlstate } from '../lib/sqlstate.ts';
import { keyProof } from './header-proof.ts';

/** What the asker gets instead of an answer: one sentence with its SQLSTATE. */
export class RequestError extends Error {
  readonly sqlstate: string;
  readonly hint: string | undefined;

  constructor(sqlstate: string, message: string, hint?: string) {
    super(message);
    this.sqlstate = sqlstate;
    this.hint = hint;
  }

  /** What goes over the wire, or into the table, of any error. */
  static fields(error: unknown): { sqlstate: string; message: string; hint?: string } {
    const { sqlstate, code, message, hint } = error as Record<string, unknown>;
    const known = [sqlstate, code].find(isSqlstate);
    return {
      sqlstate: known ?? 'XX000',
      message: String(message),
      ...(typeof hint === 'string' ? { hint } : {}),
    };
  }

  /** The other way round; `otherwise` when these are no such fields. */
  static of(fields: unknown, otherwise: string): RequestError {
    const { sqlstate, message, hint } = (fields ?? {}) as Record<string, unknown>;
    if (typeof sqlstate !== 'string' || typeof message !== 'string')
      return new RequestError('XX000', otherwise);
    return new RequestError(sqlstate, message, typeof hint === 'string' ? hint : undefined);
  }
}

/** Who asks. */
export interface Asker {
  readonly backendPid: number;
}

/** `args` is what the function in SQL gave: only our own call mtm.ask_gateway. */
export type RequestHandler = (args: unknown, asker: Asker) => Promise<object>;

export interface RequestDeskParts {
  readonly incarnation: number;
  readonly announceKey: Uint8Array;
  readonly log: Logger;
  /** Neither reply nor error: the question is taken. */
  note(id: string, reply: object | undefined, error: object | undefined): Promise<void>;
}

interface Request {
  readonly id: string;
  readonly incarnation: number;
  readonly verb: string;
  readonly args: unknown;
  readonly pid: number;
}

export class RequestDesk {
  readonly #parts: RequestDeskParts;
  readonly #handlers: Readonly<Record<string, RequestHandler>>;
  #stopped = false;

  constructor(parts: RequestDeskParts, handlers: Readonly<Record<string, RequestHandler>>) {
    this.#parts = parts;
    this.#handlers = handlers;
  }

  /** The content of a message `mtm-request`. */
  received(content: string): void {
    const request = readRequest(content, this.#parts.announceKey);
    if (request === 'forged') this.#parts.log.warn('a question to the gateway is not from its own function');
    else if (request.incarnation === this.#parts.incarnation && !this.#stopped) void this.#answer(request);
  }

  stop(): void {
    this.#stopped = true;
  }

  async #answer({ id, verb, args, pid }: Request): Promise<void> {
    void this.#note(id, undefined, undefined);
    try {
      const handler = Object.hasOwn(this.#handlers, verb) ? this.#handlers[verb] : undefined;
      if (handler === undefined)
        throw new RequestError('0A000', `[multimaster] this gateway does not know "${verb}"`);
      const reply = await handler(args, { backendPid: pid });
      await this.#note(id, reply, undefined);
    } catch (error) {
      if (!(error instanceof RequestError)) this.#parts.log.error({ err: error, verb }, 'a question failed');
      await this.#note(id, undefined, RequestError.fields(error));
    }
  }

  async #note(id: string, reply: object | undefined, error: object | undefined): Promise<void> {
    if (this.#stopped) return;
    try {
      await this.#parts.note(id, reply, error);
    } catch (failure) {
      // The connection reports its own end, which ends this gateway's part: the asker sees that.
      this.#parts.log.warn({ err: failure }, 'an answer could not be written');
    }
  }
}

/** Anybody who may write messages can have made it, so nothing in it is believed before its proof is. */
function readRequest(content: string, key: Uint8Array): Request | 'forged' {
  try {
    const { request, proof } = JSON.parse(content) as { readonly request: string; readonly proof: string };
    if (typeof request !== 'string' || proof !== keyProof(key, `request:${request}`)) return 'forged';
    return JSON.parse(request) as Request;
  } catch {
    return 'forged'; // not JSON
  }
}
