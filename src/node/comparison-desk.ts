/**
 * Comparisons of all nodes that sessions have begun here (mtm.begin_comparison), each in the background.
 * Rules: one for each session. It ends with the session, with its time, or with this node; its snapshots are
 * freed at once, and where nobody can be told any more, by themselves a little later.
 */
import type { NodeId } from '../core/identity.ts';
import type { ComparisonNews } from '../core/comparison/news.ts';
import { readOptions, type ComparisonOptions } from '../core/comparison/options.ts';
import type { ComparisonCall, ComparisonHands } from './comparison-hands.ts';
import { ComparisonJob } from './comparison-job.ts';
import type { Answerer, PeerQuestions } from './peer-questions.ts';
import { RequestError, type Asker } from './request-desk.ts';
import type { Point, SnapshotDesk } from './snapshot-desk.ts';
import type { VerbNode } from './verbs.ts';

const verb = 'compare';
/** A snapshot that nobody has touched for this long is freed, ms. */
const unusedMs = 120_000;
const touchMs = 20_000;
const lookMs = 2000;
/** One piece of a table, or one search through a large one. */
const questionLimitMs = 24 * 3_600_000;
const newsAtOnce = 200;
const newsWaitMs = 1000;

interface Comparison {
  readonly name: string;
  readonly backendPid: number;
  readonly job: ComparisonJob;
  readonly news: ComparisonNews[];
  readonly looks: NodeJS.Timeout;
  point: Point;
  /** How many were forgotten, because they were heard. */
  forgotten: number;
  failure: RequestError | undefined;
  ended: boolean;
  /** Whoever waits for news. */
  wake: () => void;
}

export class ComparisonDesk {
  readonly #node: VerbNode;
  readonly #ask: (to: NodeId, call: ComparisonCall) => Promise<unknown>;
  readonly #snapshots: SnapshotDesk;
  readonly #comparisons = new Map<number, Comparison>();
  #counter = 0;

  constructor(node: VerbNode, peers: PeerQuestions, snapshots: SnapshotDesk, hands: ComparisonHands) {
    this.#node = node;
    this.#snapshots = snapshots;
    this.#ask = askComparison(node, peers, hands);
  }

  stop(): void {
    for (const comparison of this.#comparisons.values()) this.#forget(comparison, 'the gateway ends');
  }

  /** For mtm.begin_comparison(). */
  async begin(args: unknown, { backendPid }: Asker): Promise<object> {
    const options = readOptions(args);
    if (typeof options === 'string') throw new RequestError('22023', `[multimaster] ${options}`);
    const former = this.#comparisons.get(backendPid);
    if (former !== undefined) this.#forget(former, 'its session has begun another one');
    const comparison = await this.#make(options, backendPid);
    this.#comparisons.set(backendPid, comparison);
    void this.#run(comparison, options.maxTimeMs);
    return { comparison: comparison.name };
  }

  async #make(options: ComparisonOptions, backendPid: number): Promise<Comparison> {
    const point = await this.#snapshots.point(unusedMs);
    const { members } = point;
    const job = new ComparisonJob({
      options,
      members,
      away: this.#snapshots.away(members),
      ask: (node, question) =>
        this.#ask(node, { ...question, token: comparison.point.token } as ComparisonCall),
      renew: async () => {
        await this.#snapshots.freePoint(comparison.point);
        comparison.point = await this.#snapshots.point(unusedMs);
      },
      tell: (each) => {
        comparison.news.push(each);
        comparison.wake();
      },
    });
    const comparison: Comparison = {
      name: `${this.#node.parts.takeOver.incarnation}:${++this.#counter}`,
      backendPid,
      job,
      point,
      news: [],
      looks: setInterval(() => void this.#look(comparison), lookMs),
      forgotten: 0,
      failure: undefined,
      ended: false,
      wake: () => undefined,
    };
    return comparison;
  }

  /** For mtm.comparison_news(). */
  async news(args: unknown, { backendPid }: Asker): Promise<object> {
    const { comparison: name, seen } = args as { readonly comparison: string; readonly seen: number };
    const comparison = this.#comparisons.get(backendPid);
    if (comparison?.name !== name)
      throw new RequestError('22023', '[multimaster] this session has no such comparison');
    if (comparison.news.length + comparison.forgotten <= seen && !comparison.ended) await woken(comparison);
    const heard = Math.min(Math.max(0, seen - comparison.forgotten), comparison.news.length);
    comparison.news.splice(0, heard);
    comparison.forgotten += heard;
    const news = comparison.news.slice(0, newsAtOnce);
    const ended = comparison.ended && news.length === comparison.news.length;
    if (ended && comparison.failure !== undefined) throw comparison.failure;
    return { news, from: comparison.forgotten, ended, progress: comparison.job.progress };
  }

  async #run(comparison: Comparison, maxTimeMs: number): Promise<void> {
    const { job, name } = comparison;
    const { log } = this.#node.parts;
    const late = setTimeout(() => this.#end(comparison, 'its time is over'), maxTimeMs);
    const touch = setInterval(() => {
      void this.#snapshots.touch(comparison.point.token, job.alive);
    }, touchMs);
    log.info({ comparison: name, backendPid: comparison.backendPid }, 'the nodes are compared');
    try {
      await job.run();
    } catch (error) {
      if (!(error instanceof RequestError)) log.error({ err: error }, 'a comparison failed');
      const { sqlstate, message } = RequestError.fields(error);
      comparison.failure = new RequestError(sqlstate, message);
    }
    clearTimeout(late);
    clearInterval(touch);
    comparison.ended = true;
    comparison.wake();
    await this.#snapshots.freePoint(comparison.point);
    log.info({ comparison: name, stopped: job.stopped }, 'the comparison has ended');
  }

  /** What it asks for now ends with the snapshots. */
  #end(comparison: Comparison, reason: string): void {
    comparison.job.stop(reason);
    if (!comparison.ended) void this.#snapshots.freePoint(comparison.point);
  }

  /** The session that waits for it may be gone: nobody hears its news any more. */
  async #look(comparison: Comparison): Promise<void> {
    try {
      const text = 'SELECT 1 FROM pg_catalog.pg_stat_activity WHERE pid = $1';
      const { rows } = await this.#node.parts.observer.client.query(text, [comparison.backendPid]);
      if (rows.length === 0) this.#forget(comparison, 'its session has ended');
    } catch {
      this.#forget(comparison, 'its server is lost'); // and the sessions with it
    }
  }

  #forget(comparison: Comparison, reason: string): void {
    clearInterval(comparison.looks);
    this.#end(comparison, reason);
    if (this.#comparisons.get(comparison.backendPid) === comparison)
      this.#comparisons.delete(comparison.backendPid);
  }
}

/** How any node is asked; by this one's own hands or over the link. */
export function askComparison(
  node: VerbNode,
  peers: PeerQuestions,
  hands: ComparisonHands,
): (to: NodeId, call: ComparisonCall) => Promise<unknown> {
  const self = node.parts.config.nodeId;
  return (to, call) => (to === self ? hands.answer(call) : peers.ask(to, verb, call, questionLimitMs));
}

function woken(comparison: Comparison): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, newsWaitMs);
    comparison.wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}

/** For other gateways. */
export function comparisonAnswerers(hands: ComparisonHands): Record<string, Answerer> {
  return { [verb]: (args) => hands.answer(args as ComparisonCall) };
}
