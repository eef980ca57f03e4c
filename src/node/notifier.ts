/**
 * Tells the listeners of the node's own server what committed transactions notify, each once: at home by the
 * session that committed, so that its process stands as the sender, else by a connection of the gateway's.
 *
 * Rules: a notification is given away when its transaction has been executed here, in that order, so each
 * sender's arrive in the order of his commits, and what causes another arrives before it. Nothing waits for a
 * delivery but the client whose transaction it is. What is lost (no room in the server's queue, the
 * connection, this process) is lost, as in PostgreSQL; nothing is told twice.
 */
import type { Logger } from 'pino';
import type { Gid } from '../core/identity.ts';
import { notifySql, type Notifications } from '../core/notification/notification.ts';
import type { GatewayConfig } from '../config/schema.ts';
import { NotifyLane } from '../io/postgres/notify-lane.ts';

export class Notifier {
  readonly #log: Logger;
  readonly #builtIn: string;
  readonly #bySession: (gid: Gid, sql: string) => boolean;
  readonly #lane: NotifyLane;
  /** Of transactions that are prepared here. */
  readonly #prepared = new Map<Gid, Notifications>();
  #lost = 0;

  constructor(
    config: Pick<GatewayConfig, 'postgres' | 'replicatePgNotify'>,
    log: Logger,
    bySession: (gid: Gid, sql: string) => boolean,
  ) {
    this.#log = log;
    this.#builtIn = config.replicatePgNotify ? 'pg_notify_local' : 'pg_notify';
    this.#bySession = bySession;
    this.#lane = new NotifyLane(config.postgres, (count, reason) => this.lost(count, reason));
  }

  /** The transaction is prepared on this node and may commit. */
  prepared(gid: Gid, notifications: Notifications): void {
    if (!notifications.isEmpty) this.#prepared.set(gid, notifications);
  }

  /** It was committed or rolled back on this node. */
  finished(gid: Gid, committed: boolean): void {
    const notifications = this.#prepared.get(gid);
    if (notifications === undefined) return;
    this.#prepared.delete(gid);
    if (!committed) return;
    if (notifications.dropped > 0)
      this.lost(notifications.dropped, 'not as pg_notify writes them, or too many');
    if (notifications.size === 0) return;
    const sql = notifySql(notifications.list, this.#builtIn);
    if (!this.#bySession(gid, sql)) this.#lane.send(sql, notifications.size);
  }

  /** Listeners of this node will never hear of so many. */
  lost(count: number, reason: string): void {
    this.#lost += count;
    this.#log.error({ lost: count, lostSoFar: this.#lost, reason }, 'notifications were not delivered');
  }

  stop(): void {
    this.#prepared.clear();
    this.#lane.stop();
  }
}
