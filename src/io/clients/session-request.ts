/** What a session begins with. */
import type { Socket } from 'node:net';

export interface StartupRequest {
  readonly protocol: number;
  readonly parameters: ReadonlyMap<string, string>;
  /** What had arrived behind the startup packet. */
  readonly rest: Uint8Array;
}

export interface SessionConnections {
  /** To the client, paused. */
  readonly socket: Socket;
  /** The client's connection is. */
  readonly encrypted: boolean;
  /** An encrypted connection to the server, paused; undefined: one in the clear is to be made. */
  readonly server: Socket | undefined;
  /** Called once, when the client has logged in or the session has ended. */
  readonly settled: () => void;
}
