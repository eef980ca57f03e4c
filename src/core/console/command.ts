/**
 * The language of the admin console: one text → one command, in the vocabulary of PgBouncer where it fits.
 * Rule: what PgBouncer knows and a gateway cannot mean is refused with a sentence that says why; nothing is
 * guessed, and nothing of what was typed is done when a part of it is not understood.
 */
import type { ErrorText } from '../wire/messages.ts';

export const shows = [
  'help',
  'clients',
  'servers',
  'databases',
  'users',
  'stats',
  'totals',
  'lists',
  'nodes',
  'state',
  'config',
  'mem',
  'version',
] as const;
export type ShowName = (typeof shows)[number];

export type ConsoleCommand =
  | { readonly kind: 'empty' }
  | { readonly kind: 'show'; readonly what: ShowName }
  /** Undefined: all databases. */
  | { readonly kind: 'pause' | 'resume'; readonly database: string | undefined }
  | { readonly kind: 'reload' | 'shutdown' }
  | { readonly kind: 'kill-client'; readonly id: number }
  /** Accepted for drivers: nothing of the console is part of a transaction. */
  | { readonly kind: 'begin' | 'commit' | 'rollback' }
  /** A setting of the client's session that has no meaning here, and what else drivers clear. */
  | { readonly kind: 'set'; readonly tag: 'SET' | 'RESET' | 'UNLISTEN' | 'CLOSE CURSOR ALL' }
  /** Prepared statements: undefined for all. */
  | { readonly kind: 'deallocate'; readonly name: string | undefined; readonly tag: string };

export type Parsed = ConsoleCommand | { readonly kind: 'error'; readonly error: ErrorText };

/** Commands of PgBouncer that are none here, and why. */
const foreign: Readonly<Record<string, string>> = {
  disable: 'a database is taken out of service in PostgreSQL: ALTER DATABASE … ALLOW_CONNECTIONS false',
  enable: 'nothing can be disabled here',
  kill: 'sessions are ended one by one: KILL_CLIENT id; PAUSE keeps new statements back',
  kill_pool: 'there are no pools',
  reconnect: 'each client has a server connection of its own, as long as it stays',
  suspend: 'PAUSE keeps new statements back; there is no online restart for which buffers had to be flushed',
  wait_close: 'each client has a server connection of its own, as long as it stays',
};
const foreignShows: Readonly<Record<string, string>> = {
  pools: 'each client has a server connection of its own: SHOW CLIENTS and SHOW SERVERS',
  peer_pools: 'the gateways have links, not pools: SHOW NODES',
  fds: 'sockets are not handed over to another process',
  sockets: 'SHOW CLIENTS and SHOW SERVERS tell what is connected',
  active_sockets: 'SHOW CLIENTS and SHOW SERVERS tell what is connected',
  dns_hosts: 'the gateway keeps no cache of names',
  dns_zones: 'the gateway keeps no cache of names',
  stats_averages: 'SHOW STATS has totals: averages are made by whoever reads them twice',
  stats_totals: 'SHOW STATS has the totals of each database, SHOW TOTALS those of all',
};
/** The same by another name. */
const sameShows: Readonly<Record<string, ShowName>> = { peers: 'nodes', active_clients: 'clients' };

const shownLength = 60;

function failure(sqlstate: string, message: string, hint = 'SHOW HELP lists the commands.'): Parsed {
  const error: ErrorText = { severity: 'ERROR', sqlstate, message: `[multimaster] ${message}`, hint };
  return { kind: 'error', error };
}

function shortened(text: string): string {
  return text.length > shownLength ? `${text.slice(0, shownLength)}…` : text;
}

/** As PostgreSQL's lexer: white space and comments do not count, semicolons at the end neither. */
const skipped = /(?:[ \t\r\n\f\v]+|--[^\r\n]*)/y;
const word = /[A-Za-z_\u0080-\uffff][A-Za-z0-9_$\u0080-\uffff]*|[0-9]+/y;
const quoted = /"((?:[^"]|"")*)"/y;
const literal = /'((?:[^']|'')*)'/y;
/** No command has more. */
const mostTokens = 64;

interface Token {
  /** A bare word, in lower case as PostgreSQL folds it; empty for the others. */
  readonly word: string;
  /** A name, as meant; for a literal and a single sign what it is. */
  readonly text: string;
  readonly kind: 'word' | 'name' | 'literal' | 'sign';
}

/** Undefined: a quote or a comment that does not end. */
function tokens(text: string): Token[] | undefined {
  const found: Token[] = [];
  let at = 0;
  const match = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const result = pattern.exec(text);
    if (result !== null) at = pattern.lastIndex;
    return result;
  };
  while (at < text.length && found.length < mostTokens) {
    if (match(skipped) !== null) continue;
    if (text.startsWith('/*', at)) {
      const end = text.indexOf('*/', at + 2);
      if (end < 0) return undefined;
      at = end + 2;
      continue;
    }
    const bare = match(word)?.[0];
    if (bare !== undefined) {
      const folded = bare.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
      found.push({ kind: 'word', word: folded, text: folded });
      continue;
    }
    const name = match(quoted)?.[1];
    const string = name === undefined ? match(literal)?.[1] : undefined;
    if (name !== undefined) found.push({ kind: 'name', word: '', text: name.replaceAll('""', '"') });
    else if (string !== undefined) found.push({ kind: 'literal', word: '', text: string });
    else if (text[at] === '"' || text[at] === "'") return undefined;
    else found.push({ kind: 'sign', word: '', text: text[at++]! });
  }
  return found;
}

/** The command that the text is. */
export function parseConsoleText(text: string): Parsed {
  const all = tokens(text);
  if (all === undefined) return failure('42601', 'a quote or a comment in this command does not end');
  while (all.at(-1)?.text === ';' && all.at(-1)?.kind === 'sign') all.pop();
  const [first, ...rest] = all;
  if (first === undefined) return { kind: 'empty' };
  if (rest.some((token) => token.kind === 'sign' && token.text === ';'))
    return failure('42601', 'the console takes one command at a time');
  return commandOf(first.word, rest) ?? unknown(text);
}

function unknown(text: string): Parsed {
  const command = shortened(text.trim().replaceAll(/\s+/g, ' '));
  return failure('42601', `this is no command of the admin console: ${command}`);
}

/** Undefined: there is no such command. */
function commandOf(first: string, rest: readonly Token[]): Parsed | undefined {
  switch (first) {
    case 'show':
      return show(rest);
    case 'pause':
    case 'resume':
      return withDatabase(first, rest);
    case 'reload':
      return rest.length === 0 ? { kind: 'reload' } : undefined;
    case 'shutdown':
      return shutdown(rest);
    case 'kill_client':
      return killClient(rest);
    case 'set':
      return set(rest);
    case 'reset':
      return rest.length > 0 ? { kind: 'set', tag: 'RESET' } : undefined;
    case 'discard':
      return isAll(rest) ? { kind: 'deallocate', name: undefined, tag: 'DISCARD ALL' } : undefined;
    case 'deallocate':
      return deallocate(rest);
    case 'close':
      return isAll(rest) ? { kind: 'set', tag: 'CLOSE CURSOR ALL' } : undefined;
    case 'unlisten':
      return rest.length === 1 && rest[0]?.text === '*' ? { kind: 'set', tag: 'UNLISTEN' } : undefined;
    case 'begin':
    case 'start':
    case 'commit':
    case 'end':
    case 'rollback':
    case 'abort':
      return transactionCommand(first, rest);
    default: {
      const why = Object.hasOwn(foreign, first) ? foreign[first] : undefined;
      return why === undefined
        ? undefined
        : failure('0A000', `${first.toUpperCase()} is not supported: ${why}`);
    }
  }
}

function isAll(rest: readonly Token[]): boolean {
  return rest.length === 1 && rest[0]?.word === 'all';
}

function deallocate(rest: readonly Token[]): Parsed | undefined {
  const named = rest[0]?.word === 'prepare' && rest.length > 1 ? rest.slice(1) : rest;
  const [token] = named;
  if (isAll(named)) return { kind: 'deallocate', name: undefined, tag: 'DEALLOCATE ALL' };
  if (named.length !== 1 || (token?.kind !== 'word' && token?.kind !== 'name')) return undefined;
  return { kind: 'deallocate', name: token.text, tag: 'DEALLOCATE' };
}

function show(rest: readonly Token[]): Parsed | undefined {
  const [only, second] = rest;
  if (only === undefined) return { kind: 'show', what: 'help' };
  // SHOW STATS_TOTALS and SHOW STATS TOTALS are the same to PgBouncer's users.
  if (second !== undefined || only.kind !== 'word') return undefined;
  const name = Object.hasOwn(sameShows, only.word) ? sameShows[only.word]! : only.word;
  const what = shows.find((each) => each === name);
  if (what !== undefined) return { kind: 'show', what };
  const why = Object.hasOwn(foreignShows, name) ? foreignShows[name] : undefined;
  return why === undefined
    ? undefined
    : failure('0A000', `SHOW ${name.toUpperCase()} is not supported: ${why}`);
}

function withDatabase(kind: 'pause' | 'resume', rest: readonly Token[]): Parsed | undefined {
  const [name, more] = rest;
  if (name === undefined) return { kind, database: undefined };
  if (more !== undefined || (name.kind !== 'word' && name.kind !== 'name')) return undefined;
  return { kind, database: name.text };
}

function shutdown(rest: readonly Token[]): Parsed | undefined {
  if (rest.length === 0) return { kind: 'shutdown' };
  const way = rest[0]!.word;
  if (rest.length > 1 || (way !== 'wait_for_clients' && way !== 'wait_for_servers')) return undefined;
  const why = 'SHUTDOWN lets transactions end for ten seconds; PAUSE first, if they may take longer';
  return failure('0A000', `SHUTDOWN ${way.toUpperCase()} is not supported: ${why}`);
}

function killClient(rest: readonly Token[]): Parsed | undefined {
  const [token, more] = rest;
  const id = Number(token?.text);
  const fits = token !== undefined && more === undefined && /^[0-9]{1,15}$/.test(token.text);
  return fits ? { kind: 'kill-client', id } : undefined;
}

function set(rest: readonly Token[]): Parsed | undefined {
  const named = rest[0]?.word === 'session' || rest[0]?.word === 'local' ? rest.slice(1) : rest;
  const name = named[0]?.text.toLowerCase() ?? '';
  if (named.length < 2 || name === '') return undefined;
  if (name === 'client_encoding' || name === 'names') {
    const value = named.at(-1)!.text.toLowerCase().replaceAll(/[-_]/g, '');
    if (!['utf8', 'unicode', 'default'].includes(value))
      return failure('0A000', 'the console speaks UTF8 only', 'Leave client_encoding as it is.');
  }
  if (!drivers.has(name) && !/^[a-z_]+\.|^multimaster/.test(name)) {
    const hint = 'Change gateway.yaml, then RELOAD; SHOW CONFIG tells what can be changed without a restart.';
    return failure('0A000', `settings of the gateway are not changed by SET`, hint);
  }
  return { kind: 'set', tag: 'SET' };
}

/** What drivers set when they connect or give a connection back; without meaning here. */
const drivers = new Set([
  'application_name',
  'bytea_output',
  'client_encoding',
  'client_min_messages',
  'datestyle',
  'default_transaction_isolation',
  'default_transaction_read_only',
  'extra_float_digits',
  'idle_in_transaction_session_timeout',
  'intervalstyle',
  'lock_timeout',
  'names',
  'search_path',
  'standard_conforming_strings',
  'statement_timeout',
  'synchronous_commit',
  'time',
  'timezone',
  'transaction',
  'characteristics',
]);

function transactionCommand(first: string, rest: readonly Token[]): Parsed | undefined {
  // Modes change nothing; savepoints and prepared transactions are none of the console's.
  if (rest.some(({ word: each }) => ['prepared', 'to', 'chain'].includes(each))) return undefined;
  if (rest.some(({ kind }) => kind === 'literal' || kind === 'name')) return undefined;
  if (first === 'start' && rest[0]?.word !== 'transaction') return undefined;
  if (first === 'begin' || first === 'start') return { kind: 'begin' };
  return { kind: first === 'commit' || first === 'end' ? 'commit' : 'rollback' };
}
