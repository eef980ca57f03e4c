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

/** A session that applies the changes of other nodes; how durable its commits are is its own affair. */
export const applySettings: Readonly<Record<string, string>> = {
  ...pinnedFormats,
  ...noTimeouts,
  session_replication_role: 'replica',
  row_security: 'off',
  // Triggers that fire here too have notified at home (sql/notify.sql).
  'multimaster.replicate_pg_notify': 'nobody',
  default_transaction_read_only: 'off',
  default_transaction_isolation: 'read committed',
  deadlock_timeout: '1s',
  jit: 'off',
  // A plan is made once for each statement; it must not be a sequential scan because the table was empty
  // then.
  plan_cache_mode: 'force_generic_plan',
  enable_seqscan: 'off',
  // The backend of a gateway that died does not wait for locks for ever.
  client_connection_check_interval: '1s',
};
