/** What client sessions need of the node; the composition in src/node provides it. */
import type { Finish } from '../../core/commit/event.ts';
import type { Gid } from '../../core/identity.ts';
import type {
  BranchPorts,
  EverywherePorts,
  Obstacle,
  PrepareEnd,
  SessionLimits,
  SessionPorts,
} from '../../core/session/ports.ts';
import type { ParsedText } from '../../core/statement/statement-class.ts';
import type { ErrorText } from '../../core/wire/messages.ts';
import type { NodeTally } from '../../telemetry/node-tally.ts';
import type { ServerPlace } from '../postgres/server-connection.ts';
import type { ConsoleServices } from './console-services.ts';
import type { ClientMemory } from './client-memory.ts';
import type { ClientSession } from './client-session.ts';
import { retryDelayMs } from './retry-delay.ts';

export interface SessionServices {
  readonly server: ServerPlace;
  readonly limits: SessionLimits;
  /** Settings `multimaster.*` that every session shows. */
  readonly shownSettings: ReadonlyMap<string, string>;
  classify(text: string): ParsedText;
  hiddenNotify(): boolean;
  identityNothing(): boolean;
  obstacle(write: boolean): Obstacle | undefined;
  /** PAUSE of the admin console: `drive` follows when it is over. */
  paused(): boolean;
  hasLease(): boolean;
  clock(): number;
  newTransaction(session: ClientSession, startTime: number): Gid | undefined;
  headerSql(gid: Gid, checked: boolean, announced: boolean): string;
  announceSql(command: string, tag: string, backendPid: number): string;
  everywherePorts(session: ClientSession): EverywherePorts;
  branchPorts(session: ClientSession): BranchPorts;
  prepareEnded(gid: Gid, end: PrepareEnd): void;
  deliveryFailed(reason: string): void;
  /** The session's server connection ended between the sending of PREPARE and its reply. */
  prepareLost(gid: Gid, backendPid: number): void;
  openHeaderSql(gid: Gid, announced: boolean): string;
  /** The transaction stays open in this backend until its machine is told by `orderOpen`. */
  heldOpen(gid: Gid, xid: string, backendPid: number): void;
  /** That was executed, or the COMMIT has failed. */
  openEnded(gid: Gid, end: Finish | 'failed'): void;
  /** The client has cancelled what is prepared, or held open. */
  giveUp(gid: Gid): void;
  /** May this user work unsupervised (application_name=mtm_admin)? */
  mayBypass(user: string): Promise<boolean>;
  /** May this user see the admin console, and what may he do there? */
  consoleRights(user: string): Promise<'all' | 'look' | undefined>;
  /** Set for a client that wants the admin console. */
  readonly console?: ConsoleServices;
  /** The user's pg_authid.rolpassword. */
  scramVerifier(user: string): Promise<string | undefined>;
  /** Why no session may begin now; undefined: it may. `admin`: it wants to work unsupervised. */
  admission(admin: boolean): ErrorText | undefined;
  /** What all clients together keep here. */
  readonly memory: ClientMemory;
  readonly tally: NodeTally;
  /** It held the most of it, and had to go. */
  endedForMemory(session: ClientSession): void;
  sessionStarted(session: ClientSession): void;
  sessionEnded(session: ClientSession): void;
  /** Resolves when the server has dealt with it. False: a session with this backend and key is not here. */
  cancel(processId: number, key: Uint8Array): Promise<boolean>;
  /** Asks the other gateways to do the same. Never rejects. */
  cancelElsewhere(processId: number, key: Uint8Array): Promise<void>;
  /** Of protocol 3, the newest that the server speaks. */
  readonly newestMinor: number;
}

type Asked =
  | 'waitBeforeRetry'
  | 'announceSql'
  | 'heldOpen'
  | keyof EverywherePorts
  | keyof BranchPorts
  | 'classify'
  | 'hiddenNotify'
  | 'identityNothing'
  | 'deliveryFailed'
  | 'obstacle'
  | 'hasLease'
  | 'paused'
  | 'clock'
  | 'headerSql'
  | 'openHeaderSql'
  | 'giveUp'
  | 'tally';

/** What the node does for a session. */
export function askedOf(services: SessionServices, session: ClientSession): Pick<SessionPorts, Asked> {
  return {
    waitBeforeRetry: (attempt) => {
      setTimeout(() => session.drive((machine) => machine.retryDue()), retryDelayMs(attempt)).unref();
    },
    announceSql: (command, tag) => services.announceSql(command, tag, session.backendPid),
    heldOpen: (gid, xid) => services.heldOpen(gid, xid, session.backendPid),
    ...services.everywherePorts(session),
    ...services.branchPorts(session),
    classify: (text) => services.classify(text),
    hiddenNotify: () => services.hiddenNotify(),
    identityNothing: () => services.identityNothing(),
    deliveryFailed: (reason) => services.deliveryFailed(reason),
    obstacle: (write) => services.obstacle(write),
    hasLease: () => services.hasLease(),
    paused: () => services.paused(),
    clock: () => services.clock(),
    headerSql: (gid, checked, announced) => services.headerSql(gid, checked, announced),
    openHeaderSql: (gid, announced) => services.openHeaderSql(gid, announced),
    giveUp: (gid) => services.giveUp(gid),
    tally: services.tally.session,
  };
}
