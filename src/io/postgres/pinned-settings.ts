/**
 * Settings that decide how a value is printed and read. pgoutput prints under the settings of its connection
 * and database or role settings leak into it (architecture §9), so the stream and the apply connections pin
 * the same ones.
 * Rule: only settings that exist on every version from 15 on; later ones are set after the version is known.
 */
export const pinnedFormats: Readonly<Record<string, string>> = {
  client_encoding: 'UTF8',
  DateStyle: 'ISO, YMD',
  IntervalStyle: 'postgres',
  TimeZone: 'UTC',
  extra_float_digits: '3',
  bytea_output: 'hex',
  lc_monetary: 'C',
  lc_numeric: 'C',
  xmloption: 'content',
  array_nulls: 'on',
  quote_all_identifiers: 'off',
  standard_conforming_strings: 'on',
  // Names of regclass, regproc, regtype… are printed and read with their schema.
  search_path: 'pg_catalog',
};

/** Nothing but the gateway ends a statement of its own connections. */
export const noTimeouts: Readonly<Record<string, string>> = {
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  idle_session_timeout: '0',
};
