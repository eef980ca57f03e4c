-- setval on all nodes. PostgreSQL writes nothing about a sequence into the change stream, so the built-in functions have got
-- the name mtm_local_setval, and functions of ours have theirs: whoever calls setval, also inside a function, calls them.
-- They place the sequence of this node and write a message `mtm-follow` {name, value, called, onward}, which every other node
-- follows when it applies the transaction (mtm.follow), each with its own kind of values.
-- Rules: the next value is the first of the node's kind that setval allows; the position changes in one step, or whoever draws
-- meanwhile would draw another node's value; like setval itself none of it is undone when the transaction is rolled back.

-- Places a sequence of this node as setval(seq, value, called) would. `onward`: but not back. False: it went back.
CREATE OR REPLACE FUNCTION mtm.place_sequence(seq oid, value bigint, called boolean, onward boolean) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  s pg_sequence; user_increment bigint; last_value bigint; is_called boolean; upcoming numeric; v numeric; step numeric;
  forward integer; wrong numeric;
BEGIN
  SELECT * INTO STRICT s FROM pg_sequence WHERE seqrelid = seq;
  SELECT r.user_increment INTO user_increment FROM mtm.sequence r WHERE seqrelid = seq;
  -- Bounds that are too small: the same values on all nodes.
  user_increment := coalesce(user_increment, s.seqincrement);
  step := s.seqincrement;
  forward := sign(step);
  EXECUTE format('SELECT last_value, is_called FROM %s', seq::regclass) INTO last_value, is_called;
  upcoming := last_value + CASE WHEN is_called THEN step ELSE 0 END;
  v := value + CASE WHEN called THEN user_increment ELSE 0 END;
  IF onward AND (upcoming - v) * forward > 0 THEN v := upcoming; END IF;
  IF user_increment <> step OR EXISTS (SELECT FROM mtm.sequence WHERE seqrelid = seq) THEN
    v := v + forward * mod(mod(forward * (s.seqstart - v), abs(step)) + abs(step), abs(step));
  END IF;
  IF onward AND v = upcoming THEN RETURN true; END IF;
  wrong := mod(upcoming - s.seqstart, step);
  IF onward AND wrong = 0 AND v BETWEEN s.seqmin AND s.seqmax AND (v - upcoming) / step <= 1000000 THEN
    PERFORM mtm.draw_up_to(seq, v);
  ELSIF v BETWEEN s.seqmin AND s.seqmax THEN
    IF called AND v - step BETWEEN s.seqmin AND s.seqmax THEN PERFORM mtm_local_setval(seq, (v - step)::bigint, true);
    ELSE PERFORM mtm_local_setval(seq, v::bigint, false);
    END IF;
  ELSIF s.seqcycle THEN PERFORM mtm_local_setval(seq, CASE forward WHEN 1 THEN s.seqmin ELSE s.seqmax END, false);
  ELSE PERFORM mtm_local_setval(seq, (v - step)::bigint, true);
  END IF;
  RETURN (v - upcoming) * forward >= 0;
END $$;

-- Draws until the next value is `v` or lies behind it. Others may draw meanwhile, and no lock keeps them off that would not be
-- held until the transaction ends: a setval could go back behind what they have drawn.
CREATE OR REPLACE FUNCTION mtm.draw_up_to(seq oid, v numeric) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE step constant numeric := (SELECT seqincrement FROM pg_sequence WHERE seqrelid = seq); missing numeric;
BEGIN
  LOOP
    EXECUTE format('SELECT (%s - last_value - CASE WHEN is_called THEN %s ELSE 0 END) / %2$s::numeric FROM %3$s', v, step,
      seq::regclass) INTO missing;
    IF missing <= 0 THEN RETURN; END IF;
    PERFORM nextval(seq) FROM generate_series(1, ceil(missing)::integer);
  END LOOP;
EXCEPTION WHEN sequence_generator_limit_exceeded THEN RETURN; -- Nothing is left to be drawn twice.
END $$;

-- For the other nodes.
CREATE OR REPLACE FUNCTION mtm.emit_sequence(seq oid, value bigint, called boolean, onward boolean) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_logical_emit_message(true, 'mtm-follow', jsonb_build_object('do', 'sequence',
    'name', format('%I.%I', n.nspname, c.relname), 'value', value::text, 'called', called, 'onward', onward)::text)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = seq
$$;

CREATE OR REPLACE FUNCTION mtm.note_setval_caller() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.caller := current_user;
  RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION mtm.run_setval() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE s pg_sequence; forward boolean;
BEGIN
  IF NOT has_sequence_privilege(NEW.caller, NEW.sequence, 'UPDATE') THEN
    RAISE EXCEPTION 'permission denied for sequence %', (SELECT relname FROM pg_class WHERE oid = NEW.sequence)
      USING ERRCODE = '42501';
  END IF;
  SELECT * INTO STRICT s FROM pg_sequence WHERE seqrelid = NEW.sequence;
  forward := mtm.place_sequence(NEW.sequence, NEW.value, NEW.called, false);
  -- What a trigger or a command does again at the peers, its home has told them.
  IF NOT mtm.is_silent() THEN
    -- Forward: another node may be ahead already. Round about: nothing is ahead of anything.
    PERFORM mtm.emit_sequence(NEW.sequence, NEW.value, NEW.called, forward AND NOT s.seqcycle);
  END IF;
  RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER setval_call_1_caller BEFORE INSERT ON mtm.setval_call
  FOR EACH ROW EXECUTE FUNCTION mtm.note_setval_caller();
CREATE OR REPLACE TRIGGER setval_call_2_run BEFORE INSERT ON mtm.setval_call
  FOR EACH ROW EXECUTE FUNCTION mtm.run_setval();
ALTER TABLE mtm.setval_call ENABLE ALWAYS TRIGGER setval_call_1_caller, ENABLE ALWAYS TRIGGER setval_call_2_run;

-- Gives our functions the names of the built-in ones, or takes them away again (before the schema mtm is dropped). What knows a
-- function by its OID is made anew where that is possible: functions BEGIN ATOMIC and rules. Called at each start of the gateway.
CREATE OR REPLACE FUNCTION mtm.replicate_setval(wanted boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET session_replication_role = replica AS $$
DECLARE callers text[]; definition text;
BEGIN
  IF EXISTS (SELECT FROM pg_proc WHERE oid = 1576 AND (proname = 'setval') = wanted) THEN
    SELECT array_agg(made) INTO callers FROM (
      SELECT pg_get_functiondef(oid) AS made, prosqlbody::text AS body FROM pg_proc
      WHERE prosqlbody IS NOT NULL AND oid >= 16384
      UNION ALL SELECT regexp_replace(pg_get_ruledef(oid), '^CREATE RULE', 'CREATE OR REPLACE RULE'), ev_action::text
      FROM pg_rewrite WHERE ev_type <> '1' AND oid >= 16384) AS stored
    WHERE body ~ format(':funcid (1576|1765|%s|%s) ', coalesce(to_regprocedure('pg_catalog.setval(regclass,bigint)')::oid, 0),
      coalesce(to_regprocedure('pg_catalog.setval(regclass,bigint,boolean)')::oid, 0));
    IF NOT wanted THEN
      ALTER FUNCTION pg_catalog.setval(regclass, bigint) SET SCHEMA mtm;
      ALTER FUNCTION pg_catalog.setval(regclass, bigint, boolean) SET SCHEMA mtm;
      ALTER FUNCTION pg_catalog.mtm_local_setval(regclass, bigint) RENAME TO setval;
      ALTER FUNCTION pg_catalog.mtm_local_setval(regclass, bigint, boolean) RENAME TO setval;
    ELSE
      ALTER FUNCTION pg_catalog.setval(regclass, bigint) RENAME TO mtm_local_setval;
      ALTER FUNCTION pg_catalog.setval(regclass, bigint, boolean) RENAME TO mtm_local_setval;
      IF to_regprocedure('mtm.setval(regclass,bigint)') IS NOT NULL THEN
        ALTER FUNCTION mtm.setval(regclass, bigint) SET SCHEMA pg_catalog;
        ALTER FUNCTION mtm.setval(regclass, bigint, boolean) SET SCHEMA pg_catalog;
      END IF;
    END IF;
  END IF;
  IF wanted THEN
    -- Whatever the built-in function would refuse, or does to a temporary sequence, it does itself.
    CREATE OR REPLACE FUNCTION mtm.call_setval(regclass, bigint, boolean) RETURNS bigint LANGUAGE plpgsql STRICT AS $f$
    BEGIN
      IF NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c
          JOIN pg_catalog.pg_sequence AS s ON s.seqrelid OPERATOR(pg_catalog.=) c.oid
          LEFT JOIN mtm.sequence AS r ON r.seqrelid OPERATOR(pg_catalog.=) c.oid
          WHERE c.oid OPERATOR(pg_catalog.=) $1 AND c.relpersistence OPERATOR(pg_catalog.<>) 't'
            AND $2 OPERATOR(pg_catalog.>=) coalesce(r.user_min, s.seqmin)
            AND $2 OPERATOR(pg_catalog.<=) coalesce(r.user_max, s.seqmax))
        OR pg_catalog.current_setting('transaction_read_only') OPERATOR(pg_catalog.=) 'on'
        OR NOT pg_catalog.has_sequence_privilege($1, 'UPDATE') THEN
        RETURN NULL;
      END IF;
      INSERT INTO mtm.setval_call (sequence, value, called) VALUES ($1, $2, $3);
      RETURN $2;
    END $f$;
    -- Not STRICT, so that the planner puts its body in its place: errors of the built-in function come without a context.
    CREATE OR REPLACE FUNCTION pg_catalog.setval(regclass, bigint, boolean) RETURNS bigint LANGUAGE sql AS
      'SELECT coalesce(mtm.call_setval($1, $2, $3), pg_catalog.mtm_local_setval($1, $2, $3))';
    CREATE OR REPLACE FUNCTION pg_catalog.setval(regclass, bigint) RETURNS bigint LANGUAGE sql AS
      'SELECT coalesce(mtm.call_setval($1, $2, true), pg_catalog.mtm_local_setval($1, $2, true))';
  ELSIF to_regprocedure('mtm.setval(regclass,bigint)') IS NOT NULL THEN
    -- A view may read them still: they are the built-in ones in other words.
    CREATE OR REPLACE FUNCTION mtm.setval(regclass, bigint) RETURNS bigint LANGUAGE sql STRICT AS
      'SELECT pg_catalog.setval($1, $2)';
    CREATE OR REPLACE FUNCTION mtm.setval(regclass, bigint, boolean) RETURNS bigint LANGUAGE sql STRICT AS
      'SELECT pg_catalog.setval($1, $2, $3)';
  END IF;
  IF callers IS NOT NULL THEN
    FOREACH definition IN ARRAY callers LOOP EXECUTE definition; END LOOP;
  END IF;
END $$;

-- multimaster.monotonic_sequences: before a transaction is prepared, the other nodes are told what it has drawn, and go on above
-- that. Sequences that it drew from are those that it holds the lock of.
CREATE OR REPLACE FUNCTION mtm.tell_drawn() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE seq regclass; last_value bigint; is_called boolean;
BEGIN
  FOR seq IN
    SELECT l.relation FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_sequence s ON s.seqrelid = c.oid
    WHERE l.locktype = 'relation' AND l.pid = pg_backend_pid() AND l.granted AND l.mode = 'RowExclusiveLock'
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND c.relpersistence <> 't' AND NOT s.seqcycle ORDER BY 1
  LOOP
    EXECUTE format('SELECT last_value, is_called FROM %s', seq) INTO last_value, is_called;
    IF is_called THEN PERFORM mtm.emit_sequence(seq, last_value, true, true); END IF;
  END LOOP;
END $$;

REVOKE EXECUTE ON FUNCTION mtm.place_sequence(oid, bigint, boolean, boolean), mtm.draw_up_to(oid, numeric),
  mtm.emit_sequence(oid, bigint, boolean, boolean), mtm.note_setval_caller(), mtm.run_setval(),
  mtm.replicate_setval(boolean), mtm.tell_drawn() FROM PUBLIC;
