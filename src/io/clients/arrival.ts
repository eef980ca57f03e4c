/**
 * A connection on the client port until it is a session: requests for encryption are answered, a cancel
 * request is passed on, a startup packet is checked.
 * Rule: until it has logged in, a connection costs a socket and at most a startup packet of memory, and one
 * deadline stands over all of it. What the server would refuse before the login is refused as it does.
 */
import type { Socket } from 'node:net';
import { startupRefusal, startupSettings } from '../../core/session/startup-settings.ts';
import { booleanOf } from '../../core/session/read-only-wish.ts';
import { errorResponse, oldErrorResponse } from '../../core/wire/messages.ts';
import type { ErrorText } from '../../core/wire/messages.ts';
import { readStartupPacket, type StartupPacket } from '../../core/wire/startup-packet.ts';
import { connectSecurely, usesTls } from '../postgres/server-connection.ts';
import { tlsHandshakeRecord } from '../wire/tls-server.ts';
import { namedProtocol, type ClientEncryption } from './client-encryption.ts';
import { ClientSession } from './client-session.ts';
import { ConsoleSession } from './console-session.ts';
import { serverUnreachable } from './login-refusal.ts';
import type { OwnSessions } from '../wire/own-sessions.ts';
import type { SessionServices } from './session-services.ts';

const offersTls = Uint8Array.of(0x53);
const offersNothing = Uint8Array.of(0x4e);

/** Who takes care of a new connection; an error: nobody does, and this is why. */
export type Reception = SessionServices | ErrorText;

export interface ReceptionDesk {
  /** Asked for each connection, when its startup packet has come. */
  reception(database: string): Reception;
  /** Passes a cancel request on to the session that it fits; resolves when that is done. Never rejects. */
  cancel(processId: number, key: Uint8Array): Promise<void>;
  /** Of protocol 3, the newest that the server speaks. */
  newestMinor(): number;
  /** Sessions of this gateway with itself. */
  readonly own: OwnSessions;
  /** Undefined: there is no TLS. */
  readonly encryption: ClientEncryption | undefined;
  /** A connection was turned away: an SQLSTATE, or a word of ours. */
  refused(reason: string): void;
  /** From the connection to the end of the login. */
  readonly loginTimeoutMs: number;
}

type Startup = Extract<StartupPacket, { kind: 'startup' }>;

export class Arrival {
  readonly #desk: ReceptionDesk;
  readonly #deadline: NodeJS.Timeout;
  #socket: Socket;
  #received: Uint8Array = new Uint8Array(0);
  #encrypted = false;
  #sslAnswered = false;
  #gssAnswered = false;
  readonly #asked: () => void;
  #session: ClientSession | ConsoleSession | undefined;

  /** `socket`: paused, nothing was read of it. `asked`: it has a session, or is gone; maybe twice. */
  constructor(socket: Socket, desk: ReceptionDesk, asked: () => void) {
    this.#desk = desk;
    this.#socket = socket;
    this.#asked = asked;
    this.#deadline = setTimeout(() => this.giveUp(), desk.loginTimeoutMs).unref();
    this.#listen();
  }

  /** Its time is over, or its place is needed. */
  giveUp(): void {
    this.#desk.refused('gave_up');
    if (this.#session === undefined) this.#socket.destroy();
    else this.#session.loginExpired();
  }

  readonly #ended = (): void => {
    clearTimeout(this.#deadline);
    this.#session = undefined;
    this.#asked();
  };
  readonly #broken = (): void => void this.#socket.destroy();
  readonly #data = (chunk: Uint8Array): void => {
    const begins = this.#received.length === 0 && !this.#encrypted && !this.#sslAnswered;
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
    if (begins && chunk[0] === tlsHandshakeRecord && this.#desk.encryption !== undefined) {
      return this.#encrypt(this.#desk.encryption, true);
    }
    this.#read();
  };

  #listen(): void {
    this.#socket.once('close', this.#ended).on('error', this.#broken).on('data', this.#data).resume();
  }

  /** Nothing more is read here. */
  #leave(): void {
    const socket = this.#socket;
    socket.off('data', this.#data).off('error', this.#broken);
    socket.pause();
  }

  #read(): void {
    const packet = readStartupPacket(this.#received);
    switch (packet.kind) {
      case 'incomplete':
        return;
      case 'alien':
        this.#desk.refused('alien');
        return void this.#socket.destroy();
      case 'violation':
        return this.#refuse({ severity: 'FATAL', sqlstate: '08P01', message: packet.reason });
      case 'unsupported':
        return this.#refuseProtocol(packet.major, packet.minor);
      case 'ssl-request':
      case 'gss-request':
        return this.#answer(packet);
      case 'cancel':
        return void this.#cancel(packet.processId, packet.key);
      case 'startup':
        return this.#begin(packet);
    }
  }

  #answer({ kind, bytes }: Extract<StartupPacket, { kind: 'ssl-request' | 'gss-request' }>): void {
    const ssl = kind === 'ssl-request';
    // Each once, and none inside TLS: then it is a version like any other.
    if (this.#encrypted || (ssl ? this.#sslAnswered : this.#gssAnswered))
      return this.#refuseProtocol(1234, ssl ? 5679 : 5680);
    if (ssl) this.#sslAnswered = true;
    else this.#gssAnswered = true;
    const { encryption } = this.#desk;
    const offer = ssl && encryption !== undefined;
    const injected = this.#received.length > bytes;
    this.#received = new Uint8Array(0);
    if (!injected || !offer) this.#socket.write(offer ? offersTls : offersNothing);
    if (injected) return this.#refuse(injectedError(ssl ? 'SSL' : 'GSSAPI encryption'));
    if (offer) this.#encrypt(encryption, false);
  }

  /** As PostgreSQL: that the connection ends tells that the request cannot hit anything later. */
  async #cancel(processId: number, key: Uint8Array): Promise<void> {
    this.#leave();
    this.#socket.on('error', this.#broken);
    await this.#desk.cancel(processId, key);
    this.#socket.destroySoon();
  }

  #refuseProtocol(major: number, minor: number): void {
    const message =
      `unsupported frontend protocol ${major}.${minor}: server supports 3.0 to ` +
      `3.${this.#desk.newestMinor()}`;
    this.#refuse({ severity: 'FATAL', sqlstate: '0A000', message }, major < 3);
  }

  /** `direct`: TLS came first, and must say by ALPN what it is for. */
  #encrypt(encryption: ClientEncryption, direct: boolean): void {
    const plain = this.#socket;
    this.#leave();
    plain.on('error', this.#broken);
    if (this.#received.length > 0) plain.unshift(this.#received);
    this.#received = new Uint8Array(0);
    encryption.secure(plain, (secure) => {
      plain.off('close', this.#ended);
      this.#socket = secure;
      this.#encrypted = true;
      this.#listen();
      if (direct && !namedProtocol(secure)) secure.destroy();
    });
  }

  #begin(packet: Startup): void {
    this.#leave();
    const services = this.#admit(packet.parameters);
    if ('severity' in services) return this.#refuse(services);
    const { server } = services;
    if (!usesTls(server)) return this.#open(packet, services, undefined);
    const socket = this.#socket.on('error', this.#broken);
    connectSecurely(server, this.#desk.loginTimeoutMs).then(
      (secure) => {
        socket.off('error', this.#broken);
        const refused = socket.destroyed ? undefined : services.admission(isAdmin(packet.parameters));
        if (!socket.destroyed && refused === undefined) return this.#open(packet, services, secure);
        secure.destroy();
        if (refused !== undefined) this.#refuse(refused);
      },
      (error: Error) => this.#refuse(serverUnreachable(error.message)),
    );
  }

  #open(packet: Startup, services: SessionServices, server: Socket | undefined): void {
    const { parameters, major, minor, bytes } = packet;
    const protocol = (major << 16) | minor;
    const rest = this.#received.slice(bytes);
    this.#received = new Uint8Array(0);
    this.#asked();
    const connections = { socket: this.#socket, encrypted: this.#encrypted, server, settled: this.#ended };
    const request = { protocol, parameters, rest };
    // What the gateway does itself belongs to something that PAUSE waits for.
    const isOwn = this.#desk.own.are(startupSettings(parameters));
    const given = isOwn ? { ...services, paused: () => false } : services;
    this.#session =
      services.console === undefined
        ? new ClientSession(connections, request, given)
        : new ConsoleSession(connections, request, services, services.console);
  }

  #admit(parameters: ReadonlyMap<string, string>): Reception {
    const user = parameters.get('user') ?? '';
    if (user === '') {
      return {
        severity: 'FATAL',
        sqlstate: '28000',
        message: 'no PostgreSQL user name specified in startup packet',
      };
    }
    const settings = startupSettings(parameters);
    const secure = this.#encrypted ? this.#socket : undefined;
    const unfit = this.#desk.own.are(settings) ? undefined : this.#desk.encryption?.refusal(secure, user);
    if (unfit !== undefined) return unfit;
    const admin = isAdmin(parameters);
    if (!admin && wantsReplication(parameters.get('replication'))) {
      return {
        severity: 'FATAL',
        sqlstate: '0A000',
        message: '[multimaster] replication connections through the gateway are not supported',
        hint: 'Connect to the PostgreSQL server of one node, or with application_name=mtm_admin.',
      };
    }
    const refused = admin ? undefined : startupRefusal(settings);
    if (refused !== undefined) return refused;
    const database = parameters.get('database') ?? '';
    const services = this.#desk.reception(database === '' ? user : database);
    return 'severity' in services ? services : (services.admission(admin) ?? services);
  }

  /** `old`: in the words of protocol 2. */
  #refuse(error: ErrorText, old = false): void {
    this.#leave();
    this.#desk.refused(error.sqlstate);
    const socket = this.#socket.on('error', this.#broken);
    socket.write(old ? oldErrorResponse(error) : errorResponse(error));
    socket.destroySoon();
  }
}

/** Wants to work unsupervised; whether the user may is asked when he has proved who he is. */
function isAdmin(parameters: ReadonlyMap<string, string>): boolean {
  return parameters.get('application_name') === 'mtm_admin';
}

/** What is no such value is for the server to refuse. */
function wantsReplication(value = ''): boolean {
  return value === 'database' || booleanOf(value) === true;
}

/** What came in the clear behind a request for encryption may be somebody else's (CVE-2021-23214). */
function injectedError(request: 'SSL' | 'GSSAPI encryption'): ErrorText {
  return {
    severity: 'FATAL',
    sqlstate: '08P01',
    message: `received unencrypted data after ${request} request`,
    detail:
      'This could be either a client-software bug or evidence of an attempted man-in-the-middle attack.',
  };
}
