/** One record for each other node of the cluster. Rule: another node behind the same id is another record. */
import { assert } from '../../lib/assert.ts';
import type { NodeId } from '../identity.ts';
import { nodesOf, sinceOf } from './configuration.ts';
import { PeerRecord } from './peer-record.ts';
import type { Configuration } from './record.ts';

export class PeerRecords {
  readonly #self: NodeId;
  readonly #records = new Map<NodeId, PeerRecord>();

  constructor(self: NodeId, configuration: Configuration) {
    this.#self = self;
    this.configure(configuration);
  }

  /** The nodes of the cluster are these from now on; returned is whom that has made unknown. */
  configure(configuration: Configuration): NodeId[] {
    const others = nodesOf(configuration).filter((node) => node !== this.#self);
    const gone = [...this.#records.values()]
      .filter(({ node, since }) => !others.includes(node) || sinceOf(configuration, node) !== since)
      .map(({ node }) => node);
    for (const node of gone) this.#records.delete(node);
    for (const node of others) {
      if (!this.has(node)) this.#records.set(node, new PeerRecord(node, sinceOf(configuration, node)));
    }
    return gone;
  }

  has(node: NodeId): boolean {
    return this.#records.has(node);
  }

  of(node: NodeId): PeerRecord {
    const record = this.#records.get(node);
    assert(record !== undefined, `node ${node} is not in the cluster`);
    return record;
  }

  get size(): number {
    return this.#records.size;
  }

  get nodes(): NodeId[] {
    return [...this.#records.keys()];
  }

  [Symbol.iterator](): IterableIterator<PeerRecord> {
    return this.#records.values();
  }
}
