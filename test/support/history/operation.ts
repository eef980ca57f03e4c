/**
 * What a client did and what it was told: one record for each transaction of the list-append workload.
 * Rule: times are of one monotonic clock, taken before the first byte is sent and after the last answer has come. A
 * record never says more than the client knows: what nobody has answered is `info`, not `fail`.
 */

/** The isolation level that the transaction asked for. */
export type Level = 'read committed' | 'repeatable read';

export type MicroOperation =
  | { readonly kind: 'append'; readonly key: number; readonly value: number }
  /** The whole list; without elements when the key has no row. */
  | { readonly kind: 'read'; readonly key: number; readonly values: readonly number[] };

/**
 * ok: the commit was acknowledged. fail: it certainly has no effect. info: nobody has said (the connection was lost while
 * COMMIT was under way, or SQLSTATE 08007).
 */
export type Outcome = 'ok' | 'fail' | 'info';

export interface Operation {
  /** A client that has got an `info` ends, and its successor has another number. */
  readonly process: number;
  /** Whose gateway it talked to: 1, 2, 3 … */
  readonly node: number;
  readonly level: Level;
  readonly invokedMs: number;
  readonly endedMs: number;
  readonly outcome: Outcome;
  /** In order. Appends: all that were sent. Reads: those that were answered. */
  readonly micro: readonly MicroOperation[];
  /** The gid from DETAIL of an 08007, and what mtm.transaction_outcome has said of it since. */
  readonly gid?: string | undefined;
  readonly resolved?: 'committed' | 'aborted' | undefined;
}

function microText(micro: MicroOperation): string {
  if (micro.kind === 'append') return `append(${micro.key}, ${micro.value})`;
  const { values } = micro;
  const shown = values.length > 8 ? ['…', ...values.slice(-8)] : values;
  return `read(${micro.key}) = [${shown.join(' ')}]`;
}

/** One line for a person: who, where, when, what. */
export function operationText(operation: Operation): string {
  const { process, node, level, outcome, invokedMs, endedMs, resolved } = operation;
  const how = resolved === undefined ? outcome : `${outcome}, ${resolved}`;
  const time = `${invokedMs.toFixed(1)}–${endedMs.toFixed(1)} ms`;
  const what = operation.micro.map(microText).join(', ');
  return `process ${process} on node ${node} (${level}, ${how}, ${time}): ${what}`;
}
