/**
 * The node's own PostgreSQL as the commit machine sees it: the change stream, the ends of prepared
 * transactions, and what the catalog says about the reach of statements.
 * Rule: whatever breaks here ends the node's part (`lost`); nothing is patched up from memory.
 */
import type { Finish } from '../core/commit/event.ts';
import type { GidEvent } from '../core/node/node-event.ts';
import { parseGid } from '../core/identity.ts';
import type { Gid, Lsn } from '../core/identity.ts';
import { contextOf, unknownSuspicions } from '../core/statement/context.ts';
import { ClientBranches } from '../io/postgres/client-branches.ts';
import type { Applier, ApplyHandle } from '../io/postgres/applier.ts';
import type { Finisher } from '../io/postgres/finisher.ts';
import { ReplicationStream } from '../io/postgres/replication-stream.ts';
import { BranchDesk } from './branch-desk.ts';
import { branchStep } from './fail-point.ts';
import { slotNames } from '../io/postgres/slot-names.ts';
import { OpenDesk } from './open-desk.ts';
import type { NodeParts } from './node-parts.ts';
import { headerVerifier } from './header-proof.ts';
import { Notifier } from './notifier.ts';

/** Until COMMIT PREPARED or ROLLBACK PREPARED is tried again, ms. */
const finishRetryMs = 250;
const nothing = new Uint8Array(0);

/** What the sessions of clients do for the server. */
export interface ServerSessions {
  /** The one that waits for this gid tells the server's listeners itself. False: there is none. */
  notify(gid: Gid, sql: string): boolean;
  /** The one in this backend ends what it holds open. */
  orderOpen(backendPid: number, gid: Gid, finish: Finish): void;
}

export interface LocalServerHandler {
  event(event: GidEvent): void;
  /** COMMIT PREPARED was executed. */
  committed(gid: Gid): void;
  /** A function in the server asks the gateway. */
  asked(content: string): void;
  sessions(): ServerSessions;
  lost(reason: string): void;
  /** Undefined while nothing may be prepared. */
  generation(): number | undefined;
}

export class LocalServer {
  readonly #parts: NodeParts;
  readonly #applier: Applier;
  readonly #finisher: Finisher;
  readonly #handler: LocalServerHandler;
  /** What clients have prepared under names of their own. */
  readonly branches: ClientBranches;
  readonly branchDesk: BranchDesk;
  /**
   * Transactions with DDL that are not finished here: what is remembered of the catalog changes when they
   * are.
   */
  readonly #changing = new Set<Gid>();
  readonly notifier: Notifier;
  /** Transactions that cannot be prepared here. */
  readonly open: OpenDesk;
  #stream: ReplicationStream | undefined;
  #unsupervised = 0;
  #stopped = false;

  constructor(parts: NodeParts, applier: Applier, finisher: Finisher, handler: LocalServerHandler) {
    this.#parts = parts;
    this.#applier = applier;
    this.#finisher = finisher;
    this.#handler = handler;
    const { telemetry, log } = parts;
    const lost = (count: number): void => void (telemetry.tally.notificationsLost += count);
    const notify = (gid: Gid, sql: string): boolean => handler.sessions().notify(gid, sql);
    this.notifier = new Notifier(parts.config, log, notify, lost);
    this.open = new OpenDesk(parts, {
      event: (event) => handler.event(event),
      definitionsChange: (gid) => void this.#changing.add(gid),
      order: (pid, gid, finish) => handler.sessions().orderOpen(pid, gid, finish),
      finished: (gid, finish) => this.finished(gid, finish),
      lost: (reason) => handler.lost(reason),
    });
    const { config, takeOver, announceKey, control } = parts;
    this.branches = new ClientBranches({
      client: () => control.client,
      applier,
      finisher,
      step: branchStep,
    });
    this.branchDesk = new BranchDesk({
      nodeId: config.nodeId,
      incarnation: takeOver.incarnation,
      secret: config.clusterSecret,
      announceKey,
      branches: this.branches,
      generation: () => handler.generation(),
      endBackend: (pid) => control.endBackend(pid),
      lost: (reason) => handler.lost(reason),
    });
  }

  get stream(): ReplicationStream | undefined {
    return this.#stream;
  }

  /** The process that decodes the slot. */
  get walsender(): number | undefined {
    return this.#stream?.pid;
  }

  heldOpenBy(backendPid: number): Gid | undefined {
    return this.open.heldOpenBy(backendPid);
  }

  /** Writes that went past the gateway since it started. */
  get unsupervised(): number {
    return this.#unsupervised;
  }

  /** Nothing is tried again from here on. */
  stop(): void {
    this.#stopped = true;
    this.notifier.stop();
    this.branches.stop();
    this.#stream?.close();
    this.open.close();
  }

  /** Changes are not read for a while: their peers cannot take them. */
  pause(): void {
    this.#stream?.pause();
    this.open.source.pause();
  }

  resume(): void {
    this.#stream?.resume();
    this.open.source.resume();
  }

  /**
   * A transaction of another node was applied: what is remembered of the catalog ends with its definitions.
   */
  applied(gid: Gid, handle: ApplyHandle, prepared: boolean): void {
    const { ddl, client, concernsClients, notifications } = handle;
    if (ddl) this.#changing.add(gid);
    if (client !== undefined) this.branches.brings(gid, client);
    else if (concernsClients) this.branches.concerns(gid);
    if (prepared && notifications !== undefined) this.notifier.prepared(gid, notifications);
  }

  async openStream(): Promise<void> {
    const { config, log } = this.#parts;
    const login = config.postgres;
    const options = {
      login,
      node: config.nodeId,
      slot: slotNames(login).live,
      publication: 'mtm',
      memoryBytes: config.transSpillThresholdBytes,
    };
    this.#stream = await ReplicationStream.open(options, {
      verifyHeader: headerVerifier(config.clusterSecret),
      began: () => undefined,
      piece: (gid, { ddl, data, clients }) => {
        if (ddl) this.#changing.add(gid);
        if (clients === true) this.branches.concerns(gid);
        this.#handler.event({ kind: 'captured', gid, ddl, data, last: false });
      },
      prepared: ({ gid, header, notifications, endLsn }) => {
        if (header === 'verified') {
          if (notifications !== undefined) this.notifier.prepared(gid, notifications);
          this.#handler.event({ kind: 'captured', gid, ddl: false, data: nothing, last: true });
        } else if (header === 'forged') {
          // Nobody but the gateway can make one, so whoever made this can do more: the successor looks at
          // everything anew.
          this.#handler.lost(`transaction ${gid} carries a forged header`);
        }
        this.#release(endLsn);
      },
      finished: (gid, outcome, endLsn) => {
        if (outcome === 'rolled-back' && parseGid(gid)?.node === config.nodeId) this.#rolledBack(gid);
        this.#release(endLsn);
      },
      finishedByName: (gid, endLsn) => {
        // A former process may have ordered what was done before this one began.
        if (endLsn <= this.#parts.positionAtStart.flushed || this.branches.hasFinished(gid)) return;
        this.#unsupervisedWrite('a prepared transaction was committed past the gateway', { gid });
      },
      committedPlainly: (gid, endLsn, notifications) => {
        if (notifications !== undefined) this.notifier.prepared(gid, notifications);
        void this.notifier.finished(gid, true);
        this.#release(endLsn);
      },
      unsupervised: ({ relations, rows, ddl }) => {
        this.#unsupervisedWrite('an unsupervised write', { relations, rows, ddl });
      },
      preparesForClients: () => this.branchDesk.busy,
      client: (transaction) => this.branchDesk.captured(transaction),
      request: (content) => this.#handler.asked(content),
      closed: (reason) => this.#handler.lost(`the change stream ended: ${reason}`),
    });
    log.info('the change stream is open');
  }

  #unsupervisedWrite(what: string, fields: object): void {
    const { tally, chronicle } = this.#parts.telemetry;
    this.#unsupervised++;
    tally.unsupervisedWrites++;
    const message = `${what}: the nodes differ now`;
    chronicle.tell('error', 'unsupervised-write', message, message, fields);
  }

  /**
   * The stream has shown the end of an own transaction, and never speaks of it again. When the server had
   * rolled it back before the stream showed it, what was noted of it then came too late for `finished`. The
   * notes matter to a commit only, so they may also go before `finished` comes.
   */
  #rolledBack(gid: Gid): void {
    this.#changing.delete(gid);
    void this.notifier.finished(gid, false);
    this.branches.rolledBack(gid);
  }

  /**
   * Everything is handed over at once, so the slot may move; what a restart needs is in the retained slot.
   */
  #release(endLsn: Lsn): void {
    this.#stream?.release(endLsn);
  }

  /** Executes an outcome, again and again until the server has said done or missing. */
  finish(gid: Gid, finish: Finish): void {
    if (this.#stopped) return; // the successor finds it and asks the others
    this.#finisher.finish(gid, finish, (result) => {
      if (result !== 'done' && 'error' in result) {
        if (this.#stopped) return;
        const { log } = this.#parts;
        log.error(
          { gid, finish, reason: result.error },
          'a decided transaction could not be finished; trying again',
        );
        setTimeout(() => this.finish(gid, finish), finishRetryMs).unref();
        return;
      }
      this.finished(gid, finish, result !== 'done');
    });
  }

  /** The transaction has ended in the server. */
  finished(gid: Gid, finish: Finish, missing = false): void {
    const ended = (): void => {
      if (finish === 'commit') this.#handler.committed(gid);
      this.#handler.event({ kind: 'finish-ended', gid, finish, missing });
    };
    const told = this.notifier.finished(gid, finish === 'commit');
    if (this.branches.isConcerned(gid)) return void this.#endBranches(gid, finish, ended);
    if (!this.#changing.delete(gid)) return told === undefined ? ended() : void told.then(ended);
    this.#applier.invalidate();
    // Nobody is answered before this node knows what the new definitions can reach.
    void Promise.all([this.refreshSuspicions(), told]).then(ended);
  }

  /** It is executed only when what it says about clients' branches is done, which may define things. */
  async #endBranches(gid: Gid, finish: 'commit' | 'rollback', ended: () => void): Promise<void> {
    try {
      await this.branches.ended(gid, finish);
    } catch (error) {
      if (!this.#stopped)
        this.#handler.lost(`a prepared transaction of a client: ${(error as Error).message}`);
      return;
    }
    this.branchDesk.transactionEnded(gid);
    this.#changing.delete(gid);
    this.#applier.invalidate();
    await this.refreshSuspicions();
    ended();
  }

  /**
   * The session's connection broke while PREPARE was on its way: only when its backend is gone is its end
   * final.
   */
  async prepareLost(gid: Gid, backendPid: number): Promise<void> {
    try {
      if (backendPid !== 0) await this.#parts.control.endBackend(backendPid);
      this.#handler.event({ kind: 'prepare-lost', gid });
    } catch (error) {
      this.#handler.lost(`a backend could not be ended: ${(error as Error).message}`);
    }
  }

  /** What the catalog says about the reach of statements; when it cannot be asked, nothing is a sure read. */
  async refreshSuspicions(): Promise<void> {
    const { classifier, control } = this.#parts;
    try {
      classifier.setContext(contextOf(await control.suspicions()));
    } catch (error) {
      classifier.setContext(contextOf(unknownSuspicions));
      this.#handler.lost(`the catalog could not be read: ${(error as Error).message}`);
    }
  }
}
