/**
 * The rows of mtm.everywhere: what is under way node by node. They are written by transactions that this
 * gateway runs as its own client, so that every node has them, and nodes that were away get them by replay.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { supervised } from '../io/postgres/supervised-client.ts';
import type { EverywhereTask } from './everywhere-hands.ts';
import type { NodeParts } from './node-parts.ts';

/** sql/everywhere.sql: mtm.end_everywhere(). */
export type Outcome = 'done' | 'undone' | 'forgotten';

/** Lost a conflict, or came while the nodes agreed on a new generation. */
const passing: ReadonlySet<string> = new Set(['40001', '40P01', '57P03', '08006', '08001', '08007']);
/** Another command works on the same table. */
const taken: ReadonlySet<string> = new Set(['55006', '23505']);
const againMs = 200;
/** How long the end of a command may be in coming, ms. */
const endLimitMs = 60_000;

export class EverywhereRecord {
  readonly #parts: NodeParts;

  constructor(parts: NodeParts) {
    this.#parts = parts;
  }

  /**
   * Waits for another command on the same subject, until `signal` is aborted. Rejects with what the client is
   * to hear.
   */
  async begin(task: EverywhereTask, plain: string, signal: AbortSignal): Promise<void> {
    const values = [task.id, task.what, task.text, plain, JSON.stringify(task.frame)];
    for (;;) {
      if (signal.aborted) return; // its owner knows why
      try {
        const text = 'SELECT mtm.begin_everywhere($1, $2, $3, $4, $5)';
        return await supervised(this.#parts.config, text, values, signal);
      } catch (error) {
        if (signal.aborted) return;
        const code = codeOf(error);
        if (code === '23505' && (await this.has(task.id))) return; // the repeat of what was done
        if (!taken.has(code) && !passing.has(code)) throw error;
      }
      await pause(againMs);
    }
  }

  /** The command that works on the same subject, in words; undefined: there is none. */
  async other({ id, frame }: EverywhereTask): Promise<string | undefined> {
    const { rows } = await this.#parts.observer.client.query<{ home: number; command: string }>(
      `SELECT home, command FROM mtm.everywhere WHERE subject = $1 AND id <> $2`,
      [frame.subject ?? '', id],
    );
    const [row] = rows;
    return row === undefined ? undefined : `a client of node ${row.home} runs ${row.command}`;
  }

  /** It is still under way. */
  async has(id: string): Promise<boolean> {
    const { rows } = await this.#parts.observer.client.query('SELECT 1 FROM mtm.everywhere WHERE id = $1', [
      id,
    ]);
    return rows.length > 0;
  }

  /** Does nothing when it was ended already. */
  async end(id: string, outcome: Outcome): Promise<void> {
    const until = performance.now() + endLimitMs;
    for (;;) {
      try {
        return await supervised(this.#parts.config, 'SELECT mtm.end_everywhere($1, $2)', [id, outcome]);
      } catch (error) {
        if (!passing.has(codeOf(error)) || performance.now() > until) throw error;
      }
      await pause(againMs);
    }
  }

  /** All that are under way anywhere, or were when their gateway died. */
  async left(): Promise<{ home: number; task: EverywhereTask }[]> {
    const { rows } = await this.#parts.observer.client.query<{ home: number } & EverywhereTask>(
      'SELECT home, id, what, command AS text, frame FROM mtm.everywhere ORDER BY begun',
    );
    return rows.map(({ home, id, what, text, frame }) => ({ home, task: { id, what, text, frame } }));
  }
}

function codeOf(error: unknown): string {
  const { code } = error as { readonly code?: unknown };
  return typeof code === 'string' ? code : '';
}
