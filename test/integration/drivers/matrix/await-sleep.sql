-- Returns when the session of that process sleeps in pg_sleep(): then a cancel request meets it.
CREATE FUNCTION public.await_sleep(process int) RETURNS boolean LANGUAGE plpgsql AS $$
  BEGIN
    FOR attempt IN 1 .. 6000 LOOP
      PERFORM pg_stat_clear_snapshot();
      IF EXISTS (SELECT FROM pg_stat_activity WHERE pid = process AND wait_event = 'PgSleep') THEN
        RETURN true;
      END IF;
      PERFORM pg_sleep(0.005);
    END LOOP;
    RAISE EXCEPTION 'process % does not sleep', process;
  END
$$;
