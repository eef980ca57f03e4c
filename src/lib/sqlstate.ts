/**
 * Whether the code of an error is PostgreSQL's (manual, appendix A): five digits and upper-case letters, of
 * which one is a digit. Node's own are words, and EPIPE has five letters.
 */
export function isSqlstate(code: unknown): code is string {
  return typeof code === 'string' && /^(?=.*\d)[0-9A-Z]{5}$/u.test(code);
}
