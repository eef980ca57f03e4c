/**
 * Sessions of the gateway with itself: they are told by a word that only this process knows, and need no
 * certificate.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';

const name = 'mtm.own_session';

export class OwnSessions {
  readonly #word = randomBytes(24);

  /** For the `options` of the startup packet. */
  get option(): string {
    return `-c ${name}=${this.#word.toString('hex')}`;
  }

  /** A session whose startup packet has these settings is one of them. */
  are(settings: ReadonlyMap<string, string>): boolean {
    const word = Buffer.from(settings.get(name) ?? '', 'hex');
    return word.length === this.#word.length && timingSafeEqual(word, this.#word);
  }
}

/** Of this process. */
export const ownSessions = new OwnSessions();
