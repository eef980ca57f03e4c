/**
 * For tests: the gateway kills itself just before a named step of the protocol. MTM_FAIL_POINT is
 * `event:KIND` or `effect:KIND`, where KIND is that of a node event or effect, or for messages `message-
 * received/KIND` and `send/KIND`; or `branch:KIND`, or `repair:KIND`. With `#N` at the N-th time (1).
 * The kill is SIGKILL: nothing of the process gets to say goodbye.
 * Rule: without the variable there is nothing to be called.
 */
import type { NodeEffect, NodeEvent } from '../core/node/node-event.ts';

type Step = (
  side: 'event' | 'effect' | 'branch' | 'repair',
  step: NodeEvent | NodeEffect | { readonly kind: BranchStep | RepairStep },
) => void;

/**
 * A client's prepared transaction: the slot has shown it; it is about to be finished; its rows to be deleted.
 */
export type BranchStep = 'captured' | 'finishing' | 'forgetting';

/** Rows are written on all nodes, and whoever asked for it says commit; a node is about to commit its own. */
export type RepairStep = 'written' | 'committing';

export function branchStep(kind: BranchStep): void {
  failPoint?.('branch', { kind });
}

export function repairStep(kind: RepairStep): void {
  failPoint?.('repair', { kind });
}

export const failPoint: Step | undefined = makeFailPoint(process.env['MTM_FAIL_POINT']);

function makeFailPoint(text: string | undefined): Step | undefined {
  if (text === undefined || text === '') return undefined;
  const [name, times = '1'] = text.split('#');
  let left = Number(times);
  return (side, step) => {
    const kind = 'message' in step ? `${step.kind}/${step.message.kind}` : step.kind;
    if (`${side}:${kind}` !== name || --left > 0) return;
    process.kill(process.pid, 'SIGKILL');
    // The signal is delivered before the next step: nothing of it may happen.
    for (;;);
  };
}
