/**
 * A client that lives through faults and says exactly what became of its transactions:
 *   ok     the commit was acknowledged
 *   fail   it certainly has no effect: COMMIT was never sent, or an SQLSTATE that promises so
 *   info   nobody has said: the connection broke or timed out behind COMMIT, 08007, or an SQLSTATE that promises nothing
 * Rule: what is not certain is `info`. A session that was lost is not used again.
 */
import { DatabaseError, type Client } from 'pg';
import { connect, hangUp, type Site } from './site.ts';

export interface Refused {
  readonly outcome: 'fail' | 'info';
  /** SQLSTATE, or `lost`, `timeout`, or the code of the socket. */
  readonly code: string;
  readonly message: string;
  /** From DETAIL of 08007. */
  readonly gid: string | undefined;
}

export interface Done<Value> {
  readonly outcome: 'ok';
  readonly value: Value;
}

export type Attempt<Value> = Done<Value> | Refused;

/** At COMMIT, or for a statement that is its own transaction. */
const certain = /^(23|25|42|53|55)...$|^(40001|40002|40P01|40000|57P01|57P03|57014|0A000|2D000|22023)$/;

const statementLimitMs = 20_000;

/** Waits for the statement, but not for ever: a paused process says nothing. */
async function bounded<T>(work: Promise<T>, limitMs = statementLimitMs): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('timeout')), limitMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
    work.catch(() => undefined); // After the limit nobody asks any more.
  }
}

function gidIn(error: DatabaseError): string | undefined {
  return /mtm:\d+:\d+:\d+:\d+/.exec(`${error.detail ?? ''} ${error.message}`)?.[0];
}

/** `undecided`: COMMIT, or the statement that is the transaction, was sent. */
export function judged(error: unknown, undecided: boolean): Refused {
  const { message } = error as Error;
  if (error instanceof DatabaseError && error.code !== undefined) {
    const open = error.code === '08007' || (undecided && !certain.test(error.code));
    return { outcome: open ? 'info' : 'fail', code: error.code, message, gid: gidIn(error) };
  }
  const code = message === 'timeout' ? 'timeout' : ((error as NodeJS.ErrnoException).code ?? 'lost');
  return { outcome: undecided ? 'info' : 'fail', code, message, gid: undefined };
}

/** One connection, and whether it can still be used. */
export class GatewaySession {
  readonly #client: Client;
  #usable = true;

  private constructor(client: Client) {
    this.#client = client;
    const lost = (): void => void (this.#usable = false);
    client.once('error', lost).once('end', lost);
  }

  /** Undefined: it is not possible now. */
  static async open(site: Site, number: number): Promise<GatewaySession | undefined> {
    try {
      return new GatewaySession(await connect(site, number, 'gateway'));
    } catch {
      return undefined;
    }
  }

  get usable(): boolean {
    return this.#usable;
  }

  /** One statement that is its own transaction. */
  async alone<Row>(text: string, values: unknown[] = []): Promise<Attempt<Row[]>> {
    try {
      const { rows } = await bounded(this.#client.query(text, values));
      return { outcome: 'ok', value: rows as Row[] };
    } catch (error) {
      this.#lookAt(error);
      return judged(error, true);
    }
  }

  /** `begin` … COMMIT around `body`. */
  async transaction<Value>(
    begin: string,
    body: (query: <Row>(text: string, values?: unknown[]) => Promise<Row[]>) => Promise<Value>,
  ): Promise<Attempt<Value>> {
    let undecided = false;
    try {
      await bounded(this.#client.query(begin));
      const value = await body(async <Row>(text: string, values: unknown[] = []) => {
        return (await bounded(this.#client.query(text, values))).rows as Row[];
      });
      undecided = true;
      const { command } = await bounded(this.#client.query('COMMIT'));
      if (command === 'COMMIT') return { outcome: 'ok', value };
      return {
        outcome: 'fail',
        code: 'rolled back',
        message: `COMMIT was answered ${command}`,
        gid: undefined,
      };
    } catch (error) {
      this.#lookAt(error);
      const refused = judged(error, undecided);
      if (this.#usable) await this.#rollBack();
      return refused;
    }
  }

  async #rollBack(): Promise<void> {
    try {
      await bounded(this.#client.query('ROLLBACK'));
    } catch (error) {
      this.#lookAt(error);
    }
  }

  /** An error of the server leaves the session as it was, unless it was FATAL. */
  #lookAt(error: unknown): void {
    if (error instanceof DatabaseError && error.severity === 'ERROR') return;
    this.close();
  }

  close(): void {
    this.#usable = false;
    hangUp(this.#client);
  }
}
