/**
 * The referee in a Redis (architecture §4).
 * Rule: nothing is queued, repeated or reconnected by the client library; a call that has no answer has an
 * unknown outcome, which is no grant.
 */
import { Redis } from 'ioredis';
import type { RefereeAnswer } from '../../core/generation/referee.ts';
import type { GrantRefusal } from '../../core/generation/referee-record.ts';
import { GatewayError } from '../../lib/gateway-error.ts';
import { grantScript, reportScript } from './redis-script.ts';
import { infoOf, judgedSettings, redisObjection } from './redis-suitability.ts';
import { addressText, recordOf, type RefereeSession, type SessionOptions } from './session.ts';

const keepAliveMs = 1000;

/** Answers that mean: not with these credentials, or not with this kind of server. */
const refusals =
  /^(NOAUTH|WRONGPASS|NOPERM)|invalid password|unknown command|DB index is out of range|invalid DB index/i;

const grantRefusals: readonly string[] = [
  'no-record',
  'cleared',
  'other-winner',
  'incomplete',
  'unconfirmed',
] satisfies GrantRefusal[];

/** Rejects with GatewayError (referee-unsuitable), or with the reason why it was not reached. */
export async function openRedisSession(options: SessionOptions): Promise<RefereeSession> {
  const session = new RedisSession(options);
  try {
    await session.open();
  } catch (error) {
    session.close();
    throw session.explained(error);
  }
  return session;
}

class RedisSession implements RefereeSession {
  readonly #options: SessionOptions;
  readonly #redis: Redis;
  #lastError: Error | undefined;
  #opened = false;
  #over = false;

  constructor(options: SessionOptions) {
    const { address, tls, timeoutMs } = options;
    this.#options = options;
    this.#redis = new Redis({
      host: address.host,
      port: address.port,
      ...(address.user === '' ? {} : { username: address.user }),
      ...(address.password === undefined ? {} : { password: address.password }),
      db: Number(address.database),
      ...(tls === undefined ? {} : { tls }),
      connectionName: 'mtm-gateway',
      disableClientInfo: true,
      protocol: 2,
      lazyConnect: true,
      connectTimeout: timeoutMs,
      commandTimeout: timeoutMs,
      keepAlive: keepAliveMs,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      retryStrategy: () => null,
    });
    this.#redis.on('error', (error: Error) => (this.#lastError = error));
    this.#redis.on('end', () => this.#lost());
  }

  async open(): Promise<void> {
    await this.#redis.connect();
    await this.#judge();
    this.#opened = true;
  }

  #lost(): void {
    if (this.#over || !this.#opened) return;
    this.#over = true;
    this.#options.onLost(this.#lastError?.message ?? 'it closed the connection');
  }

  /** What the server said before the library's own "Connection is closed". */
  explained(error: unknown): unknown {
    const first = this.#lastError ?? error;
    if (error instanceof GatewayError || !(first instanceof Error)) return error;
    if (!refusals.test(first.message)) return first;
    const sentence = `${addressText(this.#options.address)} refuses the gateway: ${first.message}`;
    return new GatewayError('referee-unsuitable', sentence, { cause: first });
  }

  async #judge(): Promise<void> {
    const settings: Record<string, string | undefined> = {};
    const [info] = await Promise.all([
      this.#redis.info(),
      ...judgedSettings.map(async (name) => {
        const pair = (await this.#redis.config('GET', name)) as unknown;
        if (Array.isArray(pair) && typeof pair[1] === 'string') settings[name] = pair[1];
      }),
    ]);
    const objection = redisObjection(settings, infoOf(info));
    if (objection === undefined) return;
    throw new GatewayError('referee-unsuitable', `${addressText(this.#options.address)} ${objection}`);
  }

  async #run(script: string, generation: number, last: number): Promise<string[]> {
    const { client } = this.#options;
    const place = client.self === client.pair.low ? 'low' : 'high';
    const answer: unknown = await this.#redis.eval(
      script,
      1,
      client.key,
      client.self,
      place,
      generation,
      last,
    );
    if (!Array.isArray(answer) || !answer.every((field) => typeof field === 'string'))
      throw new Error('the referee answered something else than the script does');
    return answer;
  }

  async requestGrant(generation: number, since: number): Promise<RefereeAnswer> {
    await this.#judge();
    const [verdict = '', ...fields] = await this.#run(grantScript, generation, since);
    if (verdict === 'granted') return { kind: 'granted', record: recordOf(fields) };
    if (!grantRefusals.includes(verdict)) throw new Error('the referee gave a verdict that there is not');
    const record = fields.length === 0 ? undefined : recordOf(fields);
    return { kind: 'refused', refusal: verdict as GrantRefusal, record };
  }

  async reportOnline(generation: number, revision: number): Promise<RefereeAnswer> {
    const [, ...fields] = await this.#run(reportScript, generation, revision);
    return { kind: 'reported', record: recordOf(fields) };
  }

  close(): void {
    this.#over = true;
    this.#redis.disconnect();
  }
}
