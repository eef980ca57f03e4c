/**
 * Built-in functions that are not reads although they are built in.
 * Rule: every volatile function of pg_catalog on 15 and 18 was looked at one by one (`volatile` in
 * built-in-functions.ts); what is not listed here either has no effect, or one that is local by nature
 * (statistics, slots, WAL, signals, advisory locks) or one that PostgreSQL refuses with 25006 in a
 * read-only transaction.
 */

function words(list: string): readonly string[] {
  return list.trim().split(/\s+/u);
}

/** They write without 25006 on some version, or certainly: a read-only try would be wrong or wasted. */
const writers = words(`
nextval setval pg_notify pg_logical_emit_message set_config lo_close lo_creat lo_create lo_export
lo_from_bytea lo_get lo_import lo_lseek lo_lseek64 lo_open lo_put lo_tell lo_tell64 lo_truncate
lo_truncate64 lo_unlink loread lowrite pg_clear_attribute_stats pg_clear_relation_stats
pg_restore_attribute_stats pg_restore_relation_stats pg_replication_origin_advance
pg_replication_origin_create pg_replication_origin_drop pg_replication_origin_session_reset
pg_replication_origin_session_setup pg_replication_origin_xact_reset pg_replication_origin_xact_setup
pg_extension_config_dump pg_stop_making_pinned_objects brin_desummarize_range brin_summarize_new_values
brin_summarize_range gin_clean_pending_list pg_import_system_collations
pg_export_snapshot
`);

/**
 * They run SQL that they are given as text, or read relations by name: the tree does not show what they
 * reach.
 */
const textRunners = words(`
query_to_xml query_to_xml_and_xmlschema query_to_xmlschema cursor_to_xml cursor_to_xmlschema table_to_xml
table_to_xml_and_xmlschema table_to_xmlschema schema_to_xml schema_to_xml_and_xmlschema
schema_to_xmlschema database_to_xml database_to_xml_and_xmlschema database_to_xmlschema ts_stat ts_rewrite
`);

export const builtInWriters: ReadonlySet<string> = new Set([...writers, ...textRunners]);

/** Functions that open or change large objects, which are not replicated. */
export function isLargeObjectFunction(name: string): boolean {
  return name.startsWith('lo_') || name === 'loread' || name === 'lowrite';
}

/** Functions that would put this session's writes outside of what the gateway sees. Refused at top level. */
export const originFunctions: ReadonlySet<string> = new Set(
  words(`
pg_replication_origin_session_setup pg_replication_origin_xact_setup
`),
);

/**
 * Functions that take a slot by name: the gateway's own slots (`mtm_…`) must not be moved, consumed or
 * dropped.
 */
export const slotFunctions: ReadonlySet<string> = new Set(
  words(`
pg_drop_replication_slot pg_replication_slot_advance pg_logical_slot_get_changes
pg_logical_slot_get_binary_changes pg_logical_slot_peek_changes pg_logical_slot_peek_binary_changes
`),
);

/** Our own functions that only tell something. */
export const ownReads: ReadonlySet<string> = new Set(
  words(`
status nodes ping transaction_outcome is_forgotten check_query get_snapshots free_snapshots
`),
);
