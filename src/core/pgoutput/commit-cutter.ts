/**
 * Cuts the donor's history, as pgoutput prints it in commit order, into transactions with their gids.
 *
 * States: *between* commits → `B` opens one → rows, commands, headers → `C` ends it. Within a commit a *unit*
 * is one transaction of the cluster: usually the whole commit, whose gid is in its header; a commit of a node
 * that caught up itself (origin `mtm_recovery`) holds many, each closed by a message of its own.
 *
 * Rules: only the last verified header of an ordinary commit counts, and only the recovery's origin makes a
 * commit be cut, so that no user can cut his own. A commit without a verified header is nobody's transaction
 * and is left out; so is a client's prepared transaction, which comes with the decision about it. A unit is
 * held until its gid is known, but not beyond `holdBytes`: a big one is handed on
 * as it comes and named at its end. Units are self-contained as in core/pgoutput/capture.ts. Of commits that
 * the receiver has in a copy it gets the gids only.
 */
import { parseGid } from '../identity.ts';
import type { Gid, Lsn } from '../identity.ts';
import { decodePgoutput } from './decoder.ts';
import { headerPrefix, isOwnTable, isSharedTable, readHeader } from './own-tables.ts';
import { peekOid, peekPrefix, peekRelation, peekTruncated } from './peek.ts';
import { pgoutputType as type } from './peek.ts';
import { PieceWriter } from './piece-writer.ts';

export interface CutterHandler {
  verifyHeader(gid: Gid, hmac: string): boolean;
  /** A whole transaction. `position` is 0 when more of the same commit follows. */
  unit(gid: Gid, ddl: boolean, data: Uint8Array, position: Lsn): void;
  /** A big one begins; its pieces follow. */
  begin(): void;
  piece(data: Uint8Array): void;
  /** It ends. Without a gid it is nobody's, and nothing of it counts. */
  end(gid: Gid | undefined, ddl: boolean, position: Lsn): void;
  /** The donor went online in this generation. */
  mark(generation: number): void;
  /** A commit has been handed on, whatever was in it. */
  committed(position: Lsn): void;
  /** A commit with rows or commands and without a verified header was left out. */
  unsupervised(): void;
}

interface Described {
  readonly own: boolean;
  /** In our schema, but replicated. */
  readonly shared: boolean;
  readonly bytes: Uint8Array;
}

interface OpenCommit {
  /** The receiver's copy holds it. */
  readonly copied: boolean;
  replayed: boolean;
  /** A client has prepared it, through a gateway. */
  client: boolean;
  /** Gid of the last verified header; undefined behind a unit that is closed. */
  gid: Gid | undefined;
  introduced: Set<number>;
  /** Rows or commands since the unit began. */
  content: boolean;
  ddl: boolean;
  /** The unit is handed on as it comes. */
  big: boolean;
  marks: number[];
}

const pieceBytes = 65_536;
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

export class CommitCutter {
  readonly #handler: CutterHandler;
  readonly #holdBytes: number;
  readonly #recoveryOrigin: string;
  readonly #replayedPrefix: string;
  readonly #writer = new PieceWriter();
  readonly #relations = new Map<number, Described>();
  #types = new PieceWriter();
  #open: OpenCommit | undefined;
  /** Commits whose record begins before it are handed on without their rows and commands. */
  copyEnd: Lsn = 0n;

  /** `replayedPrefix` is that of the messages which close a unit in commits of `recoveryOrigin`. */
  constructor(
    handler: CutterHandler,
    options: { readonly holdBytes: number; readonly recoveryOrigin: string; readonly replayedPrefix: string },
  ) {
    this.#handler = handler;
    this.#holdBytes = options.holdBytes;
    this.#recoveryOrigin = options.recoveryOrigin;
    this.#replayedPrefix = options.replayedPrefix;
  }

  /** Takes one message, valid during the call only. Returns what is wrong with it, if anything. */
  message(buffer: Uint8Array, start: number, end: number): string | undefined {
    switch (buffer[start]) {
      case type.insert:
      case type.update:
      case type.delete:
        return this.#rows([peekOid(buffer, start, end)], buffer, start, end);
      case type.truncate:
        return this.#rows(peekTruncated(buffer, start, end), buffer, start, end);
      case type.relation:
        return this.#relation(buffer, start, end);
      case type.type:
        this.#types.message(buffer, start, end);
        return undefined;
      default:
        return this.#other(buffer, start, end);
    }
  }

  #relation(buffer: Uint8Array, start: number, end: number): string | undefined {
    const oid = peekOid(buffer, start, end);
    if (oid === 0) return 'a relation message is cut short';
    this.#types.message(buffer, start, end);
    const { schema, name } = peekRelation(buffer, start, end);
    const kind = { own: isOwnTable(schema, name), shared: isSharedTable(schema, name) };
    this.#relations.set(oid, { ...kind, bytes: this.#types.take() });
    this.#open?.introduced.delete(oid);
    return undefined;
  }

  #rows(oids: readonly number[], buffer: Uint8Array, start: number, end: number): string | undefined {
    const open = this.#open;
    if (open === undefined) return 'a row outside of a transaction';
    if (open.copied) {
      open.content = true;
      return undefined;
    }
    let forward = false;
    for (const oid of oids) {
      const relation = this.#relations.get(oid);
      if (relation === undefined) return `a row of a relation (oid ${oid}) that was never described`;
      if (relation.own) continue;
      forward = true;
      // Of these each node deletes some by itself, which is nobody's write.
      open.content ||= !relation.shared;
      if (open.introduced.has(oid)) continue;
      open.introduced.add(oid);
      this.#writer.framed(relation.bytes);
    }
    if (forward) this.#forward(open, buffer, start, end);
    return undefined;
  }

  #forward(open: OpenCommit, buffer: Uint8Array, start: number, end: number): void {
    this.#writer.message(buffer, start, end);
    if (open.big) {
      if (this.#writer.size >= pieceBytes) this.#handler.piece(this.#writer.take());
    } else if (this.#writer.size >= this.#holdBytes) {
      open.big = true;
      this.#handler.begin();
      this.#handler.piece(this.#writer.take());
    }
  }

  #other(buffer: Uint8Array, start: number, end: number): string | undefined {
    const message = decodePgoutput(buffer, start, end);
    switch (message.kind) {
      case 'begin':
        if (this.#open !== undefined) return 'a transaction begins inside another';
        this.#open = {
          copied: message.finalLsn < this.copyEnd,
          replayed: false,
          client: false,
          gid: undefined,
          introduced: new Set(),
          content: false,
          ddl: false,
          big: false,
          marks: [],
        };
        return undefined;
      case 'origin':
        if (this.#open !== undefined) this.#open.replayed = message.name === this.#recoveryOrigin;
        return undefined;
      case 'commit':
        return this.#commit(message.endLsn);
      case 'logical-message':
        if (this.#open === undefined || !message.transactional) return undefined;
        return this.#logicalMessage(this.#open, message.content, buffer, start, end);
      case 'malformed':
        return message.reason;
      default:
        return `unexpected message ${message.kind} in a stream of whole commits`;
    }
  }

  #logicalMessage(
    open: OpenCommit,
    content: Uint8Array,
    buffer: Uint8Array,
    start: number,
    end: number,
  ): string | undefined {
    const prefix = peekPrefix(buffer, start, end);
    if (prefix === 'mtm-ddl') {
      open.content = true;
      open.ddl = !open.copied;
      if (!open.copied) this.#forward(open, buffer, start, end);
    } else if (prefix === 'mtm-follow') {
      open.content = true;
      if (!open.copied) this.#forward(open, buffer, start, end);
    } else if (prefix === headerPrefix.client) {
      open.client = this.#proved(content) !== undefined;
    } else if (prefix === 'mtm-mark') {
      open.marks.push(Number(decoder.decode(content)));
    } else if (prefix === 'mtm' && !open.replayed) {
      open.gid = this.#headerOf(content) ?? open.gid;
    } else if (prefix === this.#replayedPrefix && open.replayed) {
      const gid = this.#headerOf(content);
      if (gid === undefined) return 'the header of a replayed transaction is forged';
      open.gid = gid;
      this.#close(open, 0n);
    }
    return undefined;
  }

  /** The gid of a header that the gateway wrote. */
  #headerOf(content: Uint8Array): Gid | undefined {
    const gid = this.#proved(content);
    return gid === undefined || parseGid(gid) === undefined ? undefined : gid;
  }

  /** What a header names that the gateway wrote. */
  #proved(content: Uint8Array): string | undefined {
    const header = readHeader(content);
    if (header === undefined) return undefined;
    return this.#handler.verifyHeader(header.gid, header.hmac) ? header.gid : undefined;
  }

  /** Ends the unit; the next one of the same commit introduces its relations again. */
  #close(open: OpenCommit, position: Lsn): void {
    const data = this.#writer.take();
    const { gid, big, content, ddl, client } = open;
    if (big) {
      if (data.length > 0) this.#handler.piece(data);
      this.#handler.end(gid, ddl, position);
    } else if (gid !== undefined) {
      this.#handler.unit(gid, ddl, data, position);
    }
    if (gid === undefined && content && !client) this.#handler.unsupervised();
    open.gid = undefined;
    open.introduced = new Set();
    open.content = false;
    open.ddl = false;
    open.big = false;
  }

  #commit(endLsn: Lsn): string | undefined {
    const open = this.#open;
    if (open === undefined) return 'a commit without a beginning';
    this.#close(open, endLsn);
    this.#open = undefined;
    for (const generation of open.marks) this.#handler.mark(generation);
    this.#handler.committed(endLsn);
    return undefined;
  }
}
