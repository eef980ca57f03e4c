/**
 * Runs COMMIT PREPARED and ROLLBACK PREPARED on a few connections of the superuser, which may finish
 * anybody's.
 *
 * Rule: every request is answered once. Requests that were sent on a connection that died are answered with
 * an error, because their effect is unknown; those that were not sent yet wait for the next connection.
 * Several connections let the server put several commits into one fsync; on one connection commands follow
 * each other.
 */
import type { Gid } from '../../core/identity.ts';
import { quoteLiteral } from '../../core/apply/quoting.ts';
import { backend } from '../../core/wire/codes.ts';
import { errorFields, query } from '../../core/wire/messages.ts';
import { noTimeouts } from './pinned-settings.ts';
import { RawConnection } from './raw-connection.ts';
import type { ServerLogin } from './raw-connection.ts';

export type FinishResult = 'done' | { readonly missing: true } | { readonly error: string };

export interface FinisherOptions {
  readonly login: ServerLogin;
  /** Default 4. */
  readonly connections?: number;
  /** Milliseconds until a lost connection is opened again; default 200. */
  readonly reconnectMs?: number;
}

interface Request {
  readonly gid: Gid;
  readonly outcome: 'commit' | 'rollback';
  readonly done: (result: FinishResult) => void;
}

interface Lane {
  readonly connection: RawConnection;
  readonly sent: Request[];
  failure: FinishResult | undefined;
}

/** Outstanding on one connection; more wait. */
const laneDepth = 8;
const settings = {
  ...noTimeouts,
  synchronous_commit: 'on',
  default_transaction_read_only: 'off',
  standard_conforming_strings: 'on',
};

export class Finisher {
  readonly #options: FinisherOptions;
  readonly #lanes = new Set<Lane>();
  readonly #waiting: Request[] = [];
  #opening = 0;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(options: FinisherOptions) {
    this.#options = options;
  }

  /** Requests that are not answered yet. */
  get busy(): number {
    let count = this.#waiting.length;
    for (const lane of this.#lanes) count += lane.sent.length;
    return count;
  }

  /**
   * Opens the connections, so that the first commit does not wait for them. Never rejects: a failure is tried
   * again.
   */
  async start(): Promise<void> {
    await this.#openLanes();
  }

  /** `missing`: no such prepared transaction here (42704), so it was finished before or never prepared. */
  finish(gid: Gid, outcome: 'commit' | 'rollback', done: (result: FinishResult) => void): void {
    if (this.#stopped) return done({ error: 'the finisher is stopped' });
    this.#waiting.push({ gid, outcome, done });
    this.#serve();
  }

  /** Closes all connections; what is outstanding is answered with an error. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    for (const lane of [...this.#lanes]) lane.connection.destroy();
    for (const request of this.#waiting.splice(0)) request.done({ error: 'the finisher is stopped' });
  }

  #serve(): void {
    while (this.#waiting.length > 0) {
      const lane = this.#leastBusy();
      if (lane === undefined) break;
      const request = this.#waiting.shift()!;
      lane.sent.push(request);
      const verb = request.outcome === 'commit' ? 'COMMIT' : 'ROLLBACK';
      lane.connection.send(query(`${verb} PREPARED ${quoteLiteral(request.gid)}`));
    }
    if (this.#lanes.size < this.#size() && this.#waiting.length > 0) void this.#openLanes();
  }

  #size(): number {
    return this.#options.connections ?? 4;
  }

  #leastBusy(): Lane | undefined {
    let best: Lane | undefined;
    for (const lane of this.#lanes) {
      if (best === undefined || lane.sent.length < best.sent.length) best = lane;
    }
    return best !== undefined && best.sent.length < laneDepth ? best : undefined;
  }

  async #openLanes(): Promise<void> {
    if (this.#opening > 0 || this.#stopped || this.#timer !== undefined) return;
    const wanted = this.#size() - this.#lanes.size;
    this.#opening = wanted;
    const opened = await Promise.all(Array.from({ length: wanted }, () => this.#openLane()));
    this.#opening = 0;
    if (opened.includes(false)) this.#retryLater();
    this.#serve();
  }

  #retryLater(): void {
    if (this.#stopped || this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.#openLanes();
    }, this.#options.reconnectMs ?? 200);
  }

  /** False when the server cannot be reached: tried again later, the requests wait. */
  async #openLane(): Promise<boolean> {
    let connection: RawConnection;
    try {
      connection = await RawConnection.open({
        login: this.#options.login,
        applicationName: 'mtm_control',
        settings,
      });
    } catch {
      return false;
    }
    if (this.#stopped) {
      connection.destroy();
      return true;
    }
    const lane: Lane = { connection, sent: [], failure: undefined };
    connection.handle({
      message: (type, buffer, start, end) => this.#message(lane, type, buffer, start, end),
      closed: (reason) => this.#closed(lane, reason),
    });
    if (connection.closed) return false;
    this.#lanes.add(lane);
    this.#serve();
    return true;
  }

  #message(lane: Lane, type: number, buffer: Uint8Array, start: number, end: number): void {
    if (type === backend.errorResponse) {
      const fields = errorFields(buffer, start, end);
      const error = `${fields.get('M') ?? ''} (${fields.get('C') ?? ''})`;
      lane.failure = fields.get('C') === '42704' ? { missing: true } : { error };
    } else if (type === backend.readyForQuery) {
      const request = lane.sent.shift();
      const result = lane.failure ?? 'done';
      lane.failure = undefined;
      request?.done(result);
      this.#serve();
    }
  }

  #closed(lane: Lane, reason: string): void {
    this.#lanes.delete(lane);
    for (const request of lane.sent.splice(0)) request.done({ error: `the connection was lost: ${reason}` });
    this.#retryLater();
  }
}
