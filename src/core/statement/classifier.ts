/**
 * From a query string to its classes: a glance, the cache, the parser, in this order.
 * Rule: synchronous and bounded. Texts above `parseFirstCharacters` are looked at without the parser when
 * they are one query or row change, because a parse blocks every session (measured: 20 ms at 100 kB, 200 ms
 * at 1 MB, and up to a second of one that is made for that, where a peer waits for two). Texts above
 * `longestParsedCharacters`, and nests too deep for the parser, are otherwise refused.
 */
import { classifyTree } from './classify-tree.ts';
import type { ClassifyContext } from './context.ts';
import { quickClass, quickEnd } from './quick-class.ts';
import { refused } from './refusal.ts';
import { isSingleStatement } from './single-statement.ts';
import type { ParsedText, Statement, StatementClass } from './statement-class.ts';
import { utf8Length } from './utf8-length.ts';
import type { Tree } from './tree.ts';

export type ParseOutcome =
  | { readonly kind: 'tree'; readonly tree: Tree }
  /** PostgreSQL's own message and the place (0-based) where it stumbled. */
  | { readonly kind: 'syntax-error'; readonly message: string; readonly position: number }
  /** Nested deeper than the parser's stack, or the parser is not ready again after such a text. */
  | { readonly kind: 'too-complex' };

/** PostgreSQL's parser, handed in. */
export type SqlParser = (text: string) => ParseOutcome;

/** Bounded; may forget whatever it likes. */
export interface ClassCache {
  get(text: string): { readonly parsed: ParsedText } | undefined;
  set(text: string, entry: { readonly parsed: ParsedText }): void;
  clear(): void;
}

export const parseFirstCharacters = 64 * 1024;
export const longestParsedCharacters = 1024 * 1024;

/**
 * One statement that begins so is safe inside a block, whatever follows: no transaction control, no utility
 * command.
 */
const changesRows = /^\s*(?:insert|update|delete|merge)\s/iu;
const runsInBlock = /^\s*(?:insert|update|delete|merge|select|values|with)[\s(]/iu;

/** Names for which the whole tree is needed: our objects, temporary ones, functions that are refused. */
const needsTree = /mtm|pg_temp|pg_replication|_slot|set_config|u&"/iu;

export class Classifier {
  readonly #parse: SqlParser;
  readonly #cache: ClassCache;
  #context: ClassifyContext;

  constructor(parse: SqlParser, cache: ClassCache, context: ClassifyContext) {
    this.#parse = parse;
    this.#cache = cache;
    this.#context = context;
  }

  /** A function or rule of the database may run the command NOTIFY. */
  get hiddenNotify(): boolean {
    return this.#context.hiddenNotify;
  }

  /** A table has REPLICA IDENTITY NOTHING. */
  get identityNothing(): boolean {
    return this.#context.identityNothing;
  }

  /** What the catalog says has changed: nothing that was decided before counts any more. */
  setContext(context: ClassifyContext): void {
    this.#context = context;
    this.#cache.clear();
  }

  /**
   * The statements of a query string. `undefined`: PostgreSQL 18's grammar refuses it. A server before 18
   * may still accept it (names that became keywords), so it may be shown to the server only where nothing
   * is executed: Parse.
   */
  parse(text: string): ParsedText {
    const quick = quickClass(text, this.#context);
    if (quick !== undefined)
      return [{ class: quick, start: 0, end: utf8Length(text.slice(0, quickEnd(text))) }];
    if (text.length > parseFirstCharacters) return this.#parseBig(text);
    const known = this.#cache.get(text);
    if (known !== undefined) return known.parsed;
    const parsed = this.#parseTree(text);
    this.#cache.set(text, { parsed });
    return parsed;
  }

  #parseBig(text: string): ParsedText {
    const whole = withoutParser(text, this.#context);
    if (whole !== undefined) return [whole];
    if (text.length <= longestParsedCharacters) return this.#parseTree(text);
    return refusal(
      text,
      refused(
        '54000',
        'the query string is too long',
        'Send its statements one by one, rows with COPY or parameters.',
      ),
    );
  }

  #parseTree(text: string): ParsedText {
    const outcome = this.#parse(text);
    switch (outcome.kind) {
      case 'tree':
        return classifyTree(outcome.tree, text, this.#context);
      case 'syntax-error':
        return undefined;
      case 'too-complex': {
        const whole = withoutParser(text, this.#context);
        if (whole !== undefined) return [whole];
        return refusal(
          text,
          refused(
            '54001',
            'the query string is too deeply nested',
            'Split the expression, or use an array parameter.',
          ),
        );
      }
    }
  }
}

function refusal(text: string, reason: StatementClass): ParsedText {
  return [{ class: reason, start: 0, end: utf8Length(text) }];
}

/** A text that is certainly one query or row change: it runs in a block as a write. */
function withoutParser(text: string, context: ClassifyContext): Statement | undefined {
  if (!runsInBlock.test(text) || needsTree.test(text) || !isSingleStatement(text)) return undefined;
  const certain = changesRows.test(text) && !context.hiddenLargeObjects && !/lo_|loread|lowrite/iu.test(text);
  return {
    class: { kind: 'write', certain, temporary: false, copyIn: false },
    start: 0,
    end: utf8Length(text.slice(0, quickEnd(text))),
  };
}
