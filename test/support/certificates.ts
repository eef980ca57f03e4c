/** Certificates for tests, made by openssl: an authority, and what it signs. */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

export class Authority {
  readonly #folder: string;
  readonly #own: Certificate;
  #serial = 1;

  /** `folder`: what is made there may be read by everybody but the keys. */
  constructor(folder: string, name = 'mtm test authority') {
    mkdirSync(folder, { recursive: true });
    this.#folder = folder;
    this.#own = this.#files('authority');
    openssl(
      'req',
      '-x509',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-days',
      '2',
      '-subj',
      `/CN=${name}`,
      ...this.#to(this.#own),
    );
  }

  /** PEM file of the authority itself. */
  get cert(): string {
    return this.#own.cert;
  }

  /** `names`: subjectAltName such as DNS:localhost or IP:127.0.0.1. */
  issue(file: string, commonName: string, names: readonly string[] = []): Certificate {
    const made = this.#files(file);
    const request = join(this.#folder, `${file}.csr`);
    openssl(
      'req',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-subj',
      `/CN=${commonName}`,
      '-keyout',
      made.key,
      '-out',
      request,
    );
    const extensions = join(this.#folder, `${file}.ext`);
    writeFileSync(extensions, names.length === 0 ? '' : `subjectAltName=${names.join(',')}\n`);
    const signing = ['-CA', this.#own.cert, '-CAkey', this.#own.key, '-set_serial', String(++this.#serial)];
    openssl(
      'x509',
      '-req',
      '-in',
      request,
      '-days',
      '2',
      ...signing,
      '-extfile',
      extensions,
      '-out',
      made.cert,
    );
    chmodSync(made.key, 0o600);
    return made;
  }

  #files(name: string): Certificate {
    return { cert: join(this.#folder, `${name}.crt`), key: join(this.#folder, `${name}.key`) };
  }

  #to({ cert, key }: Certificate): string[] {
    return ['-keyout', key, '-out', cert];
  }
}

function openssl(...args: string[]): void {
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
