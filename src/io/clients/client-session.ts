/**
 * One client: its socket, the socket to the local server, and the session machine between them.
 * Rule: this file moves bytes and keeps memory bounded; what they mean is the machine's business. A side that cannot take more
 * stops the other side from being read.
 */
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { timingSafeEqual } from 'node:crypto';
import type { Gid } from '../../core/identity.ts';
import { SessionMachine } from '../../core/session/session.ts';
import type { SessionPorts } from '../../core/session/ports.ts';
import { backend, frontend } from '../../core/wire/codes.ts';
import { FrameScanner } from '../../core/wire/frame-scanner.ts';
import { errorResponse, int32At, startup, terminateMessage } from '../../core/wire/messages.ts';
import { sendCancel } from '../postgres/raw-connection.ts';
import { ByteOutput } from './byte-output.ts';
import type { SessionServices } from './session-services.ts';

/** Unsent bytes above which the other side is no longer read. */
const highWaterBytes = 256 * 1024;

/** PostgreSQL's own limits: PQ_LARGE_MESSAGE_LIMIT for messages with user data, PQ_SMALL_MESSAGE_LIMIT for the others. */
const largeMessageBytes = 0x3fffffff;
const smallMessageBytes = 10_000;

export interface StartupRequest {
  readonly protocol: number;
  readonly parameters: ReadonlyMap<string, string>;
  /** What had arrived behind the startup packet. */
  readonly rest: Uint8Array;
}

export class ClientSession {
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #services: SessionServices;
  readonly #toClient: ByteOutput;
  readonly #toServer: ByteOutput;
  readonly #fromClient: FrameScanner;
  readonly #fromServer: FrameScanner;
  readonly machine: SessionMachine;
  readonly user: string;
  readonly #bypass: boolean;
  #backendPid = 0;
  #backendKey: Uint8Array = new Uint8Array(0);
  #openGid: Gid | undefined;
  #clientGone = false;
  #serverGone = false;
  #closing = false;
  #ended = false;
  #loggedIn = false;
  #bypassChecked = false;
  /** While the check runs: what the server has said since it let the user in. Neither side hears of the other before. */
  #heldForCheck: Uint8Array[] | undefined;

  constructor(client: Socket, request: StartupRequest, services: SessionServices) {
    this.#client = client;
    this.#services = services;
    const { parameters } = request;
    this.user = parameters.get('user') ?? '';
    this.#bypass = parameters.get('application_name') === 'mtm_admin';
    this.machine = new SessionMachine(this.#ports(), services.limits, readOnlyDefault(parameters));
    this.#server = connect({ host: services.server.host, port: services.server.port, noDelay: true });
    this.#toClient = new ByteOutput(client);
    this.#toServer = new ByteOutput(this.#server);
    this.#fromClient = this.#clientScanner();
    this.#fromServer = this.#serverScanner();
    const packet = startup(this.#bypass ? parameters : this.#supervised(parameters), request.protocol);
    this.#listen(packet, request.rest);
    services.sessionStarted(this);
  }

  /** The server process of this session; 0 before login. */
  get backendPid(): number {
    return this.#backendPid;
  }

  get supervised(): boolean {
    return !this.#bypass;
  }

  #supervised(parameters: ReadonlyMap<string, string>): Map<string, string> {
    const packet = new Map(parameters);
    // Settings in the startup packet outlive RESET ALL and DISCARD ALL: the sensor stays on.
    packet.set('default_transaction_read_only', 'on');
    // The parser reads strings by the standard; a session that did not would be understood wrongly.
    packet.set('standard_conforming_strings', 'on');
    for (const [name, value] of this.#services.shownSettings) packet.set(`multimaster.${name}`, value);
    return packet;
  }

  #ports(): SessionPorts {
    const services = this.#services;
    return {
      toServer: (buffer, start, end) => this.#toServer.add(buffer, start, end),
      toClient: (buffer, start, end) => this.#toClient.add(buffer, start, end),
      close: () => this.close(),
      cancelServer: () => void this.#cancelServer(),
      waitBeforeRetry: (attempt) => {
        const timer = setTimeout(() => this.#drive(() => this.machine.retryDue()), retryDelayMs(attempt));
        timer.unref();
      },
      classify: (text) => services.classify(text),
      obstacle: (write) => services.obstacle(write),
      hasLease: () => services.hasLease(),
      clock: () => services.clock(),
      newTransaction: (startTime) => {
        this.#openGid = services.newTransaction(this, startTime);
        return this.#openGid;
      },
      headerSql: (gid, checked, announced) => services.headerSql(gid, checked, announced),
      announceSql: (command, tag) => services.announceSql(command, tag, this.#backendPid),
      prepareEnded: (gid, end) => {
        this.#openGid = undefined;
        services.prepareEnded(gid, end);
      },
    };
  }

  async #cancelServer(): Promise<void> {
    const { host, port } = this.#services.server;
    await sendCancel(host, port, this.#backendPid, this.#backendKey);
    this.#drive(() => this.machine.cancelDelivered());
  }

  /** Runs the machine and sends what it has produced. */
  #drive(step: () => void): void {
    if (this.#ended) return;
    step();
    this.#flush();
    if (this.#clientGone && !this.machine.preparing) this.#leaveServer();
  }

  #flush(): void {
    this.#toServer.flush();
    this.#toClient.flush();
    if (this.#closing) {
      this.#client.end();
      this.#leaveServer();
      return;
    }
    if (this.#heldForCheck !== undefined) return;
    if (this.#client.writableLength > highWaterBytes && !this.#server.isPaused()) {
      this.#server.pause();
      this.#client.once('drain', () => this.#server.resume());
    }
    const full = this.#server.writableLength > highWaterBytes;
    if ((full || this.machine.wantsClientPaused) && !this.#client.isPaused()) {
      this.#client.pause();
      if (full) this.#server.once('drain', () => this.#resumeClient());
    } else if (!full && !this.machine.wantsClientPaused && this.#client.isPaused()) {
      this.#client.resume();
    }
  }

  #resumeClient(): void {
    if (!this.machine.wantsClientPaused) this.#client.resume();
  }

  #listen(packet: Uint8Array, rest: Uint8Array): void {
    const client = this.#client;
    const server = this.#server;
    server.on('connect', () => {
      server.setKeepAlive(true, 30_000);
      server.write(packet);
      client.on('data', (chunk: Uint8Array) => this.#clientData(chunk));
      client.resume();
      if (rest.length > 0) this.#clientData(rest);
    });
    server.on('data', (chunk: Uint8Array) => this.#serverData(chunk));
    server.on('error', (error) => this.#serverEnded(error.message));
    server.on('close', () => this.#serverEnded('closed'));
    client.on('error', () => this.#clientEnded());
    client.on('close', () => this.#clientEnded());
  }

  #clientData(chunk: Uint8Array): void {
    if (this.#ended) return;
    if (this.#bypass && this.#loggedIn) {
      this.#toServer.add(chunk, 0, chunk.length);
      this.#flush();
      return;
    }
    this.#drive(() => {
      const result = this.#fromClient.push(chunk);
      if (result.kind === 'violation') this.machine.fatal('08P01', result.reason);
    });
  }

  #serverData(chunk: Uint8Array): void {
    if (this.#ended) return;
    if (this.#bypassChecked && this.#loggedIn) {
      this.#toClient.add(chunk, 0, chunk.length);
      this.#flush();
      return;
    }
    this.#drive(() => {
      const result = this.#fromServer.push(chunk);
      if (result.kind === 'violation') this.machine.fatal('08P01', `from the server: ${result.reason}`);
    });
  }

  #clientScanner(): FrameScanner {
    return new FrameScanner({
      limit: (type) => (isLarge(type) ? largeMessageBytes : smallMessageBytes),
      streams: (type) => type === frontend.copyData,
      message: (type, buffer, start, end) => this.machine.clientMessage(type, buffer, start, end),
      part: (_type, buffer, start, end) => this.machine.clientPart(buffer, start, end),
    });
  }

  #serverScanner(): FrameScanner {
    return new FrameScanner({
      limit: () => largeMessageBytes,
      streams: (type) => type === backend.dataRow || type === backend.copyData,
      message: (type, buffer, start, end) => this.#serverMessage(type, buffer, start, end),
      part: (_type, buffer, start, end, first) => this.machine.serverPart(buffer, start, end, first),
    });
  }

  #serverMessage(type: number, buffer: Uint8Array, start: number, end: number): void {
    if (!this.#loggedIn) {
      if (type === backend.backendKeyData) {
        this.#backendPid = int32At(buffer, start + 5);
        this.#backendKey = buffer.slice(start + 9, end);
      } else if (type === backend.readyForQuery) {
        this.#loggedIn = true;
      } else if (this.#bypass && type === backend.authentication && int32At(buffer, start + 5) === 0) {
        this.#heldForCheck = [];
        void this.#checkBypass();
      }
    }
    if (this.#heldForCheck !== undefined) this.#heldForCheck.push(buffer.slice(start, end));
    else if (this.#bypassChecked) this.#toClient.add(buffer, start, end);
    else this.machine.serverMessage(type, buffer, start, end);
  }

  /** The user has proved who he is; whether he may work unsupervised is asked only now, so a stranger learns nothing. */
  async #checkBypass(): Promise<void> {
    this.#server.pause();
    this.#client.pause();
    let allowed = false;
    try {
      allowed = await this.#services.mayBypass(this.user);
    } catch (error) {
      this.#refuseBypass(`whether the user may is not known: ${(error as Error).message}`);
      return;
    }
    if (!allowed) {
      this.#refuseBypass('only superusers and members of multimaster.admin_role may');
      return;
    }
    const held = this.#heldForCheck ?? [];
    this.#heldForCheck = undefined;
    this.#bypassChecked = true;
    for (const message of held) this.#toClient.add(message, 0, message.length);
    this.#server.resume();
    this.#client.resume();
    this.#flush();
  }

  #refuseBypass(why: string): void {
    const error = errorResponse({
      severity: 'FATAL',
      sqlstate: '42501',
      message: `[multimaster] permission denied for an unsupervised session (application_name=mtm_admin): ${why}`,
    });
    this.#toClient.add(error, 0, error.length);
    this.close();
    this.#flush();
  }

  #clientEnded(): void {
    if (this.#clientGone) return;
    this.#clientGone = true;
    if (!this.machine.preparing) this.#leaveServer();
  }

  #serverEnded(reason: string): void {
    if (this.#serverGone) return;
    this.#serverGone = true;
    if (!this.#ended && !this.#clientGone) {
      if (this.#backendPid === 0 && !this.#closing) this.#noServer(reason);
      else if (this.#bypass) this.#closing = true;
      else this.machine.serverGone();
      this.#flush();
    }
    this.#end();
  }

  #noServer(reason: string): void {
    if (this.#fromServerHasSpoken) {
      this.#closing = true; // the server's own FATAL has been relayed
      return;
    }
    const error = errorResponse({
      severity: 'FATAL',
      sqlstate: '57P03',
      message: `[multimaster] the local PostgreSQL server cannot be reached: ${reason}`,
    });
    this.#toClient.add(error, 0, error.length);
    this.close();
  }

  get #fromServerHasSpoken(): boolean {
    return this.#server.bytesRead > 0;
  }

  /** The session's place in the server is given up; a statement that runs is cancelled, so that its locks go at once. */
  #leaveServer(): void {
    if (this.#ended) return;
    if (!this.#serverGone) {
      if (this.machine.awaitsServer && this.#backendPid !== 0) {
        void sendCancel(
          this.#services.server.host,
          this.#services.server.port,
          this.#backendPid,
          this.#backendKey,
        );
      }
      this.#server.end(terminateMessage);
      this.#server.destroySoon();
    }
    this.#end();
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#client.destroySoon();
    if (this.#openGid !== undefined) this.#services.prepareLost(this.#openGid, this.#backendPid);
    this.#services.sessionEnded(this);
  }

  // ---- from the node

  /** Runs the machine on behalf of the node. */
  drive(step: (machine: SessionMachine) => void): void {
    this.#drive(() => step(this.machine));
  }

  keyFits(key: Uint8Array): boolean {
    return key.length === this.#backendKey.length && timingSafeEqual(key, this.#backendKey);
  }

  /** The client's own cancel request. */
  cancel(): void {
    if (!this.machine.awaitsServer || this.machine.preparing) return;
    void sendCancel(
      this.#services.server.host,
      this.#services.server.port,
      this.#backendPid,
      this.#backendKey,
    );
  }

  close(): void {
    this.#closing = true;
  }

  /** Ends the session whatever it does. */
  finish(): void {
    this.close();
    this.#flush();
  }

  /** Ends the session with an error of the gateway. */
  shutDown(sqlstate: string, message: string): void {
    this.#drive(() => this.machine.abandon(sqlstate, message));
  }
}

function isLarge(type: number): boolean {
  switch (type) {
    case frontend.sync:
    case frontend.flush:
    case frontend.terminate:
    case frontend.copyDone:
    case frontend.close:
    case frontend.describe:
    case frontend.execute:
      return false;
    default:
      return true;
  }
}

/** Exponential with jitter, 1…64 ms: enough to let the winner finish, short enough not to be noticed. */
function retryDelayMs(attempt: number): number {
  return Math.random() * Math.min(64, 2 ** attempt);
}

/** What the client itself asked for, in the packet or in `options`; the last one wins, as in PostgreSQL. */
function readOnlyDefault(parameters: ReadonlyMap<string, string>): boolean {
  const own = parameters.get('default_transaction_read_only');
  const pattern = /(?:-c\s*|--)default[_-]transaction[_-]read[_-]only\s*=\s*(\S+)/g;
  const inOptions = [...(parameters.get('options') ?? '').matchAll(pattern)].at(-1)?.[1];
  const value = own ?? inOptions;
  return value !== undefined && /^(?:t|tr|tru|true|y|ye|yes|on|1)$/i.test(value);
}
