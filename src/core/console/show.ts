/** What each SHOW of the console answers: columns that never change within a version, rows of the moment. */
import type { SessionCounts } from '../session/session-statistics.ts';
import type { ShowName } from './command.ts';
import type { ClientFacts, ConsoleFacts, DatabaseFacts } from './facts.ts';
import type { Cell, CellType, Column, Table } from './table.ts';

interface Show {
  readonly columns: readonly Column[];
  readonly rows: (facts: ConsoleFacts) => Cell[][];
}

/** `name` or `name:type`. */
function columns(text: string): Column[] {
  return text.split(' ').map((each) => {
    const [name = '', type = 'text'] = each.split(':');
    return { name, type: type as CellType };
  });
}

const help: readonly (readonly [string, string])[] = [
  ['SHOW CLIENTS', 'sessions of clients, with what each has done'],
  ['SHOW SERVERS', 'the server connection of each of them'],
  ['SHOW DATABASES', 'databases of the cluster, how this node is in each, and who pauses'],
  ['SHOW USERS', 'who is connected, and how often'],
  ['SHOW STATS', 'totals of each database since the gateway was started'],
  ['SHOW TOTALS', 'the same of all databases together'],
  ['SHOW LISTS', 'how many there are of everything'],
  ['SHOW NODES', 'nodes of the cluster as this one sees them (also SHOW PEERS)'],
  ['SHOW STATE', 'the gateway as a whole'],
  ['SHOW CONFIG', 'settings, and which of them RELOAD changes'],
  ['SHOW MEM', 'memory of the gateway'],
  ['SHOW VERSION', 'its version'],
  ['PAUSE [db]', 'new statements and transactions wait; answers when those under way have ended'],
  ['RESUME [db]', 'lets them go on'],
  ['RELOAD', 'reads the settings again and applies those that need no restart'],
  ['KILL_CLIENT id', 'ends a session of SHOW CLIENTS'],
  ['SHUTDOWN', 'ends the gateway in good order, as SIGTERM does'],
];

function timeText(ms: number): string {
  return new Date(ms).toISOString();
}

function countCells(counts: SessionCounts): Cell[] {
  const { queries, transactions, commits, rollbacks, bytesReceived, bytesSent, waits, waitedMs } = counts;
  return [transactions, queries, commits, rollbacks, bytesReceived, bytesSent, waits, waitedMs * 1000];
}

function totals(facts: ConsoleFacts): Cell[] {
  const each = facts.databases().map(({ totals: counts }) => countCells(counts ?? nothing));
  return countCells(nothing).map((_, index) => each.reduce((sum, row) => sum + Number(row[index]), 0));
}

const nothing: SessionCounts = {
  queries: 0,
  transactions: 0,
  commits: 0,
  rollbacks: 0,
  waits: 0,
  waitedMs: 0,
  bytesReceived: 0,
  bytesSent: 0,
};

const totalNames =
  'total_xact_count:int8 total_query_count:int8 total_commit_count:int8 total_rollback_count:int8 ' +
  'total_received:int8 total_sent:int8 total_wait_count:int8 total_wait_time:int8';

function clientCells(client: ClientFacts): Cell[] {
  const { id, user, database, application, state, address, port, encrypted, supervised } = client;
  const who = [id, 'C', user, database, application, state, address, port, timeText(client.connectedAt)];
  const link = [client.serverPid === 0 ? null : client.serverPid, encrypted ? 'yes' : 'no', supervised];
  const { queries, transactions, bytesReceived, bytesSent, waitedMs } = client;
  return [...who, ...link, transactions, queries, bytesReceived, bytesSent, waitedMs * 1000];
}

function serverCells(client: ClientFacts, databases: readonly DatabaseFacts[]): Cell[] {
  const { id, user, database, application, state, serverPid } = client;
  const place = databases.find(({ name }) => name === database) ?? databases[0];
  const kind = state === 'active' || state === 'idle in transaction' ? 'active' : 'idle';
  const address = [place?.host ?? '', place?.port ?? null];
  return ['S', user, database, kind, ...address, timeText(client.connectedAt), id, serverPid, application];
}

function userRows(clients: readonly ClientFacts[]): Cell[][] {
  const counts = new Map<string, number>();
  for (const { user } of clients) counts.set(user, (counts.get(user) ?? 0) + 1);
  return [...counts].sort(([a], [b]) => (a < b ? -1 : 1));
}

function listRows(facts: ConsoleFacts): Cell[][] {
  const clients = facts.clients();
  const of = (...states: string[]): number => clients.filter(({ state }) => states.includes(state)).length;
  return [
    ['databases', facts.databases().length],
    ['users', userRows(clients).length],
    ['nodes', new Set(facts.nodes().map(({ id }) => id)).size],
    ['clients', clients.length],
    ['login_clients', of('login')],
    ['idle_clients', of('idle')],
    ['active_clients', of('active')],
    ['waiting_clients', of('waiting')],
    ['idle_in_transaction_clients', of('idle in transaction')],
    ['servers', clients.filter(({ serverPid }) => serverPid !== 0).length],
  ];
}

function databaseCells(database: DatabaseFacts): Cell[] {
  const { name, host, port, status, reason, generation, members, clients, maxConnections, paused } = database;
  return [name, host, port, status, reason, generation, members.join(','), clients, maxConnections, paused];
}

const answers: Readonly<Record<ShowName, Show>> = {
  help: { columns: columns('command meaning'), rows: () => help.map((line) => [...line]) },
  clients: {
    columns: columns(
      'id:int8 type user database application_name state addr port:int8 connect_time remote_pid:int8 tls ' +
        'supervised:bool xact_count:int8 query_count:int8 received:int8 sent:int8 wait_us:int8',
    ),
    rows: (facts) => facts.clients().map(clientCells),
  },
  servers: {
    columns: columns(
      'type user database state addr port:int8 connect_time link:int8 remote_pid:int8 application_name',
    ),
    rows: (facts) => {
      const databases = facts.databases();
      const connected = facts.clients().filter(({ serverPid }) => serverPid !== 0);
      return connected.map((client) => serverCells(client, databases));
    },
  },
  databases: {
    columns: columns(
      'name host port:int8 status reason generation:int8 members current_connections:int8 ' +
        'max_connections:int8 paused:bool',
    ),
    rows: (facts) => facts.databases().map(databaseCells),
  },
  users: { columns: columns('name current_connections:int8'), rows: (facts) => userRows(facts.clients()) },
  stats: {
    columns: columns(`database ${totalNames}`),
    rows: (facts) =>
      facts.databases().map(({ name, totals: counts }) => [name, ...countCells(counts ?? nothing)]),
  },
  totals: { columns: columns(totalNames), rows: (facts) => [totals(facts)] },
  lists: { columns: columns('list items:int8'), rows: listRows },
  nodes: {
    columns: columns('database id:int8 addr is_self:bool member:bool connected:bool heard_ms:int8'),
    rows: (facts) =>
      facts
        .nodes()
        .map(({ database, id, address, isSelf, isMember, connected, heardMs }) => [
          database,
          id,
          address,
          isSelf,
          isMember,
          connected,
          heardMs,
        ]),
  },
  state: { columns: columns('key value'), rows: (facts) => facts.state().map((line) => [...line]) },
  config: {
    columns: columns('key value default changeable'),
    rows: (facts) =>
      facts.settings().map(({ name, value, usual, live }) => [name, value, usual, live ? 'yes' : 'no']),
  },
  mem: { columns: columns('name bytes:int8'), rows: (facts) => facts.memory().map((line) => [...line]) },
  version: { columns: columns('version'), rows: (facts) => [[facts.version]] },
};

export function columnsOf(what: ShowName): readonly Column[] {
  return answers[what].columns;
}

export function tableOf(what: ShowName, facts: ConsoleFacts): Table {
  const { columns: names, rows } = answers[what];
  return { columns: names, rows: rows(facts) };
}
