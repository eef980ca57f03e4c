/**
 * How a run is told to a person.
 */
import type { CommitEffect, CommitEvent } from '../../src/core/commit/event.ts';

/** One event or effect in a few words. */
export function describe(item: CommitEvent | CommitEffect): string {
  return JSON.stringify(item, (key, value: unknown) => {
    if (value instanceof Uint8Array) return `${value.length} bytes`;
    if (key === 'refusal' && value !== undefined) return 'NO';
    return value;
  }).replaceAll('"', '');
}
