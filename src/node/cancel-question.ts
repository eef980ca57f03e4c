/**
 * Cancel requests that fit no session here: the other gateways are asked, because whoever stands behind a
 * load balancer, or has a list of hosts, sends them to any of them.
 * Rules: what a peer passes on goes no further. Strangers can send such requests: few are under way at once,
 * and the rest is dropped, because a cancel is a hint. Who asks learns nothing from the answer.
 */
import type { NodeId } from '../core/identity.ts';
import type { SessionServices } from '../io/clients/session-services.ts';
import type { Answerer, PeerQuestions } from './peer-questions.ts';
import { RequestError } from './request-desk.ts';

const verb = 'cancel';
const limitMs = 5000;
const mostUnderWay = 64;

export class CancelQuestion {
  readonly #peers: Pick<PeerQuestions, 'ask'>;
  readonly #contacts: () => readonly NodeId[];
  #underWay = 0;

  constructor(peers: Pick<PeerQuestions, 'ask'>, contacts: () => readonly NodeId[]) {
    this.#peers = peers;
    this.#contacts = contacts;
  }

  /** Resolves when every peer has answered, or will not. */
  async ask(processId: number, key: Uint8Array): Promise<void> {
    if (this.#underWay >= mostUnderWay) return;
    this.#underWay++;
    const args = { processId, key: Buffer.from(key).toString('hex') };
    await Promise.allSettled(this.#contacts().map((peer) => this.#peers.ask(peer, verb, args, limitMs)));
    this.#underWay--;
  }
}

/** `desk`: of the sessions of this gateway. */
export function cancelAnswerers(desk: {
  readonly services: Pick<SessionServices, 'cancel'>;
}): Record<string, Answerer> {
  return {
    [verb]: async (args) => {
      const { processId, key } = (args ?? {}) as { processId?: unknown; key?: unknown };
      if (typeof processId !== 'number' || typeof key !== 'string')
        throw new RequestError('08P01', '[multimaster] a cancel request that cannot be read');
      await desk.services.cancel(processId, Buffer.from(key, 'hex'));
      return null;
    },
  };
}
