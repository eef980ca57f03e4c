/** What the console shows of a client session: who it is, and what it does at the moment. */
import type { ClientFacts, ClientState } from '../../core/console/facts.ts';
import type { ClientSession } from './client-session.ts';
import type { SessionConnections, StartupRequest } from './session-request.ts';

type Identity = 'id' | 'user' | 'database' | 'application' | 'address' | 'port' | 'encrypted' | 'connectedAt';
export type SessionIdentity = Pick<ClientFacts, Identity>;

let lastId = 0;

/** Asked before the socket is given to somebody else. */
export function identityOf(
  { socket, encrypted }: SessionConnections,
  { parameters }: StartupRequest,
): SessionIdentity {
  const user = parameters.get('user') ?? '';
  return {
    id: ++lastId,
    user,
    database: parameters.get('database') || user,
    application: parameters.get('application_name') ?? '',
    address: socket.remoteAddress ?? '',
    port: socket.remotePort ?? 0,
    encrypted,
    connectedAt: Date.now(),
  };
}

export function clientFacts(session: ClientSession): ClientFacts {
  const { identity, machine, backendPid, supervised } = session;
  const { queries, transactions, commits, rollbacks, waits, waitedMs, bytesReceived, bytesSent } =
    machine.statistics;
  return {
    ...identity,
    state: stateOf(session),
    serverPid: backendPid,
    supervised,
    ...{ queries, transactions, commits, rollbacks, waits, waitedMs, bytesReceived, bytesSent },
  };
}

function stateOf({ loggedIn, supervised, machine }: ClientSession): ClientState {
  if (!loggedIn) return 'login';
  if (!supervised) return 'unsupervised';
  if (machine.statistics.waitsForResume) return 'waiting';
  if (machine.idle) return 'idle';
  const works = machine.busy || machine.awaitsServer;
  return !works && machine.block?.explicit === true ? 'idle in transaction' : 'active';
}
