/**
 * Plays a dialogue with a session machine in front of a fake server. Lines that begin with `>` are events,
 * the lines behind each are what the machine did; `#` lines and blank lines are kept. Events:
 *
 *     > client Q text · P name text · B portal statement · D · E portal · C name · S · H · d text · c · f reason
 *       · X
 *       (several in one packet: separated by ` | `; `-` stands for no name)
 *     > server goes on · gone · fatal · hangs (at the next PREPARE) · refuses (the next COMMIT that decides)
 *     > node commits · rolls back (what is held open)
 *     > node committed · aborted · unknown · interrupt · withdraw · cancel delivered · request lost
 *       · retry due · client captured | too-big | gone (what is prepared for the client)
 *     > lease off · on · ends (an election has begun when it is asked for) · returns
 *     > obstacle write · all · passing · none
 *     > node everywhere done · everywhere failed (a command that runs node by node)
 *     > client cancels
 *
 * Limits: 2 repeats, 64 bytes of results are held.
 */
import { relayPlainAnswer, sendPlainRead } from '../../../src/core/session/plain-read.ts';
import { clientCancel } from '../../../src/core/session/client-cancel.ts';
import { orderOpen } from '../../../src/core/session/open-commit.ts';
import { SessionMachine } from '../../../src/core/session/session.ts';
import { SessionTally } from '../../../src/core/session/tally.ts';
import { backend, frontend } from '../../../src/core/wire/codes.ts';
import { FrameScanner } from '../../../src/core/wire/frame-scanner.ts';
import { cstringAt, errorFields, errorResponse, readyForQuery } from '../../../src/core/wire/messages.ts';
import type { Classifier } from '../../../src/core/statement/classifier.ts';
import type { Obstacle } from '../../../src/core/session/ports.ts';
import { b, c, cs, d, dp, e, f, h, message, p, q, s } from '../../support/frontend-messages.ts';
import { FakeServer } from './fake-server.ts';

const backendNames = new Map<number, string>(Object.entries(backend).map(([name, code]) => [code, name]));
const frontendNames = new Map<number, string>(Object.entries(frontend).map(([name, code]) => [code, name]));

const conflict = {
  sqlstate: '40001',
  message: '[multimaster] conflict',
  node: 2,
  retryable: true,
};

class Stage {
  readonly lines: string[] = [];
  readonly #server = new FakeServer();
  readonly #machine: SessionMachine;
  readonly #fromClient: FrameScanner;
  readonly #fromServer: FrameScanner;
  readonly #clientSees: FrameScanner;
  readonly #serverSees: FrameScanner;
  #gids = 0;
  #lease: 'on' | 'off' | 'ends' = 'on';
  #obstacle = 'none';
  #serverGone = false;
  #hiddenNotify = false;

  /** The server's bytes arrive in pieces of this size. */
  readonly #pieceBytes: number;
  readonly #short: boolean;
  /** Packets that took the short way. */
  shortened = 0;

  constructor(classifier: Classifier, pieceBytes: number, short: boolean) {
    this.#pieceBytes = pieceBytes;
    this.#short = short;
    const see = (arrow: string, describe: (type: number, bytes: Uint8Array) => string) =>
      new FrameScanner({
        limit: () => 0x3fffffff,
        streams: () => false,
        message: (type, buffer, start, end) =>
          this.lines.push(`  ${arrow} ${describe(type, buffer.subarray(start, end))}`),
        part: () => undefined,
      });
    this.#serverSees = see('server <-', describeFrontend);
    this.#clientSees = see('client <-', describeBackend);
    this.#machine = new SessionMachine(
      {
        toServer: (buffer, start, end) => {
          this.#serverSees.push(buffer.slice(start, end));
          this.#server.receive(buffer.slice(start, end));
        },
        toClient: (buffer, start, end) => void this.#clientSees.push(buffer.slice(start, end)),
        close: () => this.lines.push('  close'),
        cancelServer: () => this.lines.push('  cancel'),
        waitBeforeRetry: (attempt) => this.lines.push(`  wait before repeat ${attempt}`),
        classify: (text) => classifier.parse(text),
        tally: new SessionTally(),
        hiddenNotify: () => this.#hiddenNotify,
        identityNothing: () => false,
        obstacle: (write) => this.#obstacleText(write),
        paused: () => false,
        held: () => false,
        hasLease: () => this.#hasLease(),
        clock: () => 1000,
        newTransaction: () => `mtm:1:1:1:${++this.#gids}`,
        headerSql: (gid, checked) => `SELECT HEADER${checked ? ' CHECKED' : ''} ${gid}`,
        announceSql: (command, tag) => `SELECT ANNOUNCE ${tag}: ${command}`,
        openHeaderSql: (gid) => `SELECT OPEN HEADER ${gid}`,
        heldOpen: (gid, xid) => this.lines.push(`  held open ${gid} ${xid}`),
        openEnded: (gid, end) => this.lines.push(`  open ended ${gid} ${end}`),
        frameSql: ({ what, relation }) => `SELECT FRAME ${what} of ${relation.join('.')}`,
        everywhere: (order) => this.lines.push(`  everywhere ${order?.text ?? 'cancelled'}`),
        newBranch: () => ({ id: 'client:1', headerSql: 'SELECT CLIENT HEADER client:1' }),
        branchRows: (id, gid) => {
          return new Uint8Array(Buffer.concat([p(`SELECT CLIENT ROWS ${id} in ${gid}`), b([]), e(), s()]));
        },
        endBranch: (id) => this.lines.push(`  roll back ${id}`),
        decisionSql: (name, commit) => `SELECT DECISION ${commit ? 'commit' : 'rollback'} ${name}`,
        prepareEnded: (gid, end) => this.lines.push(`  prepare ${gid} ${end}`),
        giveUp: (gid) => this.lines.push(`  give up ${gid}`),
        deliveryFailed: (reason) => this.lines.push(`  not delivered: ${reason}`),
      },
      { conflictRetries: 2, holdBytes: 64, inboxBytes: 4096 },
      false,
    );
    const machine = this.#machine;
    this.#fromClient = new FrameScanner({
      limit: () => 0x3fffffff,
      streams: (type) => type === frontend.copyData && machine.client.streamsCopyData,
      message: (type, buffer, start, end) => machine.client.message(type, buffer, start, end),
      part: (_type, buffer, start, end, first) => machine.client.part(buffer, start, end, first),
    });
    this.#fromServer = new FrameScanner({
      limit: () => 0x3fffffff,
      streams: (type, length) => type === backend.dataRow && machine.streamsRow(length),
      message: (type, buffer, start, end) => machine.serverMessage(type, buffer, start, end),
      part: (_type, buffer, start, end, first) => machine.serverPart(buffer, start, end, first),
    });
    machine.serverMessage(backend.readyForQuery, readyForQuery(0x49), 0, 6);
    this.lines.length = 0;
  }

  #hasLease(): boolean {
    if (this.#lease === 'ends') this.#obstacle = 'passing';
    return this.#lease === 'on';
  }

  #obstacleText(write: boolean): Obstacle | undefined {
    if (this.#obstacle === 'none' || (this.#obstacle === 'write' && !write)) return undefined;
    const text = {
      severity: 'ERROR',
      sqlstate: '57P03',
      message: '[multimaster] node is not online',
    } as const;
    return { text, passing: this.#obstacle === 'passing' };
  }

  /** Until the server has nothing more to say. */
  #settle(): void {
    if (this.#short) return this.#settleWhole();
    for (
      let bytes = this.#server.next();
      bytes !== undefined && !this.#serverGone;
      bytes = this.#server.next()
    )
      for (let at = 0; at < bytes.length && !this.#serverGone; at += this.#pieceBytes)
        this.#fromServer.push(bytes.slice(at, Math.min(bytes.length, at + this.#pieceBytes)));
  }

  /** As above, with all that the server says in a row in one packet. */
  #settleWhole(): void {
    for (;;) {
      const packet: Uint8Array[] = [];
      for (let bytes = this.#server.next(); bytes !== undefined; bytes = this.#server.next())
        packet.push(bytes);
      if (packet.length === 0 || this.#serverGone) return;
      const bytes = Buffer.concat(packet);
      if (this.#fromServer.idle && relayPlainAnswer(this.#machine, bytes)) this.shortened++;
      else this.#fromServer.push(bytes);
    }
  }

  #clientSends(bytes: Uint8Array): void {
    if (this.#short && this.#fromClient.idle && sendPlainRead(this.#machine, bytes)) this.shortened++;
    else this.#fromClient.push(bytes);
  }

  event(line: string): void {
    const [who, what = '', more] = line.split(' ');
    const machine = this.#machine;
    if (who === 'client' && what === 'cancels') {
      this.lines.push(`  passed on: ${clientCancel(machine)}`);
    } else if (who === 'client') {
      this.#clientSends(Buffer.concat(line.slice(7).split(' | ').map(frontendMessage)));
    } else if (who === 'lease') {
      if (what === 'returns') this.#obstacle = 'none';
      this.#lease = what === 'off' || what === 'ends' ? what : 'on';
    } else if (who === 'obstacle') this.#obstacle = what;
    else if (who === 'server') this.#serverEvent(what);
    else if (what === 'interrupt') this.lines.push(`  accepted: ${machine.interrupt(conflict)}`);
    else if (what === 'withdraw') machine.withdraw(conflict);
    else if (what === 'cancel') {
      this.#server.cancel();
      machine.cancelDelivered();
    } else if (what === 'request') machine.cancelDelivered();
    else if (what === 'everywhere') {
      const error = { severity: 'ERROR', sqlstate: '23505', message: 'it failed on node 3' } as const;
      machine.everywhere = { notices: [], error: more === 'done' ? undefined : error };
      machine.resume();
    } else if (what === 'retry') machine.retryDue();
    else if (what === 'client')
      machine.branchIs('client:1', (more as 'captured' | 'too-big' | 'gone') ?? 'gone');
    else {
      const gid = `mtm:1:1:1:${this.#gids}`;
      if (what === 'notifies') {
        const sql = line.endsWith('slowly') ? 'SELECT NOTIFY hang' : 'SELECT NOTIFY';
        this.lines.push(`  taken: ${machine.delivery.offer(machine, gid, sql)}`);
      } else if (what === 'commits') orderOpen(machine, gid, 'commit');
      else if (what === 'rolls') orderOpen(machine, gid, 'rollback');
      else if (what === 'committed') machine.answered(gid, { kind: 'committed' });
      else if (what === 'aborted') machine.answered(gid, { kind: 'aborted', refusal: conflict });
      else machine.answered(gid, { kind: 'unknown', reason: 'nobody answers' });
    }
    this.#settle();
    if (machine.client.wantsPause(0)) this.lines.push('  (client is not read)');
  }

  #serverEvent(what: string): void {
    if (what === 'goes') this.#server.goOn();
    else if (what === 'hangs') this.#server.hangAtPrepare = true;
    else if (what === 'notifies')
      this.#machine.serverMessage(backend.notificationResponse, notification, 0, 15);
    else if (what === 'hides') this.#hiddenNotify = true;
    else if (what === 'refuses') this.#server.refusesCommit = true;
    else if (what === 'fatal') {
      this.#server.say(errorResponse({ severity: 'FATAL', sqlstate: '57P01', message: 'shut down' }));
    } else if (what === 'gone') {
      this.#serverGone = true;
      this.#machine.serverGone();
    }
  }
}

/** NotificationResponse: a process, a channel, an empty payload. */
const notification = Buffer.from('A\0\0\0\x0e\0\0\0\x07news\0\0');

function frontendMessage(text: string): Uint8Array {
  const [type = '', ...words] = text.trim().split(' ');
  const [first = '', second = ''] = words.map((word) => (word === '-' ? '' : word));
  switch (type) {
    case 'Q':
      return q(words.join(' '));
    case 'P':
      return p(words.slice(1).join(' '), first);
    case 'B':
      return b([], second, first);
    case 'D':
      return dp(first);
    case 'E':
      return e(0, first);
    case 'C':
      return cs(first);
    case 'S':
      return s();
    case 'H':
      return h();
    case 'd':
      return d(words.join(' '));
    case 'c':
      return c();
    case 'f':
      return f(words.join(' '));
    default:
      return message(type);
  }
}

function describeFrontend(type: number, bytes: Uint8Array): string {
  const name = frontendNames.get(type) ?? String.fromCharCode(type);
  const text = (at: number) => cstringAt(bytes, at, bytes.length);
  switch (type) {
    case frontend.query:
    case frontend.execute:
    case frontend.copyFail:
      return `${name} ${text(5)}`.trimEnd();
    case frontend.copyData:
      return `${name} ${Buffer.from(bytes.subarray(5)).toString()}`;
    case frontend.parse:
    case frontend.bind:
      return `${name} ${text(5) || '-'} ${text(6 + text(5).length) || '-'}`;
    case frontend.close:
    case frontend.describe:
      return `${name} ${String.fromCharCode(bytes[5]!)} ${text(6) || '-'}`;
    default:
      return name;
  }
}

function describeBackend(type: number, bytes: Uint8Array): string {
  const name = backendNames.get(type) ?? String.fromCharCode(type);
  switch (type) {
    case backend.errorResponse:
    case backend.noticeResponse: {
      const fields = errorFields(bytes, 0, bytes.length);
      return `${name} ${fields.get('V')} ${fields.get('C')} ${fields.get('M')}`;
    }
    case backend.commandComplete:
      return `${name} ${cstringAt(bytes, 5, bytes.length)}`;
    case backend.readyForQuery:
      return `${name} ${String.fromCharCode(bytes[5]!)}`;
    case backend.dataRow:
      return `${name} ${Buffer.from(bytes.subarray(11)).toString()}`;
    case backend.parameterStatus:
      return `${name} ${Buffer.from(bytes.subarray(5, -1)).toString().replace('\0', ' ')}`;
    default:
      return name;
  }
}

function play(script: string, stage: Stage): void {
  for (const line of script.split('\n')) {
    if (line.startsWith('  ')) continue;
    stage.lines.push(line);
    if (line.startsWith('> ')) stage.event(line.slice(2));
  }
}

/**
 * What the machine does in this dialogue. `pieceBytes`: the server's bytes arrive in pieces of this size.
 * `short`: whole packets of both sides are first offered to the short way of plain reads.
 */
export function replay(script: string, classifier: Classifier, pieceBytes = Infinity, short = false): string {
  const stage = new Stage(classifier, pieceBytes, short);
  play(script, stage);
  return stage.lines.join('\n');
}

/** How many packets of the dialogue take the short way. */
export function shortened(script: string, classifier: Classifier): number {
  const stage = new Stage(classifier, Infinity, true);
  play(script, stage);
  return stage.shortened;
}
