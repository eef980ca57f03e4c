/**
 * What every npm driver and tool can do, in the words of the duties that they share (duties.ts). Rule: an adapter says
 * it in its package's own way (its transactions, its savepoints, its pool), never past it.
 */
/** Where a gateway is, and who asks: over TLS, with a password that the server checks by SCRAM. */
export interface Access {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  readonly ssl: { readonly ca: string; readonly rejectUnauthorized: true };
}

export type Row = Record<string, unknown>;
export type Isolation = 'read committed' | 'repeatable read' | 'serializable';

export interface Statements {
  /** $1 … are the values, each used once and in this order. */
  rows(text: string, values?: readonly unknown[]): Promise<Row[]>;
}

export interface Transaction extends Statements {
  /** Rolled back to when `work` fails, and fails then too. */
  savepoint(work: (deeper: Statements) => Promise<unknown>): Promise<unknown>;
}

export interface Session extends Statements {
  transaction<T>(work: (inside: Transaction) => Promise<T>, isolation?: Isolation): Promise<T>;
  close(): Promise<unknown>;
}

/** What a server says about a failure. */
export interface Fault {
  readonly code: string;
  readonly constraint: string | undefined;
  readonly table: string | undefined;
  readonly position: string | undefined;
}

export interface Driver {
  readonly name: string;
  /** Speaks the protocol itself. */
  readonly ownProtocol?: true;
  /** A pool of at most so many connections. */
  open(access: Access, most: number): Session | Promise<Session>;
  /** How it tells the server's error, when not as pg does. */
  readonly fault?: (error: unknown) => Fault;
}

type Wrapped = Readonly<Record<string, unknown>>;

/** The server's error inside of what a tool makes of it. */
export function faultOf(error: unknown): Fault {
  let at = error as Wrapped | undefined;
  while (at !== undefined && !/^(?=.*\d)[0-9A-Z]{5}$/.test(String(at['code'])))
    at = (at['cause'] ?? at['original'] ?? at['driverError']) as Wrapped | undefined;
  if (at === undefined) throw error;
  const field = (...names: string[]): string | undefined =>
    names.map((name) => at[name]).find((value) => typeof value === 'string');
  return {
    code: String(at['code']),
    constraint: field('constraint', 'constraint_name'),
    table: field('table', 'table_name'),
    position: field('position'),
  };
}
