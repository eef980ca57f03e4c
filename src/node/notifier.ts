/**
 * Tells the listeners of the node's own server what committed transactions notify, each once: at home by the
 * session that committed, so that its process stands as the sender, else by a connection of the gateway's.
 *
 * Rules: a notification is given away when its transaction has been executed here, in that order, so each
 * sender's arrive in the order of his commits, and what causes another arrives before it. No commit waits for
 * longer than a moment for its delivery, nor fails with it. What is lost (no room in the server's queue, the
 * connection, this process) is lost, as in PostgreSQL; nothing is told twice.
 */
import type { Logger } from 'pino';
import type { Gid } from '../core/identity.ts';
import type { Notifications } from '../core/pgoutput/notification.ts';
import { notifySql } from '../core/session/notify-sql.ts';
import type { GatewayConfig } from '../config/schema.ts';
import { NotifyLane } from '../io/postgres/notify-lane.ts';

/** A server that does not take notifications holds up no commit for longer. */
const patienceMs = 1000;

export class Notifier {
  readonly #log: Logger;
  readonly #builtIn: string;
  readonly #bySession: (gid: Gid, sql: string) => boolean;
  readonly #counted: (lost: number) => void;
  readonly #lane: NotifyLane;
  /** Of transactions that are prepared here. */
  readonly #prepared = new Map<Gid, Notifications>();
  #lost = 0;

  constructor(
    config: Pick<GatewayConfig, 'postgres' | 'replicatePgNotify'>,
    log: Logger,
    bySession: (gid: Gid, sql: string) => boolean,
    counted: (lost: number) => void,
  ) {
    this.#counted = counted;
    this.#log = log;
    this.#builtIn = config.replicatePgNotify ? 'pg_notify_local' : 'pg_notify';
    this.#bySession = bySession;
    this.#lane = new NotifyLane(config.postgres, (count, reason) => this.lost(count, reason));
  }

  /** The transaction is prepared on this node and may commit. */
  prepared(gid: Gid, notifications: Notifications): void {
    if (!notifications.isEmpty) this.#prepared.set(gid, notifications);
  }

  /**
   * It was committed or rolled back on this node. Until the promise resolves the node should not say so: who
   * listens afterwards does not expect it any more. It resolves soon, whatever becomes of the delivery.
   */
  finished(gid: Gid, committed: boolean): Promise<void> | undefined {
    const notifications = this.#prepared.get(gid);
    if (notifications === undefined) return undefined;
    this.#prepared.delete(gid);
    if (!committed) return undefined;
    if (notifications.dropped > 0)
      this.lost(notifications.dropped, 'not as pg_notify writes them, or too many');
    if (notifications.size === 0) return undefined;
    const sql = notifySql(notifications.list, this.#builtIn);
    if (this.#bySession(gid, sql)) return undefined;
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, patienceMs);
      this.#lane.send(sql, notifications.size, () => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  /** Listeners of this node will never hear of so many. */
  lost(count: number, reason: string): void {
    this.#lost += count;
    this.#counted(count);
    this.#log.error({ lost: count, lostSoFar: this.#lost, reason }, 'notifications were not delivered');
  }

  stop(): void {
    this.#prepared.clear();
    this.#lane.stop();
  }
}
