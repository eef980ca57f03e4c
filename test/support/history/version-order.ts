/**
 * From the reads of a history the order of the versions of each key: every append is unique, so a list tells its own
 * history, and the longest list of a key tells that of the key. On the way everything is found that needs no cycle.
 */
import type { AnomalyList } from './anomaly.ts';
import { operationText, type Operation } from './operation.ts';

/** Who has appended an element. */
export interface Writer {
  readonly operation: number;
  /** No later append to the same key in the transaction: others may see the list that ends here. */
  last: boolean;
}

export interface KeyRead {
  readonly operation: number;
  readonly key: number;
  readonly values: readonly number[];
  /** It shows only what others have written: the transaction itself has not appended to the key before. */
  readonly external: boolean;
}

export interface VersionOrder {
  readonly operations: readonly Operation[];
  /** key → element → its writer */
  readonly writers: ReadonlyMap<number, ReadonlyMap<number, Writer>>;
  /** key → its elements in order, as the longest list has them */
  readonly orders: ReadonlyMap<number, readonly number[]>;
  /** Only reads that fit the order of their key. */
  readonly reads: readonly KeyRead[];
  /** By operation: it took effect as far as anybody can tell (acknowledged, found out, or seen by others). */
  readonly effective: readonly boolean[];
}

/** The lists of all keys when everything is over; a key without a row is missing. */
export type FinalState = ReadonlyMap<number, readonly number[]>;

function indexWriters(operations: readonly Operation[]): Map<number, Map<number, Writer>> {
  const writers = new Map<number, Map<number, Writer>>();
  for (const [operation, { micro }] of operations.entries()) {
    const latest = new Map<number, Writer>();
    for (const step of micro) {
      if (step.kind === 'read') continue;
      let ofKey = writers.get(step.key);
      if (ofKey === undefined) writers.set(step.key, (ofKey = new Map<number, Writer>()));
      if (ofKey.has(step.value))
        throw new Error(`not a history: append(${step.key}, ${step.value}) is there twice`);
      const writer = { operation, last: true };
      const earlier = latest.get(step.key);
      if (earlier !== undefined) earlier.last = false;
      latest.set(step.key, writer);
      ofKey.set(step.value, writer);
    }
  }
  return writers;
}

/** Every read that shows versions: what a transaction reads of its own before it fails was never one. */
function versionReads(operations: readonly Operation[]): KeyRead[] {
  const reads: KeyRead[] = [];
  for (const [operation, { micro, outcome }] of operations.entries()) {
    const own = new Set<number>();
    for (const step of micro) {
      const external = !own.has(step.key);
      if (step.kind === 'append') own.add(step.key);
      else if (external || outcome === 'ok') {
        reads.push({ operation, key: step.key, values: step.values, external });
      }
    }
  }
  return reads;
}

interface Search {
  readonly operations: readonly Operation[];
  readonly writers: ReadonlyMap<number, ReadonlyMap<number, Writer>>;
  readonly seen: boolean[];
  readonly anomalies: AnomalyList;
}

const theEnd = -1;

function readerText(search: Search, reader: number): string {
  const operation = search.operations[reader];
  return operation === undefined ? 'at the end' : operationText(operation);
}

/** `reader`: an operation, or the end of the test. */
function lookAtElements(search: Search, key: number, values: readonly number[], reader: number): void {
  const { operations, writers, seen, anomalies } = search;
  const who = (): string => readerText(search, reader);
  const met = new Set<number>();
  for (const value of values) {
    if (met.has(value)) anomalies.add('duplicate-element', () => `${value} is twice in key ${key}: ${who()}`);
    met.add(value);
    const writer = writers.get(key)?.get(value);
    if (writer === undefined) {
      anomalies.add('unexpected-value', () => `nobody has appended ${value} to key ${key}: ${who()}`);
      continue;
    }
    if (writer.operation === reader) continue;
    seen[writer.operation] = true;
    const operation = operations[writer.operation] as Operation;
    if (operation.outcome === 'fail') {
      anomalies.add(
        'G1a',
        () => `${value} in key ${key} was refused: ${operationText(operation)}\n  ${who()}`,
      );
    } else if (operation.resolved === 'aborted') {
      anomalies.add(
        'wrong-outcome',
        () => `said to be aborted, and there: ${operationText(operation)}\n  ${who()}`,
      );
    }
  }
  const end = values.at(-1);
  const writer = end === undefined ? undefined : writers.get(key)?.get(end);
  if (writer === undefined || writer.last || writer.operation === reader) return;
  const text = operationText(operations[writer.operation] as Operation);
  anomalies.add('G1b', () => `key ${key} ends with ${end} in the middle of ${text}\n  ${who()}`);
}

function isBeginning(part: readonly number[], whole: readonly number[]): boolean {
  if (part.length > whole.length) return false;
  for (let index = 0; index < part.length; index++) if (part[index] !== whole[index]) return false;
  return true;
}

function longestLists(
  search: Search,
  reads: readonly KeyRead[],
  final: FinalState | undefined,
): Map<number, readonly number[]> {
  const orders = new Map<number, readonly number[]>();
  const prolong = (key: number, values: readonly number[]): void => {
    if (values.length > (orders.get(key)?.length ?? 0)) orders.set(key, values);
  };
  for (const { key, values } of reads) prolong(key, values);
  for (const [key, values] of final ?? []) {
    prolong(key, values);
    const order = orders.get(key) ?? [];
    if (isBeginning(values, order)) continue;
    search.anomalies.add(
      'incompatible-order',
      () => `key ${key} at the end: [${values.join(' ')}]; read: [${order.join(' ')}]`,
    );
  }
  return orders;
}

/** What must be there when everything is over, and what must not. */
function lookAtEnd(search: Search, orders: ReadonlyMap<number, readonly number[]>, final: FinalState): void {
  const { operations, anomalies, seen } = search;
  const there = new Map([...final].map(([key, values]) => [key, new Set(values)]));
  for (const [index, operation] of operations.entries()) {
    const appends = operation.micro.filter((step) => step.kind === 'append');
    const missing = appends.filter(({ key, value }) => there.get(key)?.has(value) !== true);
    if (missing.length === 0 || operation.outcome === 'fail') continue;
    const text = (): string =>
      `${missing.map(({ key, value }) => `${value} of key ${key}`).join(', ')}: ${operationText(operation)}`;
    if (operation.outcome === 'ok') anomalies.add('lost-append', text);
    else if (operation.resolved === 'committed') anomalies.add('wrong-outcome', text);
    else if (missing.length < appends.length) anomalies.add('half-committed', text);
    else if (seen[index] === true) anomalies.add('lost-append', text);
  }
  for (const [key, order] of orders) {
    const length = final.get(key)?.length ?? 0;
    if (length >= order.length) continue;
    anomalies.add(
      'lost-append',
      () => `key ${key} once had ${order.length} elements and has ${length} at the end`,
    );
  }
}

/** The order of versions, and every anomaly that a single list or the end shows. */
export function inferVersionOrder(
  operations: readonly Operation[],
  final: FinalState | undefined,
  anomalies: AnomalyList,
): VersionOrder {
  const writers = indexWriters(operations);
  const search: Search = { operations, writers, seen: operations.map(() => false), anomalies };
  const reads = versionReads(operations);
  for (const { operation, key, values } of reads) lookAtElements(search, key, values, operation);
  for (const [key, values] of final ?? []) lookAtElements(search, key, values, theEnd);
  const orders = longestLists(search, reads, final);
  const fitting = reads.filter(({ operation, key, values }) => {
    const order = orders.get(key) ?? [];
    if (isBeginning(values, order)) return true;
    const text = (): string => `key ${key}: [${order.join(' ')}]; but ${readerText(search, operation)}`;
    anomalies.add('incompatible-order', text);
    return false;
  });
  if (final !== undefined) lookAtEnd(search, orders, final);
  const effective = operations.map(
    ({ outcome, resolved }, index) =>
      outcome === 'ok' || resolved === 'committed' || search.seen[index] === true,
  );
  return { operations, writers, orders, reads: fitting, effective };
}
