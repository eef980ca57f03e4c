/**
 * What the writer of a transaction does about the rows of clients' branches (client-branch.ts).
 *
 * As a member: *collecting* (the rows are held) → *writing* (a writer of its own writes the branch to its
 * PREPARE) → *written* (the rows are looked at again, as any rows). In a replay: a decision → *asking* for
 * the changes, when it is to commit → the changes are the rest of the transaction.
 */
import type { RelationMessage } from '../pgoutput/messages.ts';
import {
  askBody,
  bodyMark,
  ClientRows,
  forgetBranch,
  fromHex,
  isWholeBody,
  type ClientBranch,
} from './client-branch.ts';
import type { PieceQueue } from './piece-queue.ts';
import type { StatementPipeline } from './statement-pipeline.ts';
import type { Step, StepWriter } from './writer-step.ts';

export class ClientSteps {
  readonly #pipeline: StatementPipeline;
  readonly #pieces: PieceQueue;
  readonly #replays: boolean;
  readonly #makeWriter: (branch: ClientBranch) => StepWriter;
  readonly #rows = new ClientRows();
  #writer: StepWriter | undefined;
  #askedAt: number | undefined;
  #ddl = false;
  /** The branch that this transaction brings, from its PREPARE on. */
  branch: ClientBranch | undefined;

  constructor(
    pipeline: StatementPipeline,
    pieces: PieceQueue,
    replays: boolean,
    makeWriter: (branch: ClientBranch) => StepWriter,
  ) {
    this.#pipeline = pipeline;
    this.#pieces = pieces;
    this.#replays = replays;
    this.#makeWriter = makeWriter;
  }

  /** Rows of clients' branches are among its rows. */
  get active(): boolean {
    return this.#rows.active;
  }

  /** The rows of a branch are not whole. */
  get holding(): boolean {
    return this.#rows.holding;
  }

  /** The branch carries definitions. */
  get ddl(): boolean {
    return this.#ddl || this.#writer?.ddl === true;
  }

  introduced(message: RelationMessage): void {
    this.#rows.introduced(message);
  }

  /**
   * The message is about a branch and not simply written: `taken`, or the server is `asked` first. False for
   * any other.
   */
  row(piece: Uint8Array, start: number, end: number): 'taken' | 'asked' | false {
    this.#pieces.keep();
    return this.#replays ? this.#decided(piece, start, end) : this.#collected(piece, start, end);
  }

  #decided(piece: Uint8Array, start: number, end: number): 'taken' | 'asked' | false {
    const decided = this.#rows.decision(piece, start, end);
    if (decided === undefined) return false;
    const commits = decided.decision === 'commit';
    if (commits) askBody(this.#pipeline, decided.id);
    forgetBranch(this.#pipeline, decided.id);
    if (commits) this.#askedAt = end;
    else this.#pieces.at = end;
    return commits ? 'asked' : 'taken';
  }

  #collected(piece: Uint8Array, start: number, end: number): 'taken' | false {
    if (this.branch !== undefined) return false;
    const branch = this.#rows.insert(piece, start, end);
    if (branch === undefined) return false;
    if (branch === 'held') {
      this.#pieces.at = end;
      return 'taken';
    }
    this.branch = branch;
    // Of the transaction itself nothing was written yet but its BEGIN.
    this.#pipeline.run('COMMIT');
    this.#writer = this.#makeWriter(branch);
    this.#pieces.insert(this.#rows.takeHeld());
    return 'taken';
  }

  /** Writes the branch; undefined when there is nothing to do (any more). `begin`: goes on with its own. */
  step(begin: string): Step | undefined {
    const writer = this.#writer;
    if (writer === undefined) return undefined;
    let step = writer.step();
    if (step.kind === 'hungry') step = writer.finish();
    if (step.kind !== 'complete') return step;
    this.#ddl = writer.ddl;
    this.#writer = undefined;
    this.#pipeline.run(begin);
    return undefined;
  }

  /** A row of the server that is for the branch, or an answer: 'broken' when it does not fit. */
  answer(columns: readonly string[]): 'taken' | 'broken' | 'answered' | undefined {
    if (this.#writer !== undefined) {
      this.#writer.answer(columns);
      return 'taken';
    }
    const first = columns[0] ?? '';
    if (this.#askedAt === undefined || !first.startsWith(bodyMark)) return undefined;
    const body = fromHex(first.slice(bodyMark.length));
    if (!isWholeBody(body)) return 'broken';
    this.#pieces.at = this.#askedAt;
    this.#askedAt = undefined;
    this.#pieces.insert(body);
    return 'answered';
  }
}
