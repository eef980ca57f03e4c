/**
 * One command that runs node by node, as long as a client of this gateway waits for it: what ends it before
 * its time, and what its client is told then.
 * Rule: what ends it is told once, the first reason counts; a limit of the client's is one for the command as
 * a whole, not for each node.
 */
import { durationUnits, quantity } from '../config/fields.ts';
import type { NodeId } from '../core/identity.ts';
import type { ErrorText } from '../core/wire/messages.ts';
import { errorText } from '../io/postgres/command-runner.ts';
import type { EverywhereTask } from './everywhere-hands.ts';
import { RequestError } from './request-desk.ts';

const cancelledText: ErrorText = {
  severity: 'ERROR',
  sqlstate: '57014',
  message: 'canceling statement due to user request',
};

const timedOutText: ErrorText = {
  severity: 'ERROR',
  sqlstate: '57014',
  message: 'canceling statement due to statement timeout',
};

export const takenBack: ErrorText = {
  severity: 'ERROR',
  sqlstate: '40001',
  message: '[multimaster] this node was away for a while, and the others have taken the command back',
  hint: 'Repeat the command.',
};

export class EverywhereJob {
  readonly task: EverywhereTask;
  /** The first error at another node. */
  failure: ErrorText | undefined;
  /** A REINDEX that failed may have left an invalid index somewhere. */
  unclean = false;
  /** What it has left is being cleaned up. */
  settling = false;
  readonly #stop = new AbortController();
  readonly #timer: NodeJS.Timeout | undefined;

  /** `expired`: its statement_timeout is over; `ended` is to follow. */
  constructor(task: EverywhereTask, expired: () => void) {
    this.task = task;
    const limitMs = durationMs(task.frame.settings['statement_timeout']);
    if (limitMs > 0)
      this.#timer = setTimeout(() => {
        this.stop(timedOutText);
        expired();
      }, limitMs);
  }

  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** Why it was stopped; undefined: it was not. */
  get stopped(): ErrorText | undefined {
    return this.signal.aborted ? (this.signal.reason as ErrorText) : undefined;
  }

  stop(reason: ErrorText = cancelledText): void {
    this.#stop.abort(reason);
  }

  /** Runs `work` no longer than the client's lock_timeout; what then is said is asked of `inTheWay`. */
  async waiting(work: () => Promise<void>, inTheWay: () => Promise<string | undefined>): Promise<void> {
    const limitMs = durationMs(this.task.frame.settings['lock_timeout']);
    let late = false;
    const timer = setTimeout(
      () => {
        late = true;
        this.stop();
      },
      limitMs > 0 ? limitMs : longestMs,
    );
    try {
      await work();
    } finally {
      clearTimeout(timer);
    }
    if (late) throw lockTimedOut(this.task, await inTheWay());
    if (this.stopped !== undefined) throw new RequestError(this.stopped.sqlstate, this.stopped.message);
  }

  /** Nobody waits for it any more. */
  ended(): void {
    clearTimeout(this.#timer);
  }

  /** At another node. The first failure is the reason; that the others were halted is not. */
  fails(error: ErrorText, node: NodeId): void {
    this.failure ??= this.stopped ?? withHint({ ...error, severity: 'ERROR' }, `It failed on node ${node}.`);
  }

  /** The error that its client gets: with what becomes of what it had begun. */
  told(error: ErrorText): ErrorText {
    if (this.task.what === 'reindex') return this.unclean ? withHint(error, leftIndexes) : error;
    if (this.settling) return withHint(error, settledLater);
    return error === this.failure ? withHint(error, settledNow) : error;
  }
}

const settledNow = 'What was done on other nodes is taken back or carried through.';
const settledLater = 'What was begun is taken back or carried through as soon as nothing is in the way.';
const leftIndexes =
  'Invalid indexes that it may have left (named …_ccnew or …_ccold) are dropped on each node as soon as ' +
  'nothing is in the way.';

/** As long as a timer can be, ms. */
const longestMs = 2 ** 31 - 1;

const unitsMs = { ...durationUnits, d: 86_400_000 };

/** As PostgreSQL shows a timeout, `5s` or `0`. */
function durationMs(shown: string | undefined): number {
  return Math.min(quantity(shown ?? '', unitsMs) ?? 0, longestMs);
}

function lockTimedOut({ frame }: EverywhereTask, other: string | undefined): RequestError {
  const holder = other === undefined ? '' : `: ${other}`;
  return new RequestError(
    '55P03',
    `[multimaster] ${frame.subject ?? 'what the command works on'} was not free within lock_timeout${holder}`,
    'mtm.ddl_activity() shows who works on what; mtm.release_ddl() ends it.',
  );
}

function withHint(error: ErrorText, hint: string): ErrorText {
  return { ...error, hint: error.hint === undefined ? hint : `${error.hint} ${hint}` };
}

export function told(error: unknown): ErrorText {
  if (!(error instanceof RequestError)) return errorText(error);
  const { sqlstate, message, hint } = error;
  return { severity: 'ERROR', sqlstate, message, hint };
}
