/**
 * The server process of a session: how it is recognised, and cancel requests for it.
 * Rule: a request is a hint that may come too early or too late; who needs the end of the statement asks
 * again.
 */
import { timingSafeEqual } from 'node:crypto';
import type { Socket } from 'node:net';
import { int32At } from '../../core/wire/messages.ts';
import { sendCancel, type ServerPlace } from '../postgres/server-connection.ts';

/** After some four seconds of repeated requests the connection is given up. */
const longestWaitMs = 2000;

export class ServerProcess {
  readonly #place: ServerPlace;
  #pid = 0;
  #key: Uint8Array = new Uint8Array(0);

  constructor(place: ServerPlace) {
    this.#place = place;
  }

  /** 0 until BackendKeyData has come. */
  get pid(): number {
    return this.#pid;
  }

  /** BackendKeyData, type byte at `start`. */
  introduced(buffer: Uint8Array, start: number, end: number): void {
    this.#pid = int32At(buffer, start + 5);
    this.#key = buffer.slice(start + 9, end);
  }

  keyFits(key: Uint8Array): boolean {
    return key.length === this.#key.length && timingSafeEqual(key, this.#key);
  }

  /** As sendCancel: resolves when the server has dealt with the request, or false. Never rejects. */
  cancel(): Promise<boolean> {
    return sendCancel(this.#place, this.#pid, this.#key);
  }

  /**
   * For a connection that was given up in the middle of a statement. A request that overtakes its statement
   * is lost: it is repeated until the server has closed the connection.
   */
  async cancelUntilGone(server: Socket): Promise<void> {
    server.resume(); // what it still says is dropped
    for (let waitMs = 10; waitMs < longestWaitMs && !server.closed; waitMs *= 2) {
      await this.cancel();
      await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
    server.destroy();
  }
}
