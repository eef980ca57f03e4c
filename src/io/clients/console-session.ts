/**
 * One client of the admin console: its socket, and a connection to the server that only verifies the login.
 * Rules: the server says who he is, as for any other session, and the gateway what he may; then the
 * connection is given up, so that the console works while the server is away. What is sent ahead waits, and
 * above a bound the client is not read. It must never reach a database.
 */
import type { Socket } from 'node:net';
import { ConsoleMachine, type ConsoleRights } from '../../core/console/console-machine.ts';
import { backend, frontend } from '../../core/wire/codes.ts';
import { FrameScanner } from '../../core/wire/frame-scanner.ts';
import {
  cstringAt,
  errorResponse,
  parameterStatus,
  startup,
  terminateMessage,
} from '../../core/wire/messages.ts';
import { serverAddress } from '../postgres/server-address.ts';
import { usesTls } from '../postgres/server-connection.ts';
import { connectDirectly, readDirectly, setPaused } from '../wire/direct-reading.ts';
import { ByteOutput } from './byte-output.ts';
import type { ConsoleServices } from './console-services.ts';
import { serverUnreachable } from './login-refusal.ts';
import { Login } from './login.ts';
import { clientMessageLimit, serverMessageLimit, waitingForLoginBytes } from './message-limits.ts';
import { ScramBridge } from './scram-bridge.ts';
import { ServerProcess } from './server-process.ts';
import type { SessionConnections, StartupRequest } from './session-request.ts';
import type { SessionServices } from './session-services.ts';

const highWaterBytes = 256 * 1024;
/** No command is longer; a text that is still gets an answer up to here. */
const longestMessageBytes = 2 * 1024 * 1024;
const readOnly = 'default_transaction_read_only';

export class ConsoleSession {
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #console: ConsoleServices;
  readonly #toClient: ByteOutput;
  readonly #fromClient: FrameScanner;
  readonly #fromServer: FrameScanner;
  readonly #machine: ConsoleMachine;
  readonly #login: Login;
  readonly #process: ServerProcess;
  readonly #settled: () => void;
  #rights: ConsoleRights | undefined;
  #begun = false;
  /** Of the answer that is being made. */
  #unsentBytes = 0;
  #closing = false;
  #ended = false;
  #acting = new AbortController();

  constructor(
    connections: SessionConnections,
    { protocol, parameters, rest }: StartupRequest,
    services: SessionServices,
    console: ConsoleServices,
  ) {
    this.#client = readDirectly(connections.socket, (chunk) => this.#clientData(chunk));
    this.#console = console;
    this.#settled = connections.settled;
    this.#toClient = new ByteOutput(this.#client);
    this.#process = new ServerProcess(services.server);
    const user = parameters.get('user') ?? '';
    this.#machine = this.#newMachine(user);
    this.#login = this.#newLogin(user, services, connections);
    this.#fromClient = this.#clientScanner();
    this.#fromServer = this.#serverScanner();
    const { host, port } = services.server;
    const received = (chunk: Uint8Array): void => this.#serverData(chunk);
    this.#server = connections.server
      ? readDirectly(connections.server, received)
      : connectDirectly(serverAddress(host, port), received);
    this.#listen(startup(loginPacket(user, console.loginDatabase), protocol), rest);
    console.started(this);
  }

  #newMachine(user: string): ConsoleMachine {
    return new ConsoleMachine({
      facts: this.#console.facts,
      toClient: (bytes) => {
        this.#unsentBytes += bytes.length;
        this.#toClient.add(bytes, 0, bytes.length);
      },
      close: () => (this.#closing = true),
      full: () => this.#unsentBytes + this.#client.writableLength > highWaterBytes,
      act: (action) => {
        this.#acting = new AbortController();
        void this.#console.act(action, user, this.#acting.signal).then((result) => {
          this.#machine.acted(result);
          this.#flush();
        });
      },
      cancelAct: () => this.#acting.abort(),
    });
  }

  #newLogin(user: string, services: SessionServices, connections: SessionConnections): Login {
    const bothSecure = connections.encrypted && usesTls(services.server);
    const scram = new ScramBridge(bothSecure ? () => services.scramVerifier(user) : undefined);
    const owner = {
      checks: () => this.#check(user, services),
      relayed: (_type: number, buffer: Uint8Array, start: number, end: number) =>
        this.#toClient.add(buffer, start, end),
      told: (message: Uint8Array) => this.#told(message),
      wait: () => {
        this.#server.pause();
        this.#client.pause();
      },
      goOn: () => {
        this.#server.resume();
        this.#flush();
      },
      refused: (error: Uint8Array) => {
        this.#toClient.add(error, 0, error.length);
        this.#closing = true;
        this.#flush();
      },
      challenged: () => {
        // What the client has said already would be taken for its answer.
        if (this.#machine.waitingBytes > 0) this.#machine.fatal('08P01', 'expected password response');
      },
      answered: (message: Uint8Array) => this.#server.write(message),
      failed: (reason: string) => {
        this.#machine.fatal('08006', reason);
        this.#flush();
      },
      ended: () => this.#ended,
      settled: this.#settled,
    };
    return new Login(owner, this.#process, scram);
  }

  /** Undefined: he may; never rejects. */
  async #check(user: string, services: SessionServices): Promise<Uint8Array | undefined> {
    let why = 'only superusers, members of multimaster.admin_role and of pg_monitor may';
    try {
      this.#rights = await services.consoleRights(user);
      if (this.#rights !== undefined) return undefined;
    } catch (error) {
      why = `whether the user may is not known: ${(error as Error).message}`;
    }
    const message = `[multimaster] permission denied for the admin console: ${why}`;
    return errorResponse({ severity: 'FATAL', sqlstate: '42501', message });
  }

  #listen(packet: Uint8Array, rest: Uint8Array): void {
    const client = this.#client;
    const server = this.#server;
    const connected = (): void => {
      server.write(packet);
      server.resume();
      client.resume();
      if (rest.length > 0) this.#clientData(rest);
    };
    if (server.connecting) server.on('connect', connected);
    else process.nextTick(connected);
    client.on('drain', () => this.#flush());
    server.on('error', (error) => this.#serverEnded(error.message));
    server.on('close', () => this.#serverEnded('closed'));
    client.on('error', () => this.#end());
    client.on('close', () => this.#end());
  }

  #clientScanner(): FrameScanner {
    return new FrameScanner({
      limit: (type) => {
        const usual = clientMessageLimit(type, this.#begun);
        return usual === undefined ? undefined : Math.min(usual, longestMessageBytes);
      },
      streams: () => false,
      message: (type, buffer, start, end) => this.#clientMessage(type, buffer, start, end),
      part: () => undefined, // nothing is streamed
    });
  }

  #clientMessage(type: number, buffer: Uint8Array, start: number, end: number): void {
    if (type === frontend.password && !this.#login.done) this.#login.answer(buffer.subarray(start, end));
    else if (this.#login.isServersBusiness(type)) this.#server.write(buffer.slice(start, end));
    else if (type === frontend.terminate && !this.#begun) this.#closing = true;
    else this.#machine.message(type, buffer, start, end);
  }

  #serverScanner(): FrameScanner {
    return new FrameScanner({
      limit: serverMessageLimit,
      streams: () => false,
      message: (type, buffer, start, end) => this.#login.serverMessage(type, buffer, start, end),
      part: () => undefined, // nothing is streamed
    });
  }

  #clientData(chunk: Uint8Array): void {
    if (this.#ended) return;
    // As PostgreSQL, without a word: where the next message begins is not known any more.
    if (this.#fromClient.push(chunk).kind === 'violation') this.#closing = true;
    this.#flush();
  }

  #serverData(chunk: Uint8Array): void {
    if (this.#ended || this.#begun) return;
    const result = this.#fromServer.push(chunk);
    if (result.kind === 'violation') this.#machine.fatal('08P01', `from the server: ${result.reason}`);
    this.#flush();
  }

  /** What the server says once the user is let in. */
  #told(message: Uint8Array): void {
    if (this.#begun) return;
    if (message[0] === backend.readyForQuery) {
      this.#begun = true;
      this.#server.end(terminateMessage);
      this.#server.destroySoon();
      return this.#machine.begin(this.#rights ?? 'look');
    }
    // It was ours, for whatever runs at a login.
    const isOurs =
      message[0] === backend.parameterStatus && cstringAt(message, 5, message.length) === readOnly;
    const bytes = isOurs ? parameterStatus(readOnly, 'off') : message;
    this.#toClient.add(bytes, 0, bytes.length);
  }

  #flush(): void {
    if (this.#ended) return;
    do {
      this.#machine.pump();
      this.#unsentBytes = 0;
      this.#toClient.flush();
    } while (this.#machine.hasMore);
    if (this.#closing) return this.#end();
    if (this.#login.checking) return;
    const most = this.#begun ? highWaterBytes : waitingForLoginBytes;
    const full = this.#client.writableLength > highWaterBytes || this.#machine.waitingBytes > most;
    setPaused(this.#client, full);
  }

  #serverEnded(reason: string): void {
    if (this.#ended || this.#begun) return;
    if (this.#server.bytesRead === 0) {
      const error = errorResponse(serverUnreachable(reason));
      this.#toClient.add(error, 0, error.length);
    }
    this.#closing = true;
    this.#flush();
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#acting.abort();
    this.#settled();
    if (!this.#begun) this.#server.destroy();
    this.#toClient.finish();
    this.#console.ended(this);
  }

  // ---- from the gateway

  /** The client's cancel request; false: it is another one's. */
  cancel(processId: number, key: Uint8Array): boolean {
    if (this.#process.pid !== processId || !this.#process.keyFits(key)) return false;
    this.#machine.cancel();
    return true;
  }

  loginExpired(): void {
    this.shutDown('57014', 'canceling authentication due to timeout');
  }

  shutDown(sqlstate: string, message: string): void {
    this.#machine.fatal(sqlstate, message);
    this.#flush();
  }
}

function loginPacket(user: string, database: string): [string, string][] {
  return [
    ['user', user],
    ['database', database],
    ['application_name', 'mtm_console'],
    ['client_encoding', 'UTF8'],
    [readOnly, 'on'],
  ];
}
