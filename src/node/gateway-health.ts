/** What /healthz and /ready say of a gateway: of its only database, or of all of them. */
import type { HealthSource } from '../admin/http-server.ts';
import type { NodeKeeper } from './node-keeper.ts';

/** Ready when every database is. Undefined while not all of them have begun. */
export function healthOf(keepers: ReadonlyMap<string, NodeKeeper>): HealthSource | undefined {
  const nodes = [...keepers].flatMap(([database, { node }]) =>
    node === undefined ? [] : [{ database, node }],
  );
  if (nodes.length < keepers.size) return undefined;
  const worst =
    nodes.find(({ node }) => !node.view.ready) ?? nodes.find(({ node }) => !node.view.writable) ?? nodes[0];
  if (worst === undefined) return undefined;
  const { status, reason } = worst.node.status;
  return {
    ready: nodes.every(({ node }) => node.view.ready),
    writable: nodes.every(({ node }) => node.view.writable),
    status: { status, reason: nodes.length === 1 ? reason : `database ${worst.database}: ${reason}` },
  };
}
