/**
 * A command's connection to a cluster, through one of its gateways: the functions of schema mtm that people
 * call.
 * Rule: what the gateway or the server refuses is a GatewayError with their own sentence and hint; nothing is
 * decided here.
 */
import pg from 'pg';
import type { ComparisonNews, ComparisonProgress } from '../core/comparison/news.ts';
import type { ComparisonOptions } from '../core/comparison/options.ts';
import type { RepairOptions, RepairReport } from '../core/comparison/repair.ts';
import { GatewayError } from '../lib/gateway-error.ts';

/** How the gateway is reached. */
export type ClusterTarget =
  | { readonly url: string }
  | {
      readonly host: string;
      readonly port: number;
      /** The gateway offers TLS; it is this machine's own, and not examined. */
      readonly encrypted: boolean;
      readonly user: string;
      readonly password: string | undefined;
      readonly database: string;
    };

export interface Answer {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly unknown[])[];
}

export interface ComparisonReport {
  readonly news: readonly ComparisonNews[];
  /** It is over, and there is no more. */
  readonly ended: boolean;
  readonly progress: ComparisonProgress;
}

export class ClusterClient {
  readonly #client: pg.Client;
  readonly #where: string;

  private constructor(client: pg.Client, where: string) {
    this.#client = client;
    this.#where = where;
  }

  /** For what changes the cluster. Rejects with a GatewayError. */
  static open(target: ClusterTarget): Promise<ClusterClient> {
    return ClusterClient.#connect(target, 'mtm-gateway');
  }

  /** For looking, also while the node is not online; with the rights of whoever may do no more. */
  static async openToLook(target: ClusterTarget): Promise<ClusterClient> {
    try {
      return await ClusterClient.#connect(target, 'mtm_admin');
    } catch (error) {
      if (!(error instanceof GatewayError) || error.sqlstate !== '42501') throw error;
      return ClusterClient.#connect(target, 'mtm-gateway');
    }
  }

  static async #connect(target: ClusterTarget, applicationName: string): Promise<ClusterClient> {
    const { client, where } = clientFor(target, applicationName);
    client.on('error', () => undefined); // whoever waits for an answer hears of it
    try {
      await client.connect();
      return new ClusterClient(client, where);
    } catch (cause) {
      await client.end().catch(() => undefined); // it never opened
      throw asRefusal(cause, where);
    }
  }

  status(): Promise<Answer> {
    return this.#ask('SELECT * FROM mtm.status()');
  }

  nodes(): Promise<Answer> {
    return this.#ask('SELECT * FROM mtm.nodes()');
  }

  /** Returns the id of the new node; asked again for an address that is known, its id. */
  async addNode(address: string): Promise<number> {
    const { rows } = await this.#ask('SELECT mtm.add_node($1)', [address]);
    return Number(rows[0]?.[0]);
  }

  /** Resolves when the node is online. */
  async joinNode(node: number, copyEnd: string): Promise<void> {
    await this.#ask('SELECT mtm.join_node($1, $2)', [node, copyEnd]);
  }

  /** Returns what the server remarked. */
  async dropNode(node: number): Promise<string[]> {
    return (await this.#noticing('SELECT mtm.drop_node($1)', [node])).remarks;
  }

  /** Compares the result of a query on all nodes; the remarks name the first difference. */
  async checkQuery(query: string): Promise<{ readonly equal: boolean; readonly remarks: string[] }> {
    const { answer, remarks } = await this.#noticing('SELECT mtm.check_query($1)', [query]);
    return { equal: answer.rows[0]?.[0] === true, remarks };
  }

  /** Spreads the values of all sequences over the nodes anew; true when something had to change. */
  async alterSequences(): Promise<{ readonly altered: boolean; readonly remarks: string[] }> {
    const { answer, remarks } = await this.#noticing('SELECT mtm.alter_sequences()', []);
    return { altered: answer.rows[0]?.[0] === true, remarks };
  }

  /** Begins to compare all nodes; the comparison ends with this connection. */
  async beginComparison(options: Partial<ComparisonOptions>): Promise<string> {
    const { rows } = await this.#ask('SELECT mtm.begin_comparison($1)', [JSON.stringify(options)]);
    return String(rows[0]?.[0]);
  }

  /** What has happened behind the first `seen` things; waits a moment when nothing has. */
  async comparisonNews(comparison: string, seen: number): Promise<ComparisonReport> {
    const { rows } = await this.#ask('SELECT mtm.comparison_news($1, $2)', [comparison, seen]);
    return rows[0]?.[0] as ComparisonReport;
  }

  /** Makes rows of other nodes those of one node, or says what would be done. */
  async repairRows(options: RepairOptions): Promise<RepairReport> {
    const { rows } = await this.#ask('SELECT mtm.repair_rows($1)', [JSON.stringify(options)]);
    return rows[0]?.[0] as RepairReport;
  }

  /** In the admin console. Returns what the gateway remarked. */
  async reload(): Promise<string[]> {
    return (await this.#noticing('RELOAD')).remarks;
  }

  async #noticing(text: string, values?: readonly unknown[]): Promise<{ answer: Answer; remarks: string[] }> {
    const remarks: string[] = [];
    const noticed = (notice: { readonly message?: string | undefined }): void => {
      remarks.push((notice.message ?? '').replace('[multimaster] ', ''));
    };
    this.#client.on('notice', noticed);
    try {
      return { answer: await this.#ask(text, values), remarks };
    } finally {
      this.#client.off('notice', noticed);
    }
  }

  async end(): Promise<void> {
    await this.#client.end();
  }

  async #ask(text: string, values?: readonly unknown[]): Promise<Answer> {
    try {
      const given = values === undefined ? {} : { values: [...values] };
      const result = await this.#client.query({ text, ...given, rowMode: 'array' });
      return { columns: result.fields.map(({ name }) => name), rows: result.rows as unknown[][] };
    } catch (cause) {
      throw asRefusal(cause, this.#where);
    }
  }
}

function clientFor(target: ClusterTarget, applicationName: string): { client: pg.Client; where: string } {
  const where = 'url' in target ? withoutPassword(target.url) : `${target.host}:${target.port}`;
  try {
    const how = 'url' in target ? { connectionString: target.url } : { ...target, ssl: sslOf(target) };
    const options = { application_name: applicationName, connectionTimeoutMillis: 5000 };
    return { client: new pg.Client({ ...how, ...options }), where };
  } catch (cause) {
    throw new GatewayError('config-invalid', `--url is no address of a gateway: ${where}`, { cause });
  }
}

function sslOf({ encrypted }: Extract<ClusterTarget, { encrypted: boolean }>) {
  return encrypted ? { rejectUnauthorized: false } : false;
}

function withoutPassword(url: string): string {
  return url.replace(/:[^:@/]*@/, '@').replace(/([?&]password=)[^&]*/, '$1…');
}

function asRefusal(cause: unknown, where: string): GatewayError {
  if (cause instanceof pg.DatabaseError) {
    const { code = 'XX000', message, hint } = cause;
    const missing = code === '3F000' || code === '42883';
    const remedy = missing ? 'connect to a gateway of a cluster, not to a bare server' : hint;
    const more = remedy === undefined ? {} : { hint: remedy };
    return new GatewayError('command-refused', message.replace('[multimaster] ', ''), {
      cause,
      sqlstate: code,
      ...more,
    });
  }
  const text = `the gateway at ${where} does not answer: ${reasonOf(cause)}`;
  return new GatewayError('gateway-unreachable', text, { cause });
}

/** A failed attempt at several addresses has no message of its own. */
function reasonOf(cause: unknown): string {
  if (cause instanceof AggregateError)
    return cause.errors.map((error) => (error as Error).message).join('; ');
  return cause instanceof Error ? cause.message : String(cause);
}
