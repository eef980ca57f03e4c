/**
 * How a run is told to a person.
 */
import type { NodeEffect, NodeEvent } from '../../src/core/node/node-event.ts';

/** One event or effect in a few words. */
export function describe(item: NodeEvent | NodeEffect): string {
  return JSON.stringify(item, (key, value: unknown) => {
    if (value instanceof Uint8Array) return `${value.length} bytes`;
    if (key === 'refusal' && value !== undefined) return 'NO';
    return value;
  }).replaceAll('"', '');
}
