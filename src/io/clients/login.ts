/**
 * What the server says until the client is let in, and what the client answers.
 * Rule: whether a user may work unsupervised, or have the console, is asked only after he has proved who he
 * is, so a stranger learns nothing; neither side hears of the other before that is known.
 */
import { backend, frontend } from '../../core/wire/codes.ts';
import { int32At } from '../../core/wire/messages.ts';
import { endsAuthentication, type ScramBridge } from './scram-bridge.ts';
import type { ServerProcess } from './server-process.ts';

export interface LoginOwner {
  /**
   * It wants more than others: the error that says why it may not have that; undefined: it may. Never
   * rejects.
   */
  readonly checks: (() => Promise<Uint8Array | undefined>) | undefined;
  /** A message of the server, for the machine. */
  relayed(type: number, buffer: Uint8Array, start: number, end: number): void;
  /** A message of the server, for the client. */
  told(message: Uint8Array): void;
  /** Neither side is read until `goOn`. */
  wait(): void;
  goOn(): void;
  /** He may not: his session ends with these last words. */
  refused(error: Uint8Array): void;
  /** The server waits for an answer: what the client has said already is one, for better or worse. */
  challenged(): void;
  /** The client's answer, for the server. */
  answered(message: Uint8Array): void;
  failed(reason: string): void;
  ended(): boolean;
  readonly settled: () => void;
}

export class Login {
  readonly #owner: LoginOwner;
  readonly #process: ServerProcess;
  readonly #scram: ScramBridge;
  /** The server waits for the client's answer to its request for authentication. */
  #challenged = false;
  done = false;
  /** The user may have what he wants: what the server says goes to `told`. */
  unsupervised = false;
  /** While the check runs: what the server says since it let the user in. */
  #held: Uint8Array[] | undefined;

  constructor(owner: LoginOwner, process: ServerProcess, scram: ScramBridge) {
    this.#owner = owner;
    this.#process = process;
    this.#scram = scram;
  }

  /** Whether the user may have what he wants is being asked. */
  get checking(): boolean {
    return this.#held !== undefined;
  }

  answer(message: Uint8Array): void {
    const owner = this.#owner;
    this.#challenged = false;
    const converted = this.#scram.fromClient(message);
    if (converted === undefined) return owner.answered(message);
    converted.then(
      (bytes) => owner.answered(bytes),
      (error: Error) => owner.failed(error.message),
    );
  }

  serverMessage(type: number, buffer: Uint8Array, start: number, end: number): void {
    if (!this.done) {
      if (type === backend.backendKeyData) {
        this.#process.introduced(buffer, start, end);
      } else if (type === backend.readyForQuery) {
        this.done = true;
        this.#owner.settled();
      } else if (type === backend.authentication) {
        return this.#authentication(buffer.subarray(start, end));
      }
    }
    this.#pass(type, buffer, start, end);
  }

  #authentication(request: Uint8Array): void {
    const code = int32At(request, 5);
    this.#challenged = !endsAuthentication(code);
    const { checks } = this.#owner;
    if (checks !== undefined && code === 0) {
      this.#held = [];
      void this.#check(checks());
    }
    const bytes = this.#scram.fromServer(request);
    this.#pass(backend.authentication, bytes, 0, bytes.length);
    if (this.#challenged) this.#owner.challenged();
  }

  #pass(type: number, buffer: Uint8Array, start: number, end: number): void {
    if (this.#held !== undefined) this.#held.push(buffer.slice(start, end));
    else if (this.unsupervised) this.#owner.told(buffer.subarray(start, end));
    else this.#owner.relayed(type, buffer, start, end);
  }

  async #check(checked: Promise<Uint8Array | undefined>): Promise<void> {
    const owner = this.#owner;
    owner.wait();
    const refusal = await checked;
    if (owner.ended()) return;
    if (refusal !== undefined) return owner.refused(refusal);
    const held = this.#held ?? [];
    this.#held = undefined;
    this.unsupervised = true;
    for (const message of held) owner.told(message);
    owner.goOn();
  }

  /** The server waits for an answer and says itself what is wrong with another message. */
  isServersBusiness(type: number): boolean {
    return this.#challenged && type !== frontend.terminate;
  }
}
