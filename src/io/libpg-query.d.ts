/**
 * The untyped file inside libpg-query that makes instances of the parser; parser.ts names what it uses of
 * one.
 */
declare module 'libpg-query/wasm/libpg-query.js' {
  const createModule: () => Promise<never>;
  export = createModule;
}
