/**
 * What the catalog of the node says about names, so that a statement is taken for a read only when it
 * cannot reach a user's code. Rule: a name that several things share counts as its most dangerous bearer,
 * wherever that stands in the search_path; so neither search_path nor overloading (`public.lower(int)`) can
 * hide a user's function. Must never be older than the last definition that this node committed: refresh
 * before the client is answered.
 */
import { builtInFunctions } from './built-in-functions.ts';

export interface ClassifyContext {
  /**
   * A function of pg_catalog that no user's function shares its name with, or a trusted function of an
   * extension.
   */
  isBuiltIn(name: string): boolean;
  /**
   * Functions of extensions that may also be called with their schema: C, immutable, no namesake of a user.
   */
  readonly trustedFunctions: ReadonlySet<string>;
  /** Names of all functions of users: `json_value(…)` is the user's own on a server older than the parser. */
  readonly userFunctions: ReadonlySet<string>;
  /** User functions that can be called as if they were a column: `SELECT t.total FROM t` calls total(t). */
  readonly attributeFunctions: ReadonlySet<string>;
  /** Bare names of views, tables with policies and foreign tables whose reading reaches a user's code. */
  readonly suspiciousRelations: ReadonlySet<string>;
  /** Bare names of operators that run a user's function. */
  readonly suspiciousOperators: ReadonlySet<string>;
  /**
   * User code runs where no name shows it (casts, operator classes, domain checks): then nothing is a sure
   * read.
   */
  readonly hiddenCode: boolean;
  /** A user's function or rule may run the command NOTIFY, which reaches this node's listeners only. */
  readonly hiddenNotify: boolean;
  /** A table has REPLICA IDENTITY NOTHING: it must get another one before its rows are changed. */
  readonly identityNothing: boolean;
  /** A user's function, rule or default may change large objects: every write is checked for that. */
  readonly hiddenLargeObjects: boolean;
}

/** One row of `suspicionQuery`, as it comes from the catalog. */
export interface Suspicions {
  readonly functions: readonly string[];
  readonly trustedFunctions: readonly string[];
  readonly attributeFunctions: readonly string[];
  readonly relations: readonly string[];
  readonly operators: readonly string[];
  readonly hiddenCode: boolean;
  readonly hiddenNotify: boolean;
  readonly identityNothing: boolean;
  readonly hiddenLargeObjects: boolean;
}

/** A database in which no user has made any code. */
export const noSuspicions: Suspicions = {
  functions: [],
  trustedFunctions: [],
  attributeFunctions: [],
  relations: [],
  operators: [],
  hiddenCode: false,
  hiddenNotify: false,
  identityNothing: false,
  hiddenLargeObjects: false,
};

/** Before the catalog was read, and whenever it cannot be: every query may reach a user's code. */
export const unknownSuspicions: Suspicions = { ...noSuspicions, hiddenCode: true };

export function contextOf(suspicions: Suspicions): ClassifyContext {
  const userFunctions = new Set(suspicions.functions);
  const trustedFunctions = new Set(suspicions.trustedFunctions.filter((name) => !userFunctions.has(name)));
  return {
    isBuiltIn: (name) =>
      (builtInFunctions.has(name) && !userFunctions.has(name)) || trustedFunctions.has(name),
    trustedFunctions,
    userFunctions,
    attributeFunctions: new Set(suspicions.attributeFunctions),
    suspiciousRelations: new Set(suspicions.relations),
    suspiciousOperators: new Set(suspicions.operators),
    hiddenCode: suspicions.hiddenCode,
    hiddenNotify: suspicions.hiddenNotify,
    identityNothing: suspicions.identityNothing,
    hiddenLargeObjects: suspicions.hiddenLargeObjects,
  };
}
