/** Clients connect to the server itself: what everything else is compared with. */
import type { Candidate } from './candidate.ts';
import { workloadKeys } from './options.ts';
import { endSessions, type ServerGroup } from './server-group.ts';

export function directCandidate(group: ServerGroup): Candidate {
  return {
    key: 'direct',
    title: 'direct',
    targets: group.servers,
    servers: group.servers,
    combine: 'sum',
    workloads: workloadKeys,
    processes: [],
    recover: () => endSessions(group.servers),
  };
}
