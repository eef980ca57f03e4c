/**
 * Turns the stream of the local slot into what the commit machinery wants to know (architecture §3, §9).
 *
 * States: *between* transactions → `b` or `B` opens one → `P` or `C` ends it; `K` and `r` stand between
 * transactions. A transaction is *ours* (gid of this node: its changes are handed out as peer data),
 * *foreign* (gid of another node, seen on 15, where the slot cannot filter by origin: skipped), *alien*
 * (somebody else's gid) or *plain* (one phase). While a session prepares a transaction for its client, what
 * is alien is collected: only its end says whether it is a *client*'s.
 *
 * Rule: peer data is self-contained. pgoutput sends a relation once per connection, so its bytes are kept and
 * put before the first use in each transaction. Nothing in a message is believed because it is there: the
 * header counts only if the owner's `verifyHeader` says so. It never holds a whole transaction of its own.
 */
import { parseGid } from '../identity.ts';
import type { Gid, Lsn, NodeId } from '../identity.ts';
import { Notifications, notifyPrefix } from './notification.ts';
import type { CaptureHandler, PreparedTransaction, UnsupervisedWrite } from './capture-handler.ts';
import { decodePgoutput } from './decoder.ts';
import { headerPrefix, isOwnTable, isSharedTable, readHeader } from './own-tables.ts';
import { peekOid, peekPrefix, peekRelation, peekTruncated, pgoutputType as type } from './peek.ts';
import { PieceWriter } from './piece-writer.ts';

interface Described {
  /** Unquoted, for people. */
  readonly name: string;
  /** In schema mtm: each node's own book-keeping, or replicated like a user's (shared). */
  readonly own: boolean;
  readonly shared: boolean;
  readonly bytes: Uint8Array;
}

type Side = 'ours' | 'foreign' | 'alien' | 'client' | 'plain';

interface OpenTransaction {
  readonly side: Side;
  readonly gid: string;
  readonly names: Set<string>;
  introduced: Set<number>;
  header: { readonly gid: Gid; readonly hmac: string } | undefined;
  rows: number;
  ddl: boolean;
  pieceRows: number;
  pieceDdl: boolean;
  hasOrigin: boolean;
  notifications?: Notifications;
  pieceClients: boolean;
  /** The id of a client's transaction. */
  client: string | undefined;
  body: Uint8Array[] | undefined;
  bodyBytes: number;
}

const pieceBytes = 65_536;
const namesKept = 20;
const aliensKept = 1000;
/** Of the changes of a client's prepared transaction: every node keeps them until it is finished. */
const bodyLimit = 33_554_432;
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

export class Capture {
  readonly #node: NodeId;
  readonly #handler: CaptureHandler;
  readonly #writer = new PieceWriter();
  /** Framed bytes that introduce a relation: its types, then itself. */
  readonly #relations = new Map<number, Described>();
  /** Undefined: it changes nothing that counts. */
  readonly #aliens = new Map<string, UnsupervisedWrite | undefined>();
  #types = new PieceWriter();
  #open: OpenTransaction | undefined;

  constructor(node: NodeId, handler: CaptureHandler) {
    this.#node = node;
    this.#handler = handler;
  }

  /**
   * Takes one message; buffer[start…end) is valid during the call only. Returns what is wrong with it, if
   * anything.
   */
  message(buffer: Uint8Array, start: number, end: number): string | undefined {
    switch (buffer[start]) {
      case type.insert:
      case type.update:
      case type.delete:
        return this.#row(buffer, start, end);
      case type.relation:
        return this.#relation(buffer, start, end);
      case type.type:
        this.#types.message(buffer, start, end);
        return undefined;
      case type.truncate:
        return this.#truncate(buffer, start, end);
      case type.message:
        return this.#logicalMessage(buffer, start, end);
      default:
        return this.#boundary(buffer, start, end);
    }
  }

  /** One of our own transactions that is open: its changes follow without its boundaries. */
  beginOpen(gid: Gid): void {
    this.#begin('ours', gid);
  }

  /** All its changes have come: `prepared` tells what they are. */
  endOpen(): void {
    if (this.#open !== undefined) this.#prepare(this.#open.gid, 0n);
  }

  #relation(buffer: Uint8Array, start: number, end: number): string | undefined {
    const oid = peekOid(buffer, start, end);
    if (oid === 0) return 'a relation message is cut short';
    this.#types.message(buffer, start, end);
    const { schema, name } = peekRelation(buffer, start, end);
    this.#relations.set(oid, {
      name: `${schema}.${name}`,
      own: isOwnTable(schema, name),
      shared: isSharedTable(schema, name),
      bytes: this.#types.take(),
    });
    this.#open?.introduced.delete(oid);
    return undefined;
  }

  #row(buffer: Uint8Array, start: number, end: number): string | undefined {
    const use = this.#use(peekOid(buffer, start, end));
    if (use === 'forward') this.#forward(buffer, start, end);
    return use === 'forward' || use === 'skip' ? undefined : use;
  }

  #truncate(buffer: Uint8Array, start: number, end: number): string | undefined {
    let forward = false;
    for (const oid of peekTruncated(buffer, start, end)) {
      const use = this.#use(oid);
      if (use === 'forward') forward = true;
      else if (use !== 'skip') return use;
    }
    if (forward) this.#forward(buffer, start, end);
    return undefined;
  }

  /**
   * A change of this relation comes next: counts it and introduces the relation. Any other text says what is
   * wrong.
   */
  #use(oid: number): string {
    const open = this.#open;
    if (open === undefined) return 'a row outside of a transaction';
    const relation = this.#relations.get(oid);
    if (relation === undefined) return `a row of a relation (oid ${oid}) that was never described`;
    if (relation.own || (relation.shared && open.side !== 'ours')) return 'skip';
    open.pieceClients ||= relation.shared;
    open.rows++;
    open.pieceRows++;
    if (open.introduced.has(oid)) return 'forward';
    open.introduced.add(oid);
    if (isKept(open)) this.#writer.framed(relation.bytes);
    if (open.side !== 'ours' && open.names.size < namesKept) open.names.add(relation.name);
    return 'forward';
  }

  #forward(buffer: Uint8Array, start: number, end: number): void {
    const open = this.#open;
    if (open === undefined || !isKept(open)) return;
    this.#writer.message(buffer, start, end);
    if (this.#writer.size >= pieceBytes) this.#flush(open, true);
  }

  #flush(open: OpenTransaction, more = false): void {
    if (this.#writer.size === 0) return;
    const { pieceDdl: ddl, pieceRows: rows, pieceClients: clients } = open;
    const piece = { ddl, rows, data: this.#writer.take(more), ...(clients ? { clients } : {}) };
    open.pieceRows = 0;
    open.pieceDdl = false;
    open.pieceClients = false;
    if (open.side === 'client') return collect(open, piece.data);
    this.#handler.piece(open.gid, piece);
  }

  #logicalMessage(buffer: Uint8Array, start: number, end: number): string | undefined {
    const open = this.#open;
    const prefix = peekPrefix(buffer, start, end);
    // A message outside of a transaction (transactional = false) is nobody's change.
    if (buffer[start + 1] !== 1)
      return prefix === 'mtm-request' ? this.#request(buffer, start, end) : undefined;
    if (open === undefined) return undefined;
    if (prefix === 'mtm-ddl') {
      open.ddl = true;
      open.pieceDdl = true;
      this.#forward(buffer, start, end);
    } else if (prefix === notifyPrefix) {
      if (open.side !== 'ours' && open.side !== 'plain') return undefined;
      open.notifications ??= new Notifications();
      this.#forward(buffer, start, end);
      return open.notifications.message(buffer, start, end);
    } else if (prefix === 'mtm-follow') {
      if (open.names.size < namesKept) open.names.add('(setval or rewritten rows)');
      this.#forward(buffer, start, end);
    } else if (prefix === headerPrefix.supervised || prefix === headerPrefix.client) {
      const message = decodePgoutput(buffer, start, end);
      if (message.kind === 'malformed') return message.reason;
      if (message.kind === 'logical-message') this.#header(open, prefix, message.content);
    }
    return undefined;
  }

  #request(buffer: Uint8Array, start: number, end: number): string | undefined {
    const message = decodePgoutput(buffer, start, end);
    if (message.kind === 'malformed') return message.reason;
    if (message.kind === 'logical-message') this.#handler.request?.(decoder.decode(message.content));
    return undefined;
  }

  /** The last header whose gid fits counts; in a plain transaction the last one at all. */
  #header(open: OpenTransaction, prefix: string, content: Uint8Array): void {
    const header = readHeader(content);
    if (prefix === headerPrefix.client) {
      if (header !== undefined && this.#handler.verifyHeader(header.gid, header.hmac))
        open.client = header.gid;
    } else if (header !== undefined && (open.side === 'plain' || header.gid === open.gid))
      open.header = header;
  }

  #boundary(buffer: Uint8Array, start: number, end: number): string | undefined {
    const message = decodePgoutput(buffer, start, end);
    switch (message.kind) {
      case 'begin':
        return this.#begin('plain', '');
      case 'begin-prepare':
        return this.#begin(this.#sideOf(message.gid), message.gid);
      case 'origin':
        if (this.#open !== undefined) this.#open.hasOrigin = true;
        return undefined;
      case 'prepare':
        return this.#prepare(message.gid, message.endLsn);
      case 'commit':
        return this.#commit(message.endLsn);
      case 'commit-prepared':
        return this.#finish(message.gid, 'committed', message.endLsn);
      case 'rollback-prepared':
        return this.#finish(message.gid, 'rolled-back', message.endLsn);
      case 'stream':
        return `a message of an in-progress stream (${message.type}), which was not asked for`;
      case 'malformed':
        return message.reason;
      default:
        return `unexpected message ${message.kind}`;
    }
  }

  #sideOf(gid: string): Side {
    const parts = parseGid(gid);
    if (parts === undefined) return this.#handler.preparesForClients?.() === true ? 'client' : 'alien';
    return parts.node === this.#node ? 'ours' : 'foreign';
  }

  #begin(side: Side, gid: string): string | undefined {
    if (this.#open !== undefined) return 'a transaction begins inside another';
    this.#open = {
      side,
      gid,
      names: new Set(),
      introduced: new Set(),
      header: undefined,
      rows: 0,
      ddl: false,
      pieceRows: 0,
      pieceDdl: false,
      hasOrigin: false,
      pieceClients: false,
      client: undefined,
      body: [],
      bodyBytes: 0,
    };
    if (side === 'ours') this.#handler.began(gid);
    return undefined;
  }

  #prepare(gid: string, endLsn: Lsn): string | undefined {
    const open = this.#open;
    if (open === undefined || open.gid !== gid) return `the end of ${gid} without its beginning`;
    this.#open = undefined;
    if (isKept(open)) this.#flush(open);
    if (open.side === 'ours') {
      const header = this.#judge(open);
      const { rows, ddl, notifications } = open;
      this.#handler.prepared({ gid, header, rows, ddl, ...(notifications && { notifications }), endLsn });
    } else if (open.client !== undefined) {
      const { client: id, ddl, body, side } = open;
      if (side === 'client' && !open.hasOrigin) this.#handler.client?.({ id, gid, ddl, body });
    } else if (open.side !== 'foreign' && !open.hasOrigin) {
      const counts = open.names.size > 0 || open.ddl;
      this.#aliens.set(gid, counts ? this.#unsupervised(open, gid, endLsn) : undefined);
      if (this.#aliens.size > aliensKept) this.#aliens.delete(this.#aliens.keys().next().value ?? '');
    }
    return undefined;
  }

  #judge(open: OpenTransaction): PreparedTransaction['header'] {
    if (open.header === undefined) return 'missing';
    return this.#handler.verifyHeader(open.header.gid, open.header.hmac) ? 'verified' : 'forged';
  }

  #commit(endLsn: Lsn): string | undefined {
    const open = this.#open;
    if (open === undefined || open.side !== 'plain') return 'a commit without a beginning';
    this.#open = undefined;
    if (open.hasOrigin) return undefined;
    if (open.header !== undefined && this.#judge(open) === 'verified') {
      this.#handler.committedPlainly(open.header.gid, endLsn, open.notifications);
    } else if (open.names.size > 0 || open.ddl) {
      this.#handler.unsupervised(this.#unsupervised(open, undefined, endLsn));
    }
    return undefined;
  }

  #unsupervised(open: OpenTransaction, gid: string | undefined, endLsn: Lsn): UnsupervisedWrite {
    return { relations: [...open.names], rows: open.rows, ddl: open.ddl, gid, endLsn };
  }

  #finish(gid: string, outcome: 'committed' | 'rolled-back', endLsn: Lsn): string | undefined {
    if (this.#open !== undefined) return `the outcome of ${gid} inside a transaction`;
    const alien = this.#aliens.get(gid);
    if (this.#aliens.delete(gid)) {
      if (outcome === 'committed' && alien !== undefined) this.#handler.unsupervised({ ...alien, endLsn });
    } else if (parseGid(gid) !== undefined) {
      this.#handler.finished(gid, outcome, endLsn);
    } else if (outcome === 'committed') {
      this.#handler.finishedByName?.(gid, endLsn);
    }
    return undefined;
  }
}

/** Its changes are handed out, or collected. */
function isKept({ side }: OpenTransaction): boolean {
  return side === 'ours' || side === 'client';
}

function collect(open: OpenTransaction, data: Uint8Array): void {
  open.bodyBytes += data.length;
  if (open.bodyBytes > bodyLimit) open.body = undefined;
  open.body?.push(data);
}
