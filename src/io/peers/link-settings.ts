/**
 * The limits of links between gateways, and the little that links need from outside.
 */

export interface LinkSettings {
  /**
   * A connection that has not authenticated itself by then is closed. Counted from the dial, or the accept.
   */
  readonly handshakeTimeoutMs: number;
  /** First and longest wait between two dials; it doubles from one to the other. */
  readonly backOffMs: { readonly first: number; readonly longest: number };
  /** A link whose bytes nobody acknowledges for this long is given up (in a cut network TCP says nothing). */
  readonly acknowledgeTimeoutMs: number;
  /** Above this many queued bytes `send` says stop; below half of it, `onDrained` says go on. */
  readonly highWaterBytes: number;
  /** A link that is given more changes with so much in its queue is dropped with everything in it. */
  readonly maxQueueBytes: number;
  /**
   * Connections that have not proved anything; one more closes another one of them (strangers.ts). At least
   * twice the number of peers of the moment.
   */
  readonly maxStrangers: number;
}

export const defaultLinkSettings: LinkSettings = {
  handshakeTimeoutMs: 3000,
  backOffMs: { first: 50, longest: 1000 },
  acknowledgeTimeoutMs: 2000,
  highWaterBytes: 4 * 1024 * 1024,
  maxQueueBytes: 64 * 1024 * 1024,
  maxStrangers: 64,
};

/** The part of a pino logger that links use. */
export interface LinkLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

/** What the listener writes back on a link, some milliseconds after bytes came. */
export const acknowledgement = 0x06;
export const acknowledgeDelayMs = 200;
