/**
 * One client: its socket, the socket to the local server, and the session machine between them.
 * Rule: this file moves bytes and keeps memory bounded; what they mean is the machine's business. A side
 * that cannot take more stops the other side from being read.
 */
import type { Socket } from 'node:net';
import { timingSafeEqual } from 'node:crypto';
import type { Gid } from '../../core/identity.ts';
import { clientCancel } from '../../core/session/client-cancel.ts';
import { SessionMachine } from '../../core/session/session.ts';
import { relayPlainAnswer, sendPlainRead } from '../../core/session/plain-read.ts';
import type { SessionPorts } from '../../core/session/ports.ts';
import { readOnlyDefault, startupSettings, supervisedPacket } from '../../core/session/startup-settings.ts';
import { backend, frontend } from '../../core/wire/codes.ts';
import { FrameScanner } from '../../core/wire/frame-scanner.ts';
import { errorResponse, int32At, startup, terminateMessage } from '../../core/wire/messages.ts';
import { connectDirectly, readDirectly, setPaused } from '../wire/direct-reading.ts';
import { serverAddress } from '../postgres/server-address.ts';
import { usesTls } from '../postgres/server-connection.ts';
import { ByteOutput } from './byte-output.ts';
import { cancelUntilGone, sendCancelTo } from './cancel-target.ts';
import type { CancelTarget } from './cancel-target.ts';
import { clientMessageLimit, longestMessageBytes } from './message-limits.ts';
import { endsAuthentication, ScramBridge } from './scram-bridge.ts';
import { bypassRefusal, serverUnreachable } from './login-refusal.ts';
import type { SessionConnections, StartupRequest } from './session-request.ts';
import { askedOf, type SessionServices } from './session-services.ts';

/** Unsent bytes above which the other side is no longer read. */
const highWaterBytes = 256 * 1024;

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
  readonly #scram: ScramBridge;
  #backendPid = 0;
  #backendKey: Uint8Array = new Uint8Array(0);
  #openGid: Gid | undefined;
  #clientGone = false;
  #serverGone = false;
  #closing = false;
  #ended = false;
  #loggedIn = false;
  #bypassChecked = false;
  #awaitsPassword = false;
  /** While the check runs: what the server says since it let the user in. Neither side hears of it before. */
  #heldForCheck: Uint8Array[] | undefined;
  #connected = false;
  #cancelSent: Promise<void> | undefined;

  constructor(connections: SessionConnections, request: StartupRequest, services: SessionServices) {
    this.#client = readDirectly(connections.socket, (chunk) => this.#clientData(chunk));
    this.#services = services;
    const { parameters } = request;
    this.user = parameters.get('user') ?? '';
    this.#bypass = parameters.get('application_name') === 'mtm_admin';
    this.machine = new SessionMachine(
      this.#ports(),
      services.limits,
      readOnlyDefault(startupSettings(parameters)),
    );
    const bothSecure = connections.encrypted && usesTls(services.server);
    this.#scram = new ScramBridge(bothSecure ? () => services.scramVerifier(this.user) : undefined);
    const { host, port } = services.server;
    const received = (chunk: Uint8Array): void => this.#serverData(chunk);
    this.#server = connections.server
      ? readDirectly(connections.server, received)
      : connectDirectly(serverAddress(host, port), received);
    this.#toClient = new ByteOutput(this.#client);
    this.#toServer = new ByteOutput(this.#server);
    this.#fromClient = this.#clientScanner();
    this.#fromServer = this.#serverScanner();
    const asked = this.#bypass ? parameters : supervisedPacket(parameters, services.shownSettings);
    this.#listen(startup(asked, request.protocol), request.rest);
    services.sessionStarted(this);
  }

  get backendPid(): number {
    return this.#backendPid;
  }

  get loggedIn(): boolean {
    return this.#loggedIn;
  }

  get supervised(): boolean {
    return !this.#bypass;
  }

  get #cancelTarget(): CancelTarget {
    return { ...this.#services.server, pid: this.#backendPid, key: this.#backendKey };
  }

  #ports(): SessionPorts {
    const services = this.#services;
    return {
      ...askedOf(services, this),
      toServer: (buffer, start, end) => this.#toServer.add(buffer, start, end),
      toClient: (buffer, start, end) => this.#toClient.add(buffer, start, end),
      close: () => this.close(),
      cancelServer: () => void (this.#cancelSent = this.#cancelServer()),
      newTransaction: (startTime) => {
        this.#openGid = services.newTransaction(this, startTime);
        return this.#openGid;
      },
      openEnded: (gid, end) => {
        this.#openGid = undefined;
        services.openEnded(gid, end);
      },
      prepareEnded: (gid, end) => {
        this.#openGid = undefined;
        services.prepareEnded(gid, end);
      },
    };
  }

  async #cancelServer(): Promise<void> {
    const delivered = await sendCancelTo(this.#cancelTarget);
    // It could hit anything that this session does from now on.
    if (!delivered) this.#server.destroy();
    this.#drive(() => this.machine.cancelDelivered());
  }

  /** Runs the machine and sends what it has produced. */
  #drive(step: () => void): void {
    if (this.#ended) return;
    step();
    this.#flush();
    if (this.#clientGone && this.#mayLeave) this.#leaveServer();
  }

  /** The client is gone: what it has sent before its goodbye is still done, and what is being prepared is. */
  get #mayLeave(): boolean {
    return !this.machine.preparing && !this.machine.leaving;
  }

  #flush(): void {
    this.#toServer.flush();
    this.#toClient.flush(this.machine.client.takeGathering() && !this.#closing);
    if (this.#closing) {
      this.#client.end();
      this.#leaveServer();
      return;
    }
    this.#adjustReading();
  }

  /** A side that cannot take more stops the other one from being read. Also called when one has drained. */
  #adjustReading(): void {
    if (this.#ended || !this.#connected || this.#heldForCheck !== undefined) return;
    const client = this.#client;
    const server = this.#server;
    const full = client.writableLength > highWaterBytes && !this.#clientGone && !this.machine.mustReadServer;
    setPaused(server, full);
    const wait =
      server.writableLength > highWaterBytes || this.machine.client.wantsPause(this.#fromClient.heldBytes);
    setPaused(client, wait);
  }

  #listen(packet: Uint8Array, rest: Uint8Array): void {
    const client = this.#client;
    const server = this.#server;
    const connected = (): void => {
      this.#connected = true;
      server.setKeepAlive(true, 30_000);
      server.write(packet);
      server.resume();
      client.resume();
      if (rest.length > 0) this.#clientData(rest);
    };
    if (server.connecting) server.on('connect', connected);
    else process.nextTick(connected);
    server.on('drain', () => this.#adjustReading());
    client.on('drain', () => this.#adjustReading());
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
      if (this.#fromClient.idle && sendPlainRead(this.machine, chunk)) return;
      const result = this.#fromClient.push(chunk);
      // As PostgreSQL, without a word: where the next message begins is not known any more.
      if (result.kind === 'violation') this.machine.end();
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
      if (this.#fromServer.idle && relayPlainAnswer(this.machine, chunk)) return;
      const result = this.#fromServer.push(chunk);
      if (result.kind === 'violation') this.machine.fatal('08P01', `from the server: ${result.reason}`);
    });
  }

  #clientScanner(): FrameScanner {
    return new FrameScanner({
      limit: (type) => clientMessageLimit(type, this.machine.client.loggedIn),
      streams: (type) => type === frontend.copyData && this.machine.client.streamsCopyData,
      message: (type, buffer, start, end) => this.#clientMessage(type, buffer, start, end),
      part: (_type, buffer, start, end, first) => this.machine.client.part(buffer, start, end, first),
    });
  }

  #clientMessage(type: number, buffer: Uint8Array, start: number, end: number): void {
    if (this.#bypass && type !== frontend.password && type !== frontend.terminate) {
      // What came before the check would run unsupervised, or supervised afterwards.
      this.machine.fatal('08P01', `unexpected message type ${type} during authentication`);
    } else if (type === frontend.password && !this.#loggedIn) {
      this.#passwordMessage(buffer.subarray(start, end));
    } else if (this.#awaitsPassword && type !== frontend.terminate) {
      this.#toServer.add(buffer, start, end); // which says what it thinks of it
    } else {
      this.machine.client.message(type, buffer, start, end);
    }
  }

  #passwordMessage(message: Uint8Array): void {
    const converted = this.#scram.fromClient(message);
    const toServer = (bytes: Uint8Array): void =>
      this.machine.client.message(frontend.password, bytes, 0, bytes.length);
    if (converted === undefined) return toServer(message);
    converted.then(
      (bytes) => this.#drive(() => toServer(bytes)),
      (error: Error) => this.#drive(() => this.machine.fatal('08006', error.message)),
    );
  }

  #serverScanner(): FrameScanner {
    return new FrameScanner({
      limit: () => longestMessageBytes,
      streams: (type, length) =>
        (type === backend.dataRow || type === backend.copyData) && this.machine.streamsRow(length),
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
      } else if (type === backend.authentication) {
        return this.#authentication(buffer.subarray(start, end));
      }
    }
    this.#fromServerToClient(type, buffer, start, end);
  }

  #authentication(request: Uint8Array): void {
    if (this.#bypass && int32At(request, 5) === 0) {
      this.#heldForCheck = [];
      void this.#checkBypass();
    }
    this.#awaitsPassword = !endsAuthentication(int32At(request, 5));
    const bytes = this.#scram.fromServer(request);
    this.#fromServerToClient(backend.authentication, bytes, 0, bytes.length);
  }

  #fromServerToClient(type: number, buffer: Uint8Array, start: number, end: number): void {
    if (this.#heldForCheck !== undefined) this.#heldForCheck.push(buffer.slice(start, end));
    else if (this.#bypassChecked) this.#toClient.add(buffer, start, end);
    else this.machine.serverMessage(type, buffer, start, end);
  }

  /**
   * The user has proved who he is; whether he may work unsupervised is asked only now, so a stranger learns
   * nothing.
   */
  async #checkBypass(): Promise<void> {
    this.#server.pause();
    this.#client.pause();
    const refusal = await bypassRefusal(this.#services, this.user);
    if (this.#ended) return;
    const held = this.#heldForCheck ?? [];
    if (refusal !== undefined) {
      this.#toClient.add(refusal, 0, refusal.length);
      this.close();
      return this.#flush();
    }
    this.#heldForCheck = undefined;
    this.#bypassChecked = true;
    for (const message of held) this.#toClient.add(message, 0, message.length);
    this.#server.resume();
    this.#client.resume();
    this.#flush();
  }

  #clientEnded(): void {
    if (this.#clientGone) return;
    this.#clientGone = true;
    if (this.#mayLeave) this.#leaveServer();
    else this.#adjustReading();
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
    // Prepared already: the other nodes decide, and the client is told the outcome before the session ends.
    if (this.machine.block?.prepared === true && !this.#clientGone && !this.#closing) return;
    this.#end();
  }

  #noServer(reason: string): void {
    if (this.#server.bytesRead > 0) {
      this.#closing = true; // the server's own FATAL has been relayed
      return;
    }
    const error = errorResponse(serverUnreachable(reason));
    this.#toClient.add(error, 0, error.length);
    this.close();
  }

  /**
   * The session's place in the server is given up; a statement that runs is cancelled, so that its locks go
   * at once.
   */
  #leaveServer(): void {
    if (this.#ended) return;
    if (!this.#serverGone) {
      this.#server.end(terminateMessage);
      if (this.machine.awaitsServer && this.#backendPid !== 0)
        void cancelUntilGone(this.#server, this.#cancelTarget);
      else this.#server.destroySoon();
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

  drive(step: (machine: SessionMachine) => void): void {
    this.#drive(() => step(this.machine));
  }

  keyFits(key: Uint8Array): boolean {
    return key.length === this.#backendKey.length && timingSafeEqual(key, this.#backendKey);
  }

  /** The client's own cancel request. Resolves when nothing of it is on its way any more. */
  async cancel(): Promise<void> {
    if (this.#bypass) return void (await sendCancelTo(this.#cancelTarget));
    let sent = false;
    this.#drive(() => (sent = clientCancel(this.machine)));
    if (sent) await this.#cancelSent;
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
