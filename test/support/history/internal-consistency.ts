/**
 * Does each transaction see its own writes, and is what it has seen still there when it looks again?
 * REPEATABLE READ: every read is the first one plus the own appends. READ COMMITTED: a later read may show more of others,
 * but it begins with the earlier one; and after the own append the row is locked, so nothing but own appends follows.
 */
import type { AnomalyList } from './anomaly.ts';
import { operationText, type Operation } from './operation.ts';

interface Seen {
  /** The list as the transaction knows it; undefined: only its end is known, from own appends. */
  base: readonly number[] | undefined;
  own: number[];
}

function endsWith(values: readonly number[], end: readonly number[]): boolean {
  const start = values.length - end.length;
  return start >= 0 && end.every((value, index) => values[start + index] === value);
}

function startsWith(values: readonly number[], start: readonly number[]): boolean {
  return values.length >= start.length && start.every((value, index) => values[index] === value);
}

function contradiction(
  operation: Operation,
  key: number,
  values: readonly number[],
  seen: Seen,
): string | undefined {
  if (!endsWith(values, seen.own)) return `key ${key} does not end with its own ${seen.own.join(' ')}`;
  if (seen.base === undefined) return undefined;
  const others = values.slice(0, values.length - seen.own.length);
  if (!startsWith(others, seen.base)) return `key ${key} no longer begins with what it has read before`;
  if (operation.level === 'repeatable read' && others.length > seen.base.length) {
    return `key ${key} changed under its snapshot`;
  }
  return undefined;
}

/** Also of transactions that failed later: what they were shown must fit together all the same. */
export function lookInside(operations: readonly Operation[], anomalies: AnomalyList): void {
  for (const operation of operations) {
    if (operation.micro.length < 2) continue;
    const known = new Map<number, Seen>();
    for (const step of operation.micro) {
      let seen = known.get(step.key);
      if (seen === undefined) known.set(step.key, (seen = { base: undefined, own: [] }));
      if (step.kind === 'append') {
        seen.own.push(step.value);
        continue;
      }
      const wrong = contradiction(operation, step.key, step.values, seen);
      if (wrong !== undefined) anomalies.add('internal', () => `${wrong}: ${operationText(operation)}`);
      seen.base = step.values.slice(0, step.values.length - seen.own.length);
    }
  }
}
