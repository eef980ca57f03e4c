/**
 * What clients have prepared, in this node's server: branches that are finished, rolled back or prepared
 * again as the rows of mtm.client_prepared say (sql/client-prepared.sql).
 *
 * Rules: one thing at a time, in the order of the calls. A branch is finished only under the id of its row,
 * so that another one of the same name is never taken for it. A decided row is deleted when its branch is
 * finished; so one without a branch was finished before.
 */
import type pg from 'pg';
import type { ClientBranch } from '../../core/apply/client-branch.ts';
import type { Gid, Refusal } from '../../core/identity.ts';
import type { Applier, ApplyResult } from './applier.ts';
import type { Finisher } from './finisher.ts';

export interface ClientBranchesParts {
  readonly client: () => pg.Client;
  readonly applier: Pick<Applier, 'openBranch'>;
  readonly finisher: Pick<Finisher, 'finish'>;
  /** A step that tests may stop at. */
  readonly step: (kind: 'finishing' | 'forgetting') => void;
}

interface StateRow {
  /** NULL: prepared here, and nobody's. */
  readonly id: string | null;
  readonly gid: string;
  readonly owner: string | null;
  readonly home: number;
  readonly proof: string;
  readonly decision: 'commit' | 'rollback' | null;
  readonly is_prepared: boolean;
}

const retryMs = 250;
/** The change stream shows within moments what was finished. */
const namesKept = 10_000;
/**
 * Until a branch that should be prepared here again is given up: something outside of the cluster is in its
 * way.
 */
const prepareLimitMs = 10_000;

export class ClientBranches {
  readonly #parts: ClientBranchesParts;
  /** Being prepared by sessions of this gateway. */
  readonly #inFlight = new Set<string>();
  /** Branches by the transactions that bring their rows, until those are finished here. */
  readonly #brought = new Map<Gid, { readonly id: string; readonly gid: string }>();
  /** Transactions that write rows about branches. */
  readonly #concerned = new Set<Gid>();
  /** Names of branches that were committed here since the gateway began. */
  readonly #finished = new Set<string>();
  #last: Promise<unknown> = Promise.resolve();
  #stopped = false;

  constructor(parts: ClientBranchesParts) {
    this.#parts = parts;
  }

  /** Nothing is tried again from here on. */
  stop(): void {
    this.#stopped = true;
  }

  /** A session is about to prepare it: it is the session's until `brings` or `end`. */
  begin(id: string): void {
    this.#inFlight.add(id);
  }

  /** The transaction brings the rows of a branch: they share their fate. */
  brings(transaction: Gid, branch: { readonly id: string; readonly gid: string }): void {
    this.#brought.set(transaction, branch);
    this.concerns(transaction);
  }

  /** The transaction writes rows about branches. */
  concerns(transaction: Gid): void {
    this.#concerned.add(transaction);
  }

  /** The transaction was never prepared. */
  forget(transaction: Gid): void {
    this.#brought.delete(transaction);
    this.#concerned.delete(transaction);
  }

  /** The transaction was rolled back: that matters only to a branch that it brings, until `ended`. */
  rolledBack(transaction: Gid): void {
    if (!this.#brought.has(transaction)) this.#concerned.delete(transaction);
  }

  /** With the end of the transaction something is to be done about branches. */
  isConcerned(transaction: Gid): boolean {
    return this.#concerned.has(transaction);
  }

  /** The undecided transaction that brings the rows of what is prepared under this name. */
  bringerOf(name: string): Gid | undefined {
    for (const [transaction, { gid }] of this.#brought) if (gid === name) return transaction;
    return undefined;
  }

  /** This gateway has committed what was prepared under the name. */
  hasFinished(name: string): boolean {
    return this.#finished.has(name);
  }

  /** The transaction was finished here: what follows from that is done when it resolves. */
  async ended(transaction: Gid, outcome: 'commit' | 'rollback'): Promise<void> {
    const branch = this.#brought.get(transaction);
    if (branch !== undefined && outcome === 'rollback') await this.end(branch.id);
    else if (outcome === 'commit') await this.#inTurn(() => this.#settleDecided());
    if (branch !== undefined) this.#inFlight.delete(branch.id);
    this.forget(transaction);
  }

  /** Nothing is left of this branch here, and no row says that there should be. */
  end(id: string): Promise<void> {
    return this.#inTurn(async () => {
      const { rows } = await this.#parts.client().query<{ gid: string }>({
        name: 'mtm_client_gid',
        text: 'SELECT gid FROM mtm.client_gid($1) AS gid',
        values: [id],
      });
      for (const { gid } of rows) await this.#finish(gid, 'rollback');
      this.#inFlight.delete(id);
    });
  }

  /**
   * The node is about to be online: what was decided is finished, what is nobody's is rolled back, and what
   * should be prepared is.
   */
  level(): Promise<void> {
    return this.#inTurn(async () => {
      for (const row of await this.#settleDecided()) {
        if (row.id === null) await this.#finish(row.gid, 'rollback');
        else if (!row.is_prepared) await this.#prepareAgain(row.id, row);
      }
    });
  }

  /** The node is about to replay: nothing that is prepared may be in the way; the rows stay. */
  clear(): Promise<void> {
    return this.#inTurn(async () => {
      for (const row of await this.#settleDecided()) {
        if (row.is_prepared) await this.#finish(row.gid, 'rollback');
      }
    });
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => undefined); // whoever asked for it hears of it
    return turn;
  }

  /** Returns the others. */
  async #settleDecided(): Promise<readonly StateRow[]> {
    const client = this.#parts.client();
    const { rows } = await client.query<StateRow>({
      name: 'mtm_client_state',
      text: 'SELECT id, gid, owner, home, proof, decision, is_prepared FROM mtm.client_state($1)',
      values: [[...this.#inFlight]],
    });
    const others: StateRow[] = [];
    for (const row of rows) {
      if (row.decision === null) {
        others.push(row);
        continue;
      }
      if (row.is_prepared) {
        this.#parts.step('finishing');
        await this.#finish(row.gid, row.decision);
      }
      this.#parts.step('forgetting');
      await client.query('SELECT mtm.forget_client($1)', [row.id]);
    }
    return others;
  }

  /** Until the server has said done or missing. */
  async #finish(gid: string, outcome: 'commit' | 'rollback'): Promise<void> {
    if (outcome === 'commit') {
      this.#finished.delete(gid);
      this.#finished.add(gid);
      if (this.#finished.size > namesKept) this.#finished.delete(this.#finished.keys().next().value!);
    }
    for (;;) {
      if (this.#stopped) throw new Error('the node ends its part');
      const result = await new Promise<unknown>((resolve) =>
        this.#parts.finisher.finish(gid, outcome, resolve),
      );
      if (result === 'done' || (typeof result === 'object' && result !== null && 'missing' in result)) return;
      await new Promise((resolve) => setTimeout(resolve, retryMs));
    }
  }

  async #prepareAgain(id: string, { gid, owner, home, proof }: StateRow): Promise<void> {
    const { rows } = await this.#parts
      .client()
      .query<{ body: Buffer | null }>(
        "SELECT string_agg(data, ''::bytea ORDER BY part) AS body FROM mtm.client_body WHERE id = $1",
        [id],
      );
    const body = rows[0]?.body ?? new Uint8Array(0);
    const result = await this.#prepare({ id, gid, owner: owner ?? undefined, home, proof, body });
    if (result.kind === 'prepared') return;
    const reason = result.kind === 'refused' ? result.refusal.message : result.reason;
    throw new Error(`transaction "${gid}", which a client has prepared, cannot be prepared here: ${reason}`);
  }

  #prepare(branch: ClientBranch): Promise<ApplyResult> {
    return new Promise((resolve) => {
      const handle = this.#parts.applier.openBranch(branch);
      const timer = setTimeout(() => handle.cancel(inTheWay), prepareLimitMs);
      handle.onDone = (result) => {
        clearTimeout(timer);
        resolve(result);
      };
    });
  }
}

const inTheWay: Refusal = {
  sqlstate: '55P03',
  message: 'something past the gateway is in its way',
  node: 0,
  retryable: true,
};
