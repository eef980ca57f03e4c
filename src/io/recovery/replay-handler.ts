/** What the connection that replays asks and tells its owner. */
import type { Gid, Lsn } from '../../core/identity.ts';

export interface ReplayHandler {
  isKnown(gid: Gid): boolean;
  /** The header's proof for a gid. */
  proof(gid: Gid): string;
  /** They are committed here, durable soon. `ddl`: definitions have changed. */
  committed(gids: readonly Gid[], ddl: boolean): void;
  /** Everything that came up to this position of the donor is committed here. */
  applied(position: Lsn): void;
  /** … and durable. */
  flushed(position: Lsn): void;
  /** More may be given: `buffered` is low again. */
  hungry(): void;
  /** Called once. `diverged`: a transaction does not fit the data of this node. */
  failed(cause: 'local' | 'diverged', reason: string): void;
}
