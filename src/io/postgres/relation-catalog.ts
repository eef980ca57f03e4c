/**
 * What an apply connection remembers of the catalog: plans by the bytes of the origin's relation message.
 *
 * The facts themselves are read by a query inside the transaction that needs them (core/apply/facts.ts), so
 * it sees its own DDL; such plans are not stored. Rule: after a transaction with DDL has finished here, and
 * before anything that depends on it is applied, the owner calls `invalidate`; a plan is used only while its
 * epoch lasts.
 */
import type { PlanStore } from '../../core/apply/plan-store.ts';
import type { RelationPlan } from '../../core/apply/relation-plan.ts';

/** One for all apply connections of a node. */
export class CatalogEpoch {
  #current = 0;

  get current(): number {
    return this.#current;
  }

  /** Every plan made before now is stale. */
  invalidate(): void {
    this.#current++;
  }
}

const plansKept = 2000;

/** One for each apply connection. */
export class RelationCatalog implements PlanStore {
  readonly #shared: CatalogEpoch;
  readonly #plans = new Map<string, RelationPlan>();
  #plansEpoch = 0;

  constructor(shared: CatalogEpoch) {
    this.#shared = shared;
  }

  get epoch(): number {
    return this.#shared.current;
  }

  find(key: string): RelationPlan | undefined {
    return this.#plansEpoch === this.#shared.current ? this.#plans.get(key) : undefined;
  }

  store(key: string, plan: RelationPlan, epoch: number): void {
    if (epoch !== this.#shared.current) return;
    if (this.#plansEpoch !== epoch || this.#plans.size >= plansKept) this.#plans.clear();
    this.#plansEpoch = epoch;
    this.#plans.set(key, plan);
  }
}
