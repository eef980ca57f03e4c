-- The event triggers. Their names begin with "!" so that they fire before those of users, whose own DDL and rows in the
-- event of a command must stand behind that command in the stream; among ours the digit is the order.
-- All fire in every session, also in a client's own replica session; capture passes over applied DDL (mtm.is_silent()).
DO $$
DECLARE t record; missing boolean;
BEGIN
  FOR t IN SELECT * FROM (VALUES
    ('!mtm_start_1_frame',   'ddl_command_start', 'note_frame', '{CREATE EXTENSION,ALTER EXTENSION}'::text[]),
    ('!mtm_start_2_capture', 'ddl_command_start', 'capture_start', '{CREATE EXTENSION,ALTER EXTENSION}'),
    ('!mtm_start_3_owned',   'ddl_command_start', 'before_drop_owned', '{DROP OWNED}'),
    ('!mtm_drop_1_frame',    'sql_drop',          'note_frame', NULL),
    ('!mtm_drop_2_capture',  'sql_drop',          'capture_drop', NULL),
    ('!mtm_drop_3_forget',   'sql_drop',          'forget_dropped', NULL),
    ('!mtm_rewrite',         'table_rewrite',     'check_rewrite', NULL),
    ('!mtm_end_1_frame',     'ddl_command_end',   'note_frame', NULL),
    ('!mtm_end_2_capture',   'ddl_command_end',   'capture_end', NULL),
    ('!mtm_end_3_adjust',    'ddl_command_end',   'adjust', NULL)
  ) AS v(name, event, function, tags) LOOP
    SELECT NOT EXISTS (SELECT FROM pg_event_trigger e WHERE evtname = t.name AND evtevent = t.event
      AND evtfoid = to_regproc('mtm.' || t.function) AND evttags IS NOT DISTINCT FROM t.tags) INTO missing;
    IF missing THEN
      EXECUTE format('DROP EVENT TRIGGER IF EXISTS %I', t.name);
      EXECUTE format('CREATE EVENT TRIGGER %I ON %s %s EXECUTE FUNCTION mtm.%I()', t.name, t.event,
        'WHEN TAG IN (' || (SELECT string_agg(quote_literal(tag), ', ') FROM unnest(t.tags) AS tag) || ')', t.function);
    END IF;
    EXECUTE format('ALTER EVENT TRIGGER %I ENABLE ALWAYS', t.name);
  END LOOP;
END $$;
