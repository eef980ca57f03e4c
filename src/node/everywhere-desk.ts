/**
 * Runs a command that cannot be part of a transaction on all nodes, one by one, for a client of this gateway.
 *
 * States of a command: noted (a row on every node, by a transaction) → run here → run on the other members
 * at once → ended (by a transaction, which makes up for it on nodes that were away). After an error, or when
 * the gateway that had begun it has died: settled, which is carrying it through where that is all that is
 * possible (DROP, DETACH), else taking it back everywhere.
 * Rule: first here, so that what PostgreSQL refuses is refused before anything was done elsewhere. A node
 * that is lost meanwhile is waited for until it takes part again or is no member any more.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { NodeId } from '../core/identity.ts';
import type { EverywhereOrder, EverywhereResult } from '../core/session/ports.ts';
import type { ErrorText } from '../core/wire/messages.ts';
import type { CommandEnd } from '../io/postgres/command-runner.ts';
import { cleaningPatienceMs } from './everywhere-hands.ts';
import type { EverywhereFrame, EverywhereHands, EverywhereTask, TaskEnd } from './everywhere-hands.ts';
import { EverywhereJob, takenBack, told } from './everywhere-job.ts';
import { EverywhereRecord } from './everywhere-record.ts';
import type { Outcome } from './everywhere-record.ts';
import type { Answerer, PeerQuestions } from './peer-questions.ts';
import { RequestError } from './request-desk.ts';
import type { VerbNode } from './verbs.ts';

/** Verbs between gateways. */
const verbs = { run: 'everywhere-run', halt: 'everywhere-halt', undo: 'everywhere-undo' } as const;

/** An index of a large table takes hours. */
const commandLimitMs = 14 * 24 * 3_600_000;
const cleaningLimitMs = 3_600_000;
const againMs = 500;
const lookMs = 1000;
/** What was noted after its client had gone is seen only when it is looked for. */
const lookAgainMs = 30_000;

export class EverywhereDesk {
  readonly #node: VerbNode;
  readonly #peers: PeerQuestions;
  readonly #hands: EverywhereHands;
  readonly #record: EverywhereRecord;
  readonly #jobs = new Map<string, EverywhereJob>();
  readonly #bySession = new Map<object, EverywhereJob>();
  readonly #timer: NodeJS.Timeout;
  #counter = 0;
  /** The generation in which what others have left was looked for. */
  #lookedIn = 0;
  #lookedAt = -Infinity;
  #looking = false;
  #swept = false;

  constructor(node: VerbNode, peers: PeerQuestions, hands: EverywhereHands) {
    this.#node = node;
    this.#peers = peers;
    this.#hands = hands;
    this.#record = new EverywhereRecord(node.parts);
    this.#timer = setInterval(() => void this.#look(), lookMs);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#hands.stop();
  }

  /** Never rejects. `session` is whoever waits, by which it can be cancelled. */
  async run(session: object, order: EverywhereOrder): Promise<EverywhereResult> {
    const { what } = order.command;
    const { nodeId } = this.#node.parts.config;
    const id = `${nodeId}:${this.#node.parts.takeOver.incarnation}:${++this.#counter}:${what}`;
    const frame = JSON.parse(order.frame) as EverywhereFrame;
    const job = new EverywhereJob({ id, what, text: order.text, frame }, () => this.#haltAll(job));
    this.#jobs.set(id, job);
    this.#bySession.set(session, job);
    try {
      return await this.#carryOut(job, order);
    } catch (error) {
      this.#lookedIn = 0; // its row may be left
      return { notices: [], error: told(error) };
    } finally {
      job.ended();
      this.#bySession.delete(session);
      if (!job.settling) this.#jobs.delete(id);
    }
  }

  /** By the client's request, or because it is gone. */
  cancel(session: object): void {
    const job = this.#bySession.get(session);
    if (job === undefined) return;
    job.stop();
    this.#haltAll(job);
  }

  async #carryOut(job: EverywhereJob, order: EverywhereOrder): Promise<EverywhereResult> {
    const { task } = job;
    const noted = task.what !== 'reindex';
    if (task.what.endsWith('-tablespace')) this.#requireAll(task.what);
    if (noted) await this.#begin(job, order.plain);
    const { notices, error } = await this.#runOnAll(job, noted);
    if (error === undefined) {
      if (noted) await this.#record.end(task.id, 'done');
      return { notices, error };
    }
    // What kept the command waiting may keep the cleaning waiting: nobody waits for that.
    if (noted) await Promise.race([this.#settleFailed(job), pause(cleaningPatienceMs)]);
    return { notices, error: job.told(error) };
  }

  #begin(job: EverywhereJob, plain: string): Promise<void> {
    return job.waiting(
      () => this.#record.begin(job.task, plain, job.signal),
      () => this.#record.other(job.task),
    );
  }

  /** A tablespace cannot be made in a transaction, so nobody can catch up with it. */
  #requireAll(what: string): void {
    const { configuration, generation } = this.#node.machine;
    const away = configuration.configured.filter((node) => generation?.members.includes(node) !== true);
    if (away.length === 0) return;
    const command = what === 'create-tablespace' ? 'CREATE TABLESPACE' : 'DROP TABLESPACE';
    throw new RequestError(
      '57P03',
      `[multimaster] ${command} needs all nodes, and node ${away.join(', ')} is away`,
      'Bring the node back, or drop it from the cluster.',
    );
  }

  // ---- on all nodes

  async #runOnAll(job: EverywhereJob, noted: boolean): Promise<EverywhereResult> {
    const { task } = job;
    const here = await this.#hands.run(task, true);
    if (here.error !== undefined) {
      job.unclean = here.clean !== true;
      const cancelled = here.error.sqlstate === '57014';
      const given = cancelled && job.stopped === undefined && this.#members() === undefined;
      const error = (cancelled ? job.stopped : undefined) ?? here.error;
      return { notices: here.notices, error: given ? takenBack : error };
    }
    const done = new Set<NodeId>([this.#node.parts.config.nodeId]);
    for (;;) {
      if (job.stopped !== undefined) return { notices: here.notices, error: job.stopped };
      const members = this.#members();
      const left = members?.filter((member) => !done.has(member));
      if (noted && members !== undefined && !(await this.#record.has(task.id)))
        return { notices: here.notices, error: takenBack };
      if (left?.length === 0) return { notices: here.notices, error: undefined };
      if (job.stopped !== undefined) continue; // nobody is asked who was halted before
      await Promise.all((left ?? []).map((member) => this.#runAt(member, job, done)));
      if (job.failure !== undefined) return { notices: here.notices, error: job.failure };
      // Somebody may have been lost, or be just coming back.
      if (left?.some((member) => !done.has(member)) !== false) await pause(againMs);
    }
  }

  /** Undefined while this node does not serve. */
  #members(): readonly NodeId[] | undefined {
    const { generation, liveness } = this.#node.machine;
    return generation !== undefined && liveness.onlineIn === generation.number
      ? generation.members
      : undefined;
  }

  /** It is done there, or has failed there (the others are halted then), or the node is lost. */
  async #runAt(member: NodeId, job: EverywhereJob, done: Set<NodeId>): Promise<void> {
    try {
      const end = (await this.#peers.ask(member, verbs.run, job.task, commandLimitMs)) as TaskEnd;
      if (end.error !== undefined && end.clean !== true) job.unclean = true;
      if (end.error === undefined) done.add(member);
      else this.#fails(job, end.error, member);
    } catch (error) {
      job.unclean = true;
      if (!(error instanceof RequestError)) throw error;
      if (error.sqlstate !== '57P03') this.#fails(job, told(error), member);
    }
  }

  #fails(job: EverywhereJob, error: ErrorText, member: NodeId): void {
    job.fails(error, member);
    this.#haltAll(job);
  }

  #haltAll({ task }: EverywhereJob): void {
    this.#hands.cancel(task.id);
    // Who cannot be asked is lost, and halts when it is settled.
    for (const member of this.#others()) this.#ask(member, verbs.halt, task).catch(() => undefined);
  }

  #others(): NodeId[] {
    const { nodeId } = this.#node.parts.config;
    return (this.#members() ?? []).filter((member) => member !== nodeId);
  }

  #ask(member: NodeId, verb: string, task: EverywhereTask): Promise<unknown> {
    return this.#peers.ask(member, verb, task, cleaningLimitMs);
  }

  // ---- when it did not go well

  async #settleFailed(job: EverywhereJob): Promise<void> {
    const { task } = job;
    job.settling = true;
    try {
      await this.#settle(task, this.#node.parts.config.nodeId);
    } catch (error) {
      this.#lookedIn = 0; // again, as what a dead gateway has left
      const { id, text } = task;
      this.#node.parts.log.warn({ id, text, err: error }, 'a command that failed is cleaned up later');
    } finally {
      job.settling = false;
      this.#jobs.delete(task.id);
    }
  }

  /** Rejects when a member cannot be asked: then it is to be tried again. */
  async #settle(task: EverywhereTask, home: NodeId): Promise<void> {
    const { what } = task;
    if (what.endsWith('-tablespace')) this.#requireAll(what);
    if (this.#members() === undefined)
      throw new RequestError('57P03', '[multimaster] this node is not online');
    const others = this.#others();
    const states = [
      await this.#hands.halt(task),
      ...(await Promise.all(others.map((member) => this.#ask(member, verbs.halt, task)))),
    ];
    const { nodeId } = this.#node.parts.config;
    // Where it began may have gone further than anybody who can be asked.
    const known = home === nodeId || others.includes(home);
    const outcome = outcomeOf(task, states, known);
    if (outcome === 'undone') await this.#everyone(task, others, verbs.undo);
    if (outcome === 'done' && states.some((state) => state !== 'after')) {
      await this.#everyone(task, others, verbs.run);
    }
    await this.#record.end(task.id, outcome);
    const { id, text } = task;
    this.#node.parts.log.warn({ id, text, states, outcome }, 'a command that runs node by node was settled');
  }

  async #everyone(
    task: EverywhereTask,
    others: readonly NodeId[],
    verb: 'everywhere-run' | 'everywhere-undo',
  ) {
    const here = verb === verbs.run ? this.#hands.run(task) : this.#hands.undo(task);
    const asked = others.map((member) => this.#ask(member, verb, task) as Promise<CommandEnd>);
    for (const { error } of await Promise.all([here, ...asked])) {
      if (error !== undefined) throw new RequestError(error.sqlstate, error.message);
    }
  }

  /** Commands whose gateway has died, in each generation in which this node is online. */
  async #look(): Promise<void> {
    const members = this.#members();
    const { generation } = this.#node.machine;
    // The others go on without this node: they settle what it has begun, and it replays that.
    if (generation?.members.includes(this.#node.parts.config.nodeId) === false) this.#hands.cancelAll();
    const online = this.#node.machine.liveness.onlineIn;
    const now = performance.now();
    const fresh = this.#lookedIn === online && now - this.#lookedAt < lookAgainMs;
    if (members === undefined || this.#looking || fresh) return;
    this.#looking = true;
    const { nodeId } = this.#node.parts.config;
    try {
      // What a former process of this node has left.
      if (!this.#swept) void this.#hands.sweep();
      this.#swept = true;
      this.#lookedIn = online;
      this.#lookedAt = now;
      const mine = (await this.#record.left()).filter(
        ({ home, task }) =>
          !this.#jobs.has(task.id) &&
          (members.includes(home) ? home === nodeId : nodeId === Math.min(...members)),
      );
      // Side by side: what one has in its way is not in the way of the others.
      await Promise.all(mine.map(({ task, home }) => this.#settle(task, home)));
    } catch (error) {
      this.#lookedIn = 0;
      this.#node.parts.log.warn({ err: error }, 'commands that were left half done are looked at again');
      await pause(5 * lookMs);
    } finally {
      this.#looking = false;
    }
  }
}

/** `known`: the state of the node where it was begun is among them. */
function outcomeOf({ what }: EverywhereTask, states: readonly unknown[], known: boolean): Outcome {
  if (known && states.every((state) => state === 'before')) return 'forgotten';
  if (states.every((state) => state === 'after')) return 'done';
  return what === 'create-index' || what === 'create-tablespace' ? 'undone' : 'done';
}

/** For other gateways. */
export function everywhereAnswerers(node: VerbNode, hands: EverywhereHands): Record<string, Answerer> {
  const online = (): void => {
    if (node.machine.liveness.onlineIn === 0)
      throw new RequestError('57P03', `[multimaster] node ${node.parts.config.nodeId} is not online`);
  };
  return {
    [verbs.run]: (args) => {
      online();
      return hands.run(args as EverywhereTask);
    },
    [verbs.halt]: (args) => hands.halt(args as EverywhereTask),
    [verbs.undo]: (args) => {
      online();
      return hands.undo(args as EverywhereTask);
    },
  };
}
