/**
 * This node's part of a command that each node runs for itself: runs it, takes it back, tells how far it is.
 * Rule: bears to be asked twice. What was begun goes on when the link breaks; whoever asks again joins it.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { EverywhereKind } from '../core/statement/everywhere-command.ts';
import { runCommand, type CommandEnd, type CommandFrame } from '../io/postgres/command-runner.ts';
import type { NodeParts } from './node-parts.ts';

export interface EverywhereFrame extends CommandFrame {
  /** In quotes; empty where it has none. */
  readonly target: string;
  readonly table?: string;
  readonly subject?: string;
}

export interface EverywhereTask {
  readonly id: string;
  readonly what: EverywhereKind;
  readonly text: string;
  readonly frame: EverywhereFrame;
}

export type EverywhereState = 'before' | 'halfway' | 'after';

export interface TaskEnd extends CommandEnd {
  /** After an error of a REINDEX: no invalid index is left on this node. */
  readonly clean?: boolean;
}

interface Running {
  readonly ended: Promise<TaskEnd>;
  pid: number | undefined;
  cancelled: boolean;
}

const done: CommandEnd = { notices: [] };
const cancelAgainMs = 20;
/** Whoever hears of a failure waits so long for its cleaning, ms: what was in the way may stay there. */
export const cleaningPatienceMs = 1000;
const sweepAgainMs = 1000;
const sweepPauseLimitMs = 60_000;

export class EverywhereHands {
  readonly #parts: NodeParts;
  readonly #running = new Map<string, Running>();
  #sweeping: Promise<void> | undefined;
  #stopped = false;

  constructor(parts: NodeParts) {
    this.#parts = parts;
  }

  stop(): void {
    this.#stopped = true;
  }

  async state({ what, frame }: EverywhereTask): Promise<EverywhereState> {
    const { rows } = await this.#parts.observer.client.query<{ state: EverywhereState }>(
      'SELECT mtm.everywhere_state($1, $2) AS state',
      [what, JSON.stringify(frame)],
    );
    return rows[0]!.state;
  }

  /**
   * Until the command is done here, or has failed. `first`: whatever the state is, the server shall judge.
   */
  run(task: EverywhereTask, first = false): Promise<TaskEnd> {
    const { id, what } = task;
    const known = this.#running.get(id);
    if (known !== undefined) return known.ended;
    const running: Running = { ended: this.#run(task, first), pid: undefined, cancelled: false };
    this.#running.set(id, running);
    const forget = (): void => void this.#running.delete(id);
    running.ended.then(forget, forget);
    this.#parts.log.info({ id, what, text: task.text }, 'a command that runs node by node begins here');
    return running.ended;
  }

  async #run(task: EverywhereTask, first: boolean): Promise<TaskEnd> {
    const { id, what, text, frame } = task;
    const began = performance.now();
    const state = first ? 'before' : await this.state(task);
    if (state === 'after') return done;
    if (state === 'halfway') await this.#repair(task);
    // A DETACH that was half done is whole now.
    const ready = state === 'halfway' && (await this.state(task)) === 'after';
    const end = ready ? done : await this.#command(id, frame, text);
    const seconds = Math.round(performance.now() - began) / 1000;
    const { log } = this.#parts;
    if (end.error === undefined)
      log.info({ id, what, seconds }, 'a command that runs node by node is done here');
    else
      log.warn(
        { id, what, seconds, error: end.error.message },
        'a command that runs node by node failed here',
      );
    if (end.error === undefined || what !== 'reindex') return end;
    await Promise.race([this.sweep(), pause(cleaningPatienceMs)]);
    return { ...end, clean: await this.#isClean() };
  }

  async #isClean(): Promise<boolean> {
    try {
      return (await this.#leftovers()).length === 0;
    } catch {
      return false; // nobody knows
    }
  }

  async #command(id: string, frame: CommandFrame | undefined, text: string): Promise<CommandEnd> {
    return runCommand(this.#parts.config.postgres, frame, text, (pid) => {
      const running = this.#running.get(id);
      if (running === undefined) return;
      running.pid = pid;
      if (running.cancelled) void this.#cancelBackend(running);
    });
  }

  /** What a former attempt has left. */
  async #repair({ what, frame }: EverywhereTask): Promise<void> {
    if (what === 'create-index') await this.#alone(`DROP INDEX CONCURRENTLY IF EXISTS ${frame.target}`);
    if (what === 'detach')
      await this.#alone(`ALTER TABLE ${frame.table} DETACH PARTITION ${frame.target} FINALIZE`);
  }

  /** Takes back what the command has made here. */
  async undo(task: EverywhereTask): Promise<CommandEnd> {
    const { what, frame } = task;
    if (what === 'create-index') return this.#alone(`DROP INDEX CONCURRENTLY IF EXISTS ${frame.target}`);
    if (what === 'create-tablespace') return this.#alone(`DROP TABLESPACE IF EXISTS ${frame.target}`);
    return done;
  }

  async #alone(text: string): Promise<CommandEnd> {
    const end = await runCommand(this.#parts.config.postgres, undefined, text, () => undefined);
    if (end.error !== undefined)
      this.#parts.log.warn({ text, error: end.error.message }, 'cleaning up failed');
    return end;
  }

  /**
   * Drops the indexes that a REINDEX has left behind which failed or whose gateway or server died, until
   * there are none. Never rejects.
   */
  sweep(): Promise<void> {
    this.#sweeping ??= this.#sweepAll().finally(() => {
      this.#sweeping = undefined;
    });
    return this.#sweeping;
  }

  async #sweepAll(): Promise<void> {
    for (let waitMs = sweepAgainMs; !this.#stopped; waitMs = Math.min(2 * waitMs, sweepPauseLimitMs)) {
      let left: readonly { name: string; busy: boolean }[];
      try {
        left = await this.#leftovers();
      } catch (error) {
        // Without its server this node begins anew, and sweeps then.
        this.#parts.log.warn({ err: error }, 'what a REINDEX has left is not known');
        return;
      }
      for (const { name, busy } of left)
        if (!busy) await this.#alone(`DROP INDEX CONCURRENTLY IF EXISTS ${name}`);
      // Whoever works on such a table may be a REINDEX that is under way.
      if (left.length === 0 || (await this.#leftovers().catch(() => left)).length === 0) return;
      await pause(waitMs);
    }
  }

  async #leftovers(): Promise<{ name: string; busy: boolean }[]> {
    const text = 'SELECT name, busy FROM mtm.invalid_leftovers()';
    const { rows } = await this.#parts.observer.client.query<{ name: string; busy: boolean }>(text);
    return rows;
  }

  /** Cancels it if it runs here; how far it is when it has ended. */
  async halt(task: EverywhereTask): Promise<EverywhereState> {
    this.cancel(task.id);
    await this.#running.get(task.id)?.ended.catch(() => undefined); // whoever asked for it hears of it
    return this.state(task);
  }

  cancelAll(): void {
    for (const id of this.#running.keys()) this.cancel(id);
  }

  cancel(id: string): void {
    const running = this.#running.get(id);
    if (running === undefined || running.cancelled) return;
    running.cancelled = true;
    void this.#cancelBackend(running);
  }

  /** A request that comes before the statement has begun is lost, so it is repeated. */
  async #cancelBackend(running: Running): Promise<void> {
    let ended = false;
    const end = (): void => void (ended = true);
    running.ended.then(end, end);
    for (;;) {
      await pause(cancelAgainMs);
      if (ended || running.pid === undefined) return;
      // The connection tells its own end.
      await this.#parts.observer.cancelBackend(running.pid).catch(() => undefined);
    }
  }
}
