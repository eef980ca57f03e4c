/**
 * One client: its socket, the socket to the local server, and the session machine between them.
 * Rule: this file moves bytes and keeps memory bounded; what they mean is the machine's business. A side
 * that cannot take more stops the other side from being read.
 */
import type { Socket } from 'node:net';
import type { Gid } from '../../core/identity.ts';
import { clientCancel } from '../../core/session/client-cancel.ts';
import { SessionMachine } from '../../core/session/session.ts';
import { relayPlainAnswer, sendPlainRead } from '../../core/session/plain-read.ts';
import type { SessionPorts } from '../../core/session/ports.ts';
import { readOnlyDefault, startupSettings, supervisedPacket } from '../../core/session/startup-settings.ts';
import { backend, frontend } from '../../core/wire/codes.ts';
import { FrameScanner } from '../../core/wire/frame-scanner.ts';
import { errorResponse, startup, terminateMessage } from '../../core/wire/messages.ts';
import { connectDirectly, readDirectly, setPaused } from '../wire/direct-reading.ts';
import { serverAddress } from '../postgres/server-address.ts';
import { usesTls } from '../postgres/server-connection.ts';
import { ByteOutput } from './byte-output.ts';
import { MemoryShare } from './client-memory.ts';
import { clientMessageLimit, serverMessageLimit, waitingForLoginBytes } from './message-limits.ts';
import { ScramBridge } from './scram-bridge.ts';
import { Login, type LoginOwner } from './login.ts';
import { bypassRefusal, serverUnreachable } from './login-refusal.ts';
import { ServerProcess } from './server-process.ts';
import { identityOf, type SessionIdentity } from './session-facts.ts';
import type { SessionConnections, StartupRequest } from './session-request.ts';
import { askedOf, type SessionServices } from './session-services.ts';
import { SessionTimes } from './session-times.ts';

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
  readonly identity: SessionIdentity;
  readonly times: SessionTimes;
  readonly supervised: boolean;
  readonly #login: Login;
  readonly #process: ServerProcess;
  #openGid: Gid | undefined;
  #clientGone = false;
  #serverGone = false;
  #closing = false;
  #ended = false;
  readonly #settled: () => void;
  readonly #memory: MemoryShare;
  #connected = false;
  #cancelSent: Promise<void> | undefined;

  constructor(connections: SessionConnections, request: StartupRequest, services: SessionServices) {
    this.identity = identityOf(connections, request);
    this.#client = readDirectly(connections.socket, (chunk) => this.#clientData(chunk));
    this.#services = services;
    this.times = new SessionTimes(services.tally);
    this.#settled = connections.settled;
    this.#memory = new MemoryShare(services.memory, this);
    this.#process = new ServerProcess(services.server);
    const { parameters } = request;
    this.supervised = parameters.get('application_name') !== 'mtm_admin';
    this.machine = new SessionMachine(
      this.#ports(),
      services.limits,
      readOnlyDefault(startupSettings(parameters)),
    );
    this.#login = this.#newLogin(services, connections);
    const { host, port } = services.server;
    const received = (chunk: Uint8Array): void => this.#serverData(chunk);
    this.#server = connections.server
      ? readDirectly(connections.server, received)
      : connectDirectly(serverAddress(host, port), received);
    this.#toClient = new ByteOutput(this.#client, this.machine.statistics);
    this.#toServer = new ByteOutput(this.#server);
    this.#fromClient = this.#clientScanner();
    this.#fromServer = this.#serverScanner();
    const asked = this.supervised ? supervisedPacket(parameters, services.shownSettings) : parameters;
    this.#listen(startup(asked, request.protocol), request.rest);
    services.sessionStarted(this);
  }

  get backendPid(): number {
    return this.#process.pid;
  }

  get loggedIn(): boolean {
    return this.#login.done;
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
    const delivered = await this.#process.cancel();
    // It could hit anything that this session does from now on.
    if (!delivered) this.#server.destroy();
    this.#drive(() => this.machine.cancelDelivered());
  }

  /** Runs the machine and sends what it has produced. */
  #drive(step: () => void): void {
    if (this.#ended) return;
    step();
    this.#flush();
    this.#tellMemory();
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
    if (this.#ended || !this.#connected || this.#login.checking) return;
    const client = this.#client;
    const server = this.#server;
    // Also when the client is slow: what the server says next may end a transaction that others wait for.
    const mustRead = this.#clientGone || this.machine.interruption !== undefined;
    const full = client.writableLength > highWaterBytes && !mustRead;
    setPaused(server, full);
    setPaused(client, full || server.writableLength > highWaterBytes || this.#waitsEnough);
  }

  /** What the client has sent waits, and no more of it is needed now. */
  get #waitsEnough(): boolean {
    const partial = this.#fromClient.heldBytes;
    const { client } = this.machine;
    return client.wantsPause(partial) || (!this.#login.done && client.waitingBytes > waitingForLoginBytes);
  }

  /** What is kept for long, or may become much. */
  #tellMemory(): void {
    const { client, registry } = this.machine;
    const held = this.#ended
      ? 0
      : this.#fromClient.heldBytes +
        this.#fromServer.heldBytes +
        client.waitingBytes +
        registry.bytes +
        this.#server.writableLength +
        this.#client.writableLength;
    this.#memory.tell(held);
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
    this.machine.statistics.bytesReceived += chunk.length;
    if (!this.supervised && this.#login.done) {
      this.#toServer.add(chunk, 0, chunk.length);
      this.#flush();
      return;
    }
    this.#drive(() => {
      if (this.#fromClient.idle && sendPlainRead(this.machine, chunk)) return this.times.readSent();
      const result = this.#fromClient.push(chunk);
      // As PostgreSQL, without a word: where the next message begins is not known any more.
      if (result.kind === 'violation') this.machine.end();
    });
  }

  #serverData(chunk: Uint8Array): void {
    if (this.#ended) return;
    if (this.#login.unsupervised && this.#login.done) {
      this.#toClient.add(chunk, 0, chunk.length);
      this.#flush();
      return;
    }
    this.#drive(() => {
      if (this.#fromServer.idle && relayPlainAnswer(this.machine, chunk)) return this.times.readAnswered();
      const result = this.#fromServer.push(chunk);
      if (result.kind === 'violation') this.machine.abandon('08P01', `from the server: ${result.reason}`);
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
    if (!this.supervised && type !== frontend.password && type !== frontend.terminate) {
      // What came before the check would run unsupervised, or supervised afterwards.
      this.machine.fatal('08P01', `unexpected message type ${type} during authentication`);
    } else if (type === frontend.password && !this.#login.done) {
      this.#login.answer(buffer.subarray(start, end));
    } else if (this.#login.isServersBusiness(type)) {
      this.#toServer.add(buffer, start, end); // it says what is wrong with it
    } else {
      this.machine.client.message(type, buffer, start, end);
    }
  }

  #serverScanner(): FrameScanner {
    return new FrameScanner({
      limit: serverMessageLimit,
      streams: (type, length) =>
        (type === backend.dataRow || type === backend.copyData) && this.machine.streamsRow(length),
      message: (type, buffer, start, end) => {
        if (this.#login.done) this.machine.serverMessage(type, buffer, start, end);
        else this.#login.serverMessage(type, buffer, start, end);
      },
      part: (_type, buffer, start, end, first) => this.machine.serverPart(buffer, start, end, first),
    });
  }

  #newLogin(services: SessionServices, connections: SessionConnections): Login {
    const bothSecure = connections.encrypted && usesTls(services.server);
    const scram = new ScramBridge(bothSecure ? () => services.scramVerifier(this.identity.user) : undefined);
    const owner: LoginOwner = {
      checks: this.supervised ? undefined : () => bypassRefusal(services, this.identity.user),
      relayed: (...message) => this.machine.serverMessage(...message),
      told: (message) => this.#toClient.add(message, 0, message.length),
      wait: () => {
        this.#server.pause();
        this.#client.pause();
      },
      goOn: () => {
        this.#server.resume();
        this.#client.resume();
        this.#flush();
      },
      refused: (error) => {
        this.#toClient.add(error, 0, error.length);
        this.finish();
      },
      challenged: () => this.machine.client.challenged(),
      answered: (message) =>
        this.#drive(() => this.machine.client.message(frontend.password, message, 0, message.length)),
      failed: (reason) => this.#drive(() => this.machine.fatal('08006', reason)),
      ended: () => this.#ended,
      settled: connections.settled,
    };
    return new Login(owner, this.#process, scram);
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
      if (this.#process.pid === 0 && !this.#closing) this.#noServer(reason);
      else if (!this.supervised) this.#closing = true;
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
      if (this.machine.awaitsServer && this.#process.pid !== 0)
        void this.#process.cancelUntilGone(this.#server);
      else this.#server.destroySoon();
    }
    this.#end();
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#tellMemory();
    this.#settled();
    this.#toClient.finish();
    if (this.#openGid !== undefined) this.#services.prepareLost(this.#openGid, this.#process.pid);
    this.#services.sessionEnded(this);
  }

  // ---- from the node

  drive(step: (machine: SessionMachine) => void): void {
    this.#drive(() => step(this.machine));
  }

  keyFits(key: Uint8Array): boolean {
    return this.#process.keyFits(key);
  }

  /** The client's own cancel request. Resolves when nothing of it is on its way any more. */
  async cancel(): Promise<void> {
    if (!this.supervised) return void (await this.#process.cancel());
    let sent = false;
    this.#drive(() => (sent = clientCancel(this.machine)));
    if (sent) await this.#cancelSent;
  }

  /** All clients together hold too much, and this one most of it. */
  memoryExceeded(): void {
    this.#services.endedForMemory(this);
    this.shutDown('53200', '[multimaster] out of memory: this session holds the most of max_client_memory');
  }

  loginExpired(): void {
    this.shutDown('57014', 'canceling authentication due to timeout');
    this.finish();
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
