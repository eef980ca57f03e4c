/**
 * PostgreSQL 18's parser as WebAssembly (libpg-query), and the classifier built on it.
 * Rule: loaded once, then synchronous; a text that overflows the parser's stack costs the instance
 * (measured: an instance that went through several overflows loops for ever), so a loaded spare takes over
 * and the next one is loaded in the background. Must never parse with an instance that has failed.
 */
import { setFlagsFromString } from 'node:v8';
import { LRUCache } from 'lru-cache';
// The factory of instances itself: the package's own index keeps a single instance that cannot be replaced.
import createModule from 'libpg-query/wasm/libpg-query.js';
import {
  Classifier,
  type ClassCache,
  type ParseOutcome,
  type SqlParser,
} from '../core/statement/classifier.ts';
import { contextOf, unknownSuspicions, type ClassifyContext } from '../core/statement/context.ts';
import type { ParsedText } from '../core/statement/statement-class.ts';
import type { Tree } from '../core/statement/tree.ts';

/** The part of emscripten's module that parsing uses. */
interface ParserModule {
  _malloc(bytes: number): number;
  _free(pointer: number): void;
  _wasm_parse_query_raw(text: number): number;
  _wasm_free_parse_result(result: number): void;
  lengthBytesUTF8(text: string): number;
  stringToUTF8(text: string, pointer: number, bytes: number): void;
  UTF8ToString(pointer: number): string;
  getValue(pointer: number, type: 'i32'): number;
}

/** A parse takes some 60 times the text's length, and the instance never gives memory back. */
const retireAboveCharacters = 512 * 1024;

const cachedTexts = 10_000;
const cachedCharacters = 16 * 1024 * 1024;
const longestCachedText = 16 * 1024;

export interface LoadedParser {
  readonly parse: SqlParser;
  /** Settled when a spare instance is ready again; for tests. */
  spareReady(): Promise<void>;
}

/** Loads the parser and a spare. Rejects when WebAssembly cannot be compiled here. */
export async function loadParser(): Promise<LoadedParser> {
  let current: ParserModule | undefined = await newInstance();
  let spare: ParserModule | undefined = await newInstance();
  let loading: Promise<void> = Promise.resolve();

  const replace = (): void => {
    current = spare;
    spare = undefined;
    loading = loading.then(async () => {
      const loaded = await newInstance();
      if (current === undefined) current = loaded;
      else spare = loaded;
    });
    // Whoever awaits spareReady() sees the failure; without a spare the next overflow leaves `too-complex`.
    loading.catch(() => undefined);
  };

  const parse: SqlParser = (text) => {
    if (current === undefined) return { kind: 'too-complex' };
    if (text.includes('\0'))
      return { kind: 'syntax-error', message: 'null character', position: text.indexOf('\0') };
    const outcome = parseWith(current, text);
    if (outcome.kind === 'too-complex' || (text.length > retireAboveCharacters && spare !== undefined))
      replace();
    return outcome;
  };
  return { parse, spareReady: () => loading };
}

async function newInstance(): Promise<ParserModule> {
  // The optimising compiler would take half a gigabyte for a moment, and a core for seconds, to make parsing
  // no faster (measured).
  setFlagsFromString('--no-wasm-tier-up');
  setFlagsFromString('--no-wasm-dynamic-tiering');
  const create: () => Promise<ParserModule> = createModule;
  return create();
}

/** Runs one parse. Any exception of the instance itself means that its stack was too small, or its memory. */
function parseWith(instance: ParserModule, text: string): ParseOutcome {
  let textPointer = 0;
  let result = 0;
  let outcome: ParseOutcome;
  try {
    const bytes = instance.lengthBytesUTF8(text) + 1;
    textPointer = instance._malloc(bytes);
    if (textPointer === 0) return { kind: 'too-complex' };
    instance.stringToUTF8(text, textPointer, bytes);
    result = instance._wasm_parse_query_raw(textPointer);
    outcome = result === 0 ? { kind: 'too-complex' } : readResult(instance, result);
    if (result !== 0) instance._wasm_free_parse_result(result);
    instance._free(textPointer);
  } catch (error) {
    // RangeError: the JavaScript stack; RuntimeError: the instance's own stack or memory (emscripten's
    // abort too).
    if (error instanceof RangeError || (error instanceof Error && error.name === 'RuntimeError')) {
      return { kind: 'too-complex' };
    }
    throw error;
  }
  return outcome;
}

/**
 * PgQueryParseResult: parse tree, standard error, PgQueryError { message, function, file, line, cursor
 * (1-based) }.
 */
function readResult(instance: ParserModule, result: number): ParseOutcome {
  const error = instance.getValue(result + 8, 'i32');
  if (error !== 0) {
    const message = instance.UTF8ToString(instance.getValue(error, 'i32'));
    const cursor = instance.getValue(error + 16, 'i32');
    if (message.startsWith('stack depth limit exceeded')) return { kind: 'too-complex' };
    return { kind: 'syntax-error', message, position: cursor > 0 ? cursor - 1 : 0 };
  }
  const tree = instance.getValue(result, 'i32');
  if (tree === 0) return { kind: 'too-complex' };
  const parsed: Tree = JSON.parse(instance.UTF8ToString(tree));
  return { kind: 'tree', tree: parsed };
}

/** Remembers classes by text: bounded in entries, in characters, and in the length of one text. */
export function newClassCache(): ClassCache {
  const cache = new LRUCache<string, { readonly parsed: ParsedText }>({
    max: cachedTexts,
    maxSize: cachedCharacters,
    maxEntrySize: longestCachedText,
    sizeCalculation: (_entry, text) => Math.max(1, text.length),
  });
  return {
    get: (text) => (text.length > longestCachedText ? undefined : cache.get(text)),
    set: (text, entry) => void cache.set(text, entry),
    clear: () => cache.clear(),
  };
}

/** A classifier for one gateway. Until the catalog has been read no query counts as a sure read. */
export async function loadClassifier(
  context: ClassifyContext = contextOf(unknownSuspicions),
): Promise<Classifier> {
  const { parse } = await loadParser();
  return new Classifier(parse, newClassCache(), context);
}
