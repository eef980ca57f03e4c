/**
 * SCRAM between a client and the server when TLS ends here (RFC 5802, RFC 7677; manual, "SASL
 * Authentication").
 *
 * Channel binding cannot pass: SCRAM-SHA-256-PLUS is left out of what the server offers. A client with TLS
 * says then "I can bind, you cannot" (y), which a server with TLS takes for an attack. So between two TLS
 * connections y becomes n ("I cannot") on the way, and the proofs, which cover that letter, are converted
 * with the user's verifier: the gateway never learns the password nor anything it does not read in pg_authid.
 * Rule: an unknown user is treated as the known ones, and refused by the server.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { backend, frontend } from '../../core/wire/codes.ts';
import { int32At } from '../../core/wire/messages.ts';
import { MessageWriter } from '../../core/wire/message-writer.ts';

const authenticationSasl = 10;
const authenticationSaslContinue = 11;
const authenticationSaslFinal = 12;
const withBinding = 'SCRAM-SHA-256-PLUS';
/** base64 of the two headers. */
const bindingWished = 'eSws'; // y,,
const bindingUnknown = 'biws'; // n,,

/** After a request with this code the client has nothing to answer. */
export function endsAuthentication(code: number): boolean {
  return code === 0 || code === authenticationSaslFinal;
}

interface Keys {
  readonly stored: Buffer;
  readonly server: Buffer;
}

export class ScramBridge {
  readonly #verifier: (() => Promise<string | undefined>) | undefined;
  #keys: Keys | undefined;
  #clientFirst = '';
  #serverFirst = '';
  #clientFinal = '';

  /** `verifier`: of the user, when both connections are encrypted. */
  constructor(verifier: (() => Promise<string | undefined>) | undefined) {
    this.#verifier = verifier;
  }

  /** What the client gets of an authentication request. */
  fromServer(message: Uint8Array): Uint8Array {
    switch (int32At(message, 5)) {
      case authenticationSasl:
        return withoutBinding(message);
      case authenticationSaslContinue:
        this.#serverFirst = textOf(message, 9);
        return message;
      case authenticationSaslFinal:
        return this.#final(message);
      default:
        return message;
    }
  }

  /** Undefined: not converted, send it as it is. Else what the server gets of a SASL response. */
  fromClient(message: Uint8Array): Promise<Uint8Array> | undefined {
    if (this.#verifier === undefined) return undefined;
    const text = textOf(message, 5);
    // SASLInitialResponse: the name of the mechanism, a length, the message.
    if (text.startsWith('SCRAM-SHA-256\0')) return this.#first(message, this.#verifier);
    if (this.#keys === undefined || !text.startsWith(`c=${bindingWished},`)) return undefined;
    return Promise.resolve(this.#proof(text, this.#keys));
  }

  async #first(message: Uint8Array, verifier: () => Promise<string | undefined>): Promise<Uint8Array> {
    const at = 5 + 'SCRAM-SHA-256\0'.length + 4;
    if (message[at] !== 0x79) return message;
    this.#keys = keysOf(await verifier());
    this.#clientFirst = textOf(message, at + 3);
    const converted = message.slice();
    converted[at] = 0x6e;
    return converted;
  }

  /** `text`: client-final-message (RFC 5802 §7). */
  #proof(text: string, { stored }: Keys): Uint8Array {
    const cut = text.lastIndexOf(',p=');
    const proof = Buffer.from(text.slice(cut + 3), 'base64');
    this.#clientFinal = text.slice(0, cut);
    const clients = signature(stored, this.#transcript(bindingWished));
    const servers = signature(stored, this.#transcript(bindingUnknown));
    for (let index = 0; index < proof.length; index++)
      proof[index]! ^= (clients[index] ?? 0) ^ (servers[index] ?? 0);
    const without = this.#clientFinal.replace(bindingWished, bindingUnknown);
    const bytes = Buffer.from(`${without},p=${proof.toString('base64')}`, 'latin1');
    return new MessageWriter(bytes.length + 8).begin(frontend.password).bytes(bytes).end().take();
  }

  #final(message: Uint8Array): Uint8Array {
    const text = textOf(message, 9);
    if (this.#keys === undefined || this.#clientFinal === '' || !text.startsWith('v=')) return message;
    const { server } = this.#keys;
    const told = Buffer.from(text.slice(2), 'base64');
    const due = signature(server, this.#transcript(bindingUnknown));
    // A server that does not know the password convinces nobody.
    if (told.length !== due.length || !timingSafeEqual(told, due)) return message;
    const converted = signature(server, this.#transcript(bindingWished)).toString('base64');
    const bytes = Buffer.from(`v=${converted}`, 'latin1');
    return new MessageWriter(bytes.length + 16)
      .begin(backend.authentication)
      .int32(authenticationSaslFinal)
      .bytes(bytes)
      .end()
      .take();
  }

  /** AuthMessage with this header. */
  #transcript(header: string): string {
    const final = this.#clientFinal.replace(bindingWished, header);
    return `${this.#clientFirst},${this.#serverFirst},${final}`;
  }
}

function signature(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text, 'latin1').digest();
}

const nobodys: Keys = { stored: Buffer.alloc(32), server: Buffer.alloc(32) };

/** `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`. */
function keysOf(verifier: string | undefined): Keys {
  const match = /^SCRAM-SHA-256\$\d+:[^$]+\$([^:]+):(.+)$/.exec(verifier ?? '');
  if (match === null) return nobodys;
  return { stored: Buffer.from(match[1]!, 'base64'), server: Buffer.from(match[2]!, 'base64') };
}

function withoutBinding(message: Uint8Array): Uint8Array {
  const names = textOf(message, 9)
    .split('\0')
    .filter((name) => name !== '' && name !== withBinding);
  const writer = new MessageWriter(64).begin(backend.authentication).int32(authenticationSasl);
  for (const name of names) writer.cstring(name);
  return writer.byte(0).end().take();
}

function textOf(message: Uint8Array, start: number): string {
  return Buffer.from(message.buffer, message.byteOffset + start, message.length - start).toString('latin1');
}
