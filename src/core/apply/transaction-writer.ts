/**
 * Turns the peer data of one transaction into the messages of one pipeline, ending with PREPARE TRANSACTION.
 *
 * It is driven: `push` gives data, `step` works until the data is used up (*hungry*), enough has been written
 * (*full*), the server must answer first (*waiting*: the owner flushes and gives every row to `answer`) or it
 * is *refused*. When the owner has no more data it calls `finish` until that says *complete*.
 * Rules: whatever can fail fails inside the server or before anything behind it is written, because PREPARE
 * travels in the same packet. Stream order is kept: uniqueness is checked at once.
 */
import type { Gid } from '../identity.ts';
import { Notifications, notifyPrefix } from '../pgoutput/notification.ts';
import { decodePgoutput } from '../pgoutput/decoder.ts';
import type { DeleteMessage, InsertMessage, PgoutputMessage } from '../pgoutput/messages.ts';
import type { TruncateMessage, UpdateMessage } from '../pgoutput/messages.ts';
import { peekOid, pgoutputType } from '../pgoutput/peek.ts';
import { frameEnd } from '../pgoutput/piece-writer.ts';
import { isWholeBody, writeBranchEnd, writeBranchStart, type ClientBranch } from './client-branch.ts';
import { ClientSteps } from './client-steps.ts';
import { ddlUserMark, ddlUserQuery, follow, keepCommandSql, planDdl, readDdlMessage } from './ddl-plan.ts';
import type { DdlMessage } from './ddl-message.ts';
import { factsMark, factsQuery, readFacts, type RelationFacts } from './facts.ts';
import { ForeignKeyChecks } from './foreign-key-checks.ts';
import { HeldRows, heldBytesLimit } from './held-rows.ts';
import { PieceQueue } from './piece-queue.ts';
import { relationKey, type PlanStore } from './plan-store.ts';
import { quoteLiteral } from './quoting.ts';
import { RelationPlan, truncateSql } from './relation-plan.ts';
import { writeRun } from './row-runs.ts';
import { RowWriter } from './row-writer.ts';
import type { StatementPipeline } from './statement-pipeline.ts';
import { full, hungry, waiting, type KnownRelation, type Step, type Waiting } from './writer-step.ts';

const fullBytes = 65_536;
const rowTypes = new Set<number | undefined>([pgoutputType.insert, pgoutputType.update, pgoutputType.delete]);
const barrierMark = 'mtm-barrier:';
const begin = 'BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE';
const textOid = 25;
const encoder = new TextEncoder();

export class TransactionWriter {
  readonly #pipeline: StatementPipeline;
  readonly #store: PlanStore;
  readonly #gid: Gid | undefined;
  readonly #hmac: string;
  /** Tells apart functions of transactions that are not finished. */
  readonly #unique: string;
  readonly #rows: RowWriter;
  readonly #relations = new Map<number, KnownRelation>();
  #checks: ForeignKeyChecks | undefined;
  readonly #held = new HeldRows();
  readonly notifications = new Notifications();
  readonly #pieces = new PieceQueue();
  readonly #clients: ClientSteps;
  /** What this writes itself, to be prepared under the client's name. */
  readonly #self: ClientBranch | undefined;
  #waiting: Waiting | undefined;
  #refused: Step | undefined;
  #user: { readonly message: DdlMessage; readonly superuser: boolean } | undefined;
  #deferred = false;
  /** Inside CREATE or ALTER EXTENSION the script runs here too, and writes the rows of its tables itself. */
  #insideExtension = false;
  #ddl = false;

  /**
   * Without a gid it replays what was decided before: its owner writes the boundaries, and foreign keys are
   * not checked again. `branch`: it writes this one, whose name the gid is. `session`: the server's process.
   */
  constructor(
    pipeline: StatementPipeline,
    store: PlanStore,
    gid: Gid | undefined,
    hmac: string,
    session: number,
    branch?: ClientBranch,
  ) {
    this.#pipeline = pipeline;
    this.#self = branch;
    this.#clients = new ClientSteps(pipeline, this.#pieces, gid === undefined, (client) => {
      return new TransactionWriter(pipeline, store, client.gid, '', session, client);
    });
    this.#checks = gid === undefined ? undefined : new ForeignKeyChecks(pipeline);
    this.#store = store;
    this.#gid = gid;
    this.#hmac = hmac;
    this.#unique = branch?.id ?? gid ?? String(session);
    this.#rows = new RowWriter(pipeline, this.#unique);
    if (gid !== undefined) pipeline.run(begin);
    if (branch === undefined) return;
    writeBranchStart(pipeline, branch);
    if (isWholeBody(branch.body)) this.push(branch.body);
    else this.#refuse('08P01', `the changes of prepared transaction "${branch.gid}" are cut short`);
  }

  /** A command was seen: plans of others may be stale afterwards. */
  get ddl(): boolean {
    return this.#ddl || this.#clients.ddl;
  }

  /** The client's branch that is prepared before this transaction, once it is known. */
  get client(): ClientBranch | undefined {
    return this.#clients.branch;
  }

  /** It says what becomes of clients' branches: with its commit not everything is done. */
  get concernsClients(): boolean {
    return this.#clients.active;
  }

  /** Bytes pushed and not used yet. */
  get queuedBytes(): number {
    return this.#pieces.bytes;
  }

  /** `reusable`: nobody else has the bytes. */
  push(data: Uint8Array, reusable = false): void {
    this.#pieces.push(data, reusable);
  }

  step(): Step {
    for (;;) {
      const first = this.#clients.step(begin);
      if (first !== undefined) return first;
      if (this.#refused !== undefined) return this.#refused;
      if (this.#waiting !== undefined) return waiting;
      const piece = this.#pieces.current();
      if (piece === undefined) return hungry;
      this.#message(piece);
      if (this.#pipeline.size >= fullBytes) return full;
    }
  }

  /** One row that the server sent; rows of other statements are not for us. */
  answer(columns: readonly string[]): void {
    const first = columns[0] ?? '';
    const taken = this.#clients.answer(columns);
    if (taken === 'broken') this.#refuse('08P01', 'the changes of a prepared transaction are cut short');
    else if (taken === 'answered') this.#waiting = undefined;
    else if (taken !== undefined) return;
    else if (first.startsWith(factsMark)) this.#factsCame(first.slice(factsMark.length));
    else if (first.startsWith(ddlUserMark)) this.#userCame(first.slice(ddlUserMark.length));
    else if (first === barrierMark && this.#waiting?.kind === 'barrier') this.#waiting = undefined;
    else this.#checks?.answer(first, columns);
  }

  /** Writes the checks, the header and PREPARE TRANSACTION (when replaying: nothing); no data may be left. */
  finish(): Step {
    if (this.#refused !== undefined) return this.#refused;
    if (this.#waiting !== undefined) return waiting;
    if (!this.#pieces.empty) {
      this.#refuse('08P01', 'peer data ends in the middle of a message');
      return this.finish();
    }
    const [absent] = this.#held.names;
    if (absent !== undefined) {
      this.#refuseAbsent(absent);
      return this.finish();
    }
    this.#rows.end();
    if (this.#checks?.takeOpen() === true) {
      this.#pipeline.run(`SELECT '${barrierMark}'`);
      return this.#wait({ kind: 'barrier' });
    }
    if (this.#clients.holding) this.#refuse('08P01', 'peer data: a prepared transaction is cut short');
    if (this.#gid === undefined || this.#clients.holding) return this.#refused ?? { kind: 'complete' };
    this.#checks?.finish();
    if (this.#self !== undefined) {
      writeBranchEnd(this.#pipeline, this.#self);
      return { kind: 'complete' };
    }
    const header = JSON.stringify({ gid: this.#gid, hmac: this.#hmac });
    const emit = "SELECT pg_catalog.pg_logical_emit_message(true, 'mtm', $1)";
    this.#pipeline.run(emit, [textOid], [encoder.encode(header)]);
    this.#pipeline.runOnce(`PREPARE TRANSACTION ${quoteLiteral(this.#gid)}`);
    return { kind: 'complete' };
  }

  #refuse(sqlstate: string, reason: string): void {
    this.#refused = { kind: 'refused', sqlstate, reason };
  }

  #refuseAbsent(name: string): void {
    this.#refuse('42P01', `relation "${name}" does not exist on this node`);
  }

  #wait(what: Waiting): Step {
    this.#waiting = what;
    this.#pipeline.flush();
    return waiting;
  }

  #message(piece: Uint8Array): void {
    const start = this.#pieces.at + 4;
    const end = frameEnd(piece, this.#pieces.at);
    if (end === 0) return this.#refuse('08P01', 'peer data is cut in the middle of a message');
    const client = this.#clients.active && this.#clients.row(piece, start, end);
    if (client === 'asked') this.#wait({ kind: 'body' });
    if (client !== false) return;
    if (this.#run(piece, end)) return;
    this.#pieces.keep();
    const message = decodePgoutput(piece, start, end);
    if (message.kind !== 'insert') this.#rows.flush();
    const absent = 'relation' in message ? this.#relations.get(message.relation) : undefined;
    if (absent?.absent === true && this.#insideExtension)
      this.#pieces.at = end; // made and dropped by the script
    else if (absent?.absent === true) this.#hold(absent, piece, start, end);
    else if (!this.#apply(message, piece, start, end)) return;
    this.#pieces.at = end;
    // A command has run: rows of tables that did not exist come before what follows it.
    if (message.kind === 'logical-message' && this.#held.names.length > 0)
      this.#pieces.insert(this.#held.take());
  }

  #hold({ message }: KnownRelation, piece: Uint8Array, start: number, end: number): void {
    const name = `${message.schema}.${message.name}`;
    if (this.#held.add(name, piece, start, end)) return;
    const size = `${heldBytesLimit >> 20} MB`;
    this.#refuse('54000', `more than ${size} of rows for "${name}" before it exists on this node`);
  }

  /** False when the message must wait for an answer: it is looked at again then. */
  #apply(message: PgoutputMessage, piece: Uint8Array, start: number, end: number): boolean {
    switch (message.kind) {
      case 'insert':
        return this.#insert(message);
      case 'update':
        return this.#update(message);
      case 'delete':
        return this.#delete(message);
      case 'truncate':
        return this.#truncate(message);
      case 'relation': {
        const key = relationKey(piece, start, end);
        this.#relations.set(message.oid, { message, key, plan: undefined, absent: false });
        this.#clients.introduced(message);
        return true;
      }
      case 'type':
        return true;
      case 'logical-message':
        if (message.prefix === notifyPrefix) this.notifications.add(message.content);
        if (message.prefix === 'mtm-follow' && follow(this.#pipeline, message.content))
          this.#checks = undefined;
        return message.prefix === 'mtm-ddl' ? this.#command(message.content) : true;
      default: {
        const what = message.kind === 'malformed' ? message.reason : `unexpected message ${message.kind}`;
        this.#refuse('08P01', `peer data: ${what}`);
        return true;
      }
    }
  }

  /** The plan, or undefined while the catalog is asked. */
  #plan(oid: number): RelationPlan | undefined {
    const relation = this.#relations.get(oid);
    if (relation === undefined) {
      this.#refuse('08P01', `peer data: a row of a relation (oid ${oid}) that was not described`);
      return undefined;
    }
    if (relation.plan !== undefined) return relation.plan;
    if (relation.absent) {
      this.#refuseAbsent(`${relation.message.schema}.${relation.message.name}`);
      return undefined;
    }
    // What this transaction's own DDL made of the catalog is seen by nobody else and may be rolled back.
    const stored = this.#ddl ? undefined : this.#store.find(relation.key);
    if (stored !== undefined) return this.#adopt(relation, stored);
    const epoch = this.#store.epoch;
    const names = [relation.message.schema, relation.message.name].map((name) => encoder.encode(name));
    this.#pipeline.run(factsQuery, [textOid, textOid], names);
    this.#wait({ kind: 'facts', relation, epoch });
    return undefined;
  }

  #adopt(relation: KnownRelation, plan: RelationPlan): RelationPlan {
    relation.plan = plan;
    if (plan.facts.deferrable && !this.#deferred) {
      this.#deferred = true;
      this.#pipeline.run('SET CONSTRAINTS ALL DEFERRED');
    }
    return plan;
  }

  #factsCame(json: string): void {
    const asked = this.#waiting;
    if (asked?.kind !== 'facts') return;
    this.#waiting = undefined;
    const { message, key } = asked.relation;
    if (json === '') {
      asked.relation.absent = true;
      return;
    }
    const plan = RelationPlan.bind(message, readFacts(json));
    if (typeof plan === 'string') return this.#refuse('55000', plan);
    if (!this.#ddl) this.#store.store(key, plan, asked.epoch);
    this.#adopt(asked.relation, plan);
  }

  /** The rows stay at their home, or the script of an extension writes them here too. */
  #leftOut({ facts }: RelationPlan): boolean {
    return facts.local || (this.#insideExtension && facts.extensionMember);
  }

  #insert(message: InsertMessage): boolean {
    const plan = this.#plan(message.relation);
    if (plan === undefined) return false;
    if (this.#leftOut(plan)) return true;
    this.#rows.insert(plan, message.row);
    this.#checks?.inserted(plan, message.row);
    return true;
  }

  #update(message: UpdateMessage): boolean {
    const plan = this.#plan(message.relation);
    if (plan === undefined) return false;
    if (this.#leftOut(plan)) return true;
    this.#checks?.parentGoes(plan, message);
    this.#rows.change(plan, plan.update(message), message.row, message.old?.row);
    this.#checks?.updated(plan, message);
    return true;
  }

  #delete(message: DeleteMessage): boolean {
    const plan = this.#plan(message.relation);
    if (plan === undefined) return false;
    if (this.#leftOut(plan)) return true;
    this.#checks?.parentGoes(plan, message);
    this.#rows.change(plan, plan.delete(message), undefined, message.old.row);
    return true;
  }

  #truncate(message: TruncateMessage): boolean {
    const facts: RelationFacts[] = [];
    for (const oid of message.relations) {
      const plan = this.#plan(oid);
      if (plan === undefined) return false;
      if (!this.#leftOut(plan)) facts.push(plan.facts);
    }
    const refusal = facts.length > 0 ? this.#rows.truncate(truncateSql(message, facts), facts) : undefined;
    if (refusal !== undefined) this.#refuse('0A000', refusal);
    return true;
  }

  /** Several rows at once. False: too few, or the plan is not known yet. */
  #run(piece: Uint8Array, firstEnd: number): boolean {
    if (!rowTypes.has(piece[this.#pieces.at + 4])) return false;
    const plan = this.#relations.get(peekOid(piece, this.#pieces.at + 4, firstEnd))?.plan;
    if (plan === undefined || plan.guarded || this.#leftOut(plan)) return false;
    if (plan.asChild.length + plan.asParent.length > 0) this.#pieces.keep();
    this.#rows.flush();
    const end = writeRun(this.#pipeline, this.#checks, plan, piece, this.#pieces.at);
    if (end === undefined) return false;
    if (end === 'malformed') this.#refuse('08P01', 'peer data: a row that cannot be read');
    else this.#pieces.at = end;
    return true;
  }

  #command(content: Uint8Array): boolean {
    const message = this.#user?.message ?? readDdlMessage(content);
    if (message === undefined) {
      this.#refuse('08P01', 'a replicated command is not readable');
      return true;
    }
    if (message.tag === 'END EXTENSION') {
      this.#insideExtension = false;
      this.#pipeline.run(keepCommandSql, [textOid], [content]);
      return true;
    }
    if (this.#user === undefined) {
      this.#ddl = true;
      this.#checks?.definitionsChange();
      this.#pipeline.run(ddlUserQuery, [textOid], [encoder.encode(message.sessionUser)]);
      this.#wait({ kind: 'user', message });
      return false;
    }
    this.#rows.end();
    const plan = planDdl(message, this.#user, this.#unique);
    this.#user = undefined;
    this.#pipeline.run(keepCommandSql, [textOid], [content]);
    if (message.tag === 'CREATE EXTENSION' || message.tag === 'ALTER EXTENSION') this.#insideExtension = true;
    if (plan.kind === 'refused') this.#refuse('42501', plan.reason);
    else this.#pipeline.runForeign(plan.statements);
    // Whatever was known of any relation may be different now, in this transaction.
    for (const relation of this.#relations.values()) {
      relation.plan = undefined;
      relation.absent = false;
    }
    this.#deferred = false;
    return true;
  }

  #userCame(superuser: string): void {
    const asked = this.#waiting;
    if (asked?.kind !== 'user') return;
    this.#waiting = undefined;
    if (superuser === '')
      return this.#refuse('28000', `role "${asked.message.sessionUser}" does not exist on this node`);
    this.#user = { message: asked.message, superuser: superuser === 'true' };
  }
}
