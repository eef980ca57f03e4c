/**
 * The frame around each message between gateways, and its limits.
 *
 *     frame = length:uint32  type:uint8  sequence:uint32  body        (big endian)
 *
 * `length` counts what follows it. `sequence` runs from 0 on each link and wraps at 2^32, so a lost, doubled
 * or reordered frame (our own bug, or a stranger's bytes) is seen at once. A type with the high bit set is
 * optional: a reader that does not know it skips it; an unknown type without it ends the link.
 * Rule: a change of a body's grammar is a new type or a new protocol version, never a silent extension.
 */

/**
 * What this build speaks. A link uses the highest version that both sides know (see io/peers/handshake.ts).
 */
export const protocolVersions = { min: 3, max: 3 } as const;

/** Bytes of type, sequence and body together. A longer claim ends the link before anything is allocated. */
export const maxFrameBytes = 16 * 1024 * 1024;

/** Senders cut transaction-data into pieces of at most this many bytes, so that heartbeats get in between. */
export const maxDataBytes = 256 * 1024;

/** Free text in a message (reasons, error fields) is cut to this many UTF-16 units by the sender. */
export const maxTextLength = 16 * 1024;

/** The body of a request or reply, in UTF-8; the asking and the answering side refuse longer ones. */
export const maxBodyBytes = 1024 * 1024;

/** PostgreSQL's GIDSIZE - 1. */
export const maxGidBytes = 199;
/** The highest node id. */
export const maxNode = 64;

export const frameLengthBytes = 4;
/** Type and sequence: the least that `length` may claim. */
export const frameHeadBytes = 5;
export const optionalTypeBit = 0x80;

export const frameType = {
  heartbeat: 1,
  heartbeatAnswer: 2,
  transactionStart: 3,
  transactionData: 4,
  transactionEnd: 5,
  vote: 6,
  rollbackRequest: 7,
  rolledBack: 8,
  outcome: 9,
  finished: 10,
  finishedEverywhere: 11,
  refuseRequest: 12,
  // 13 and 14 belonged to version 1.
  flow: 15,
  voteRequest: 16,
  electionVote: 17,
  voteRefused: 18,
  acceptRequest: 19,
  accepted: 20,
  acceptRefused: 21,
  record: 22,
  recordRequest: 23,
  serverPosition: 24,
  serverPositionVerdict: 25,
  request: 26,
  reply: 27,
} as const;
