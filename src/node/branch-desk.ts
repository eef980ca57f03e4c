/**
 * The transactions that clients prepare under their own names, between their sessions, the change stream and
 * the server.
 * Rule: an id is made here and never used twice: the incarnation is raised durably at each start. What a
 * session leaves behind, whyever it ends, is rolled back, unless the nodes decide about it.
 */
import type { Gid } from '../core/identity.ts';
import type { ClientTransaction } from '../core/pgoutput/capture-handler.ts';
import type { SessionMachine } from '../core/session/session.ts';
import type { BranchPorts } from '../core/session/ports.ts';
import { frontend } from '../core/wire/codes.ts';
import { MessageWriter } from '../core/wire/message-writer.ts';
import { syncMessage } from '../core/wire/messages.ts';
import type { ClientBranches } from '../io/postgres/client-branches.ts';
import { branchStep } from './fail-point.ts';
import { headerProof, keyProof } from './header-proof.ts';

/** What the desk needs of a session. */
export interface BranchSession {
  readonly backendPid: number;
  drive(step: (machine: SessionMachine) => void): void;
}

export interface BranchDeskParts {
  readonly nodeId: number;
  readonly incarnation: number;
  readonly secret: string;
  readonly announceKey: Uint8Array;
  readonly branches: ClientBranches;
  /** Undefined while nothing may be prepared. */
  generation(): number | undefined;
  /** Resolves when nothing that the backend does is still to come. */
  endBackend(pid: number): Promise<void>;
  lost(reason: string): void;
}

interface Open {
  readonly session: BranchSession;
  captured: ClientTransaction | undefined;
  /** It is left to the nodes: its rows are on their way. */
  transaction: Gid | undefined;
}

export class BranchDesk {
  readonly #parts: BranchDeskParts;
  readonly #open = new Map<string, Open>();
  #counter = 0;

  constructor(parts: BranchDeskParts) {
    this.#parts = parts;
  }

  /** Some session prepares one just now. */
  get busy(): boolean {
    return this.#open.size > 0;
  }

  portsOf(session: BranchSession): BranchPorts {
    const { secret, announceKey } = this.#parts;
    return {
      newBranch: (announced) => {
        const { nodeId, incarnation, branches } = this.#parts;
        const generation = this.#parts.generation();
        if (generation === undefined) return undefined;
        const id = `mtm-client:${nodeId}:${generation}:${incarnation}:${++this.#counter}`;
        this.#open.set(id, { session, captured: undefined, transaction: undefined });
        branches.begin(id);
        const proof = keyProof(announceKey, `${session.backendPid}:client:${id}`);
        const values = `'${id}', '${headerProof(secret, id)}', ${announced}, '${proof}'`;
        return { id, headerSql: `SELECT mtm.client_header(${values})` };
      },
      branchRows: (id, gid) => this.#rows(session, id, gid),
      endBranch: (id) => void this.#end(id, undefined),
      decisionSql: (name, commit) => {
        const decision = commit ? 'commit' : 'rollback';
        const hex = Buffer.from(name, 'utf8').toString('hex');
        const proof = keyProof(announceKey, `${session.backendPid}:${decision}:${hex}`);
        return `SELECT mtm.finish_client(E'\\\\x${hex}', '${decision}', '${proof}')`;
      },
    };
  }

  /** The change stream has shown it. */
  captured(transaction: ClientTransaction): void {
    const open = this.#open.get(transaction.id);
    if (open === undefined) return; // its session has ended
    open.captured = transaction;
    branchStep('captured');
    const state = transaction.body === undefined ? 'too-big' : 'captured';
    open.session.drive((machine) => machine.branchIs(transaction.id, state));
  }

  /** Decoding waits for a lock of a prepared transaction that is no gateway's: of one of these, perhaps. */
  captureBlocked(): void {
    for (const [id, { session, captured }] of this.#open) {
      if (captured === undefined) session.drive((machine) => machine.branchIs(id, 'undecodable'));
    }
  }

  #rows(session: BranchSession, id: string, gid: Gid): Uint8Array {
    const open = this.#open.get(id);
    const captured = open?.captured;
    if (open === undefined || captured?.body === undefined) throw new Error(`${id} was not captured`);
    open.transaction = gid;
    this.#parts.branches.brings(gid, captured);
    const proof = keyProof(this.#parts.announceKey, `${session.backendPid}:write:${id}`);
    const values = [
      Buffer.from(id),
      Buffer.from(captured.gid),
      Buffer.from(headerProof(this.#parts.secret, id)),
      Buffer.of(captured.ddl ? 1 : 0),
      Buffer.concat(captured.body),
      Buffer.from(proof),
    ];
    return statement('SELECT mtm.write_client($1, $2, $3, $4, $5, $6)', [25, 17, 25, 16, 17, 25], values);
  }

  /** The transaction was decided and executed here. */
  transactionEnded(gid: Gid): void {
    for (const [id, open] of this.#open) if (open.transaction === gid) this.#open.delete(id);
  }

  /** It was not prepared, so what a client has prepared is its session's again. */
  prepareFailed(gid: Gid): void {
    this.#parts.branches.forget(gid);
    for (const open of this.#open.values()) if (open.transaction === gid) open.transaction = undefined;
  }

  /** The session is gone. */
  sessionEnded(session: BranchSession): void {
    for (const [id, open] of this.#open) {
      if (open.session === session && open.transaction === undefined) void this.#end(id, session.backendPid);
    }
  }

  /** `backend`: whose PREPARE may still be on its way. */
  async #end(id: string, backend: number | undefined): Promise<void> {
    const open = this.#open.get(id);
    try {
      if (backend !== undefined && backend !== 0) await this.#parts.endBackend(backend);
      await this.#parts.branches.end(id);
    } catch (error) {
      this.#parts.lost(`what a client had prepared could not be rolled back: ${(error as Error).message}`);
      return;
    }
    this.#open.delete(id);
    open?.session.drive((machine) => machine.branchIs(id, 'gone'));
  }
}

/** Parse, Bind, Execute and Sync of an unnamed statement; all parameters are binary. */
function statement(sql: string, types: readonly number[], values: readonly Uint8Array[]): Uint8Array {
  const size = values.reduce((bytes, value) => bytes + value.length + 4, sql.length + 128);
  const writer = new MessageWriter(size).begin(frontend.parse).byte(0).cstring(sql).int16(types.length);
  for (const type of types) writer.int32(type);
  writer.end().begin(frontend.bind).byte(0).byte(0).int16(1).int16(1).int16(values.length);
  for (const value of values) writer.int32(value.length).bytes(value);
  writer.int16(0).end().begin(frontend.execute).byte(0).int32(0).end();
  return writer.bytes(syncMessage).take();
}
