/**
 * Histories as text, for tests: one operation a line,
 *   PROCESS rc|rr ok|fail|info|info-committed|info-aborted BEGIN-END: STEP STEP …
 * with steps `a1:5` (append 5 to key 1), `r1=5.7` (key 1 was read as 5 7), `r1=` (read as empty).
 */
import type { MicroOperation, Operation, Outcome } from '../../support/history/operation.ts';

function step(text: string): MicroOperation {
  const [, kind, key, rest = ''] = /^([ar])(\d+)[:=]([\d.]*)$/.exec(text) ?? [];
  if (kind === 'a') return { kind: 'append', key: Number(key), value: Number(rest) };
  if (kind !== 'r') throw new Error(`not a step: ${text}`);
  return { kind: 'read', key: Number(key), values: rest === '' ? [] : rest.split('.').map(Number) };
}

function operation(line: string): Operation {
  const parts = /^(\d+) (rc|rr) (ok|fail|info)(-committed|-aborted)? ([\d.]+)-([\d.]+): (.+)$/.exec(line);
  if (parts === null) throw new Error(`not an operation: ${line}`);
  const [, process, level, outcome, resolved, begin, end, steps = ''] = parts;
  return {
    process: Number(process),
    node: 1 + (Number(process) % 3),
    level: level === 'rc' ? 'read committed' : 'repeatable read',
    outcome: outcome as Outcome,
    resolved: resolved === undefined ? undefined : (resolved.slice(1) as 'committed' | 'aborted'),
    invokedMs: Number(begin),
    endedMs: Number(end),
    micro: steps.trim().split(/ +/).map(step),
  };
}

/** `#` begins a comment. */
export function historyFrom(text: string): Operation[] {
  return text
    .split('\n')
    .map((line) => line.replace(/#.*/, '').trim())
    .filter((line) => line !== '')
    .map(operation);
}

/** `1=5.7 2=` */
export function finalFrom(text: string): Map<number, readonly number[]> {
  const lists = text.split(' ').map((part) => step(`r${part}`));
  return new Map(lists.map((list) => [list.key, list.kind === 'read' ? list.values : []]));
}
