/**
 * The name of a cluster's record at the referee. Rule: two clusters never share one, even when they have the
 * same name, because a report of one would clear a grant of the other; so it depends on the cluster's secret,
 * and tells nothing about it.
 */
import { createHmac } from 'node:crypto';
import type { RefereePair } from '../../core/generation/referee-record.ts';

export interface ClusterIdentity {
  readonly clusterName: string;
  readonly clusterSecret: string;
}

export function recordKey(cluster: ClusterIdentity, pair: RefereePair): string {
  const mark = createHmac('sha256', cluster.clusterSecret).update('mtm referee').digest('hex').slice(0, 16);
  return `mtm:referee:${cluster.clusterName}:${mark}:${pair.low}-${pair.high}`;
}
