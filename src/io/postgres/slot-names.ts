/**
 * Slots and origins belong to the whole server: their names are different for each database of a gateway.
 * Rule: the same on all nodes, for a new node's server begins as a copy of another one's.
 */

export interface NumberedDatabase {
  /** Which of the gateway's databases (config/databases.ts); 0, or left out, is the first one. */
  readonly number?: number | undefined;
}

export function numberSuffix({ number = 0 }: NumberedDatabase): string {
  return number === 0 ? '' : `_${number}`;
}

export interface SlotNames {
  /** By which the gateway learns of what is prepared. */
  readonly live: string;
  /** The history that a node which was away still needs, and the memory of outcomes. */
  readonly retained: string;
}

export function slotNames(database: NumberedDatabase): SlotNames {
  const suffix = numberSuffix(database);
  return { live: `mtm_live${suffix}`, retained: `mtm_retain${suffix}` };
}
