-- Sequences are interleaved: with the user's start s and increment d, node k of n draws s+(k-1)d, s+(k-1)d+nd, … Runs on
-- every node, also for applied DDL, each with its own k.
-- Rule: always computed from the user's own parameters (mtm.sequence). The catalog is written directly: our own ALTER
-- SEQUENCE would fire the triggers again.

-- Looks a relation up as the session would; NULL when it is not there.
CREATE OR REPLACE FUNCTION mtm.resolve(name text) RETURNS oid
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM set_config('search_path', replace(current_setting('mtm.search_path'), '"$user"',
    quote_ident(current_setting('mtm.effective_user'))), true);
  RETURN pg_catalog.to_regclass(name)::pg_catalog.oid;
END $$;

-- LIKE … INCLUDING IDENTITY copies what the catalog holds, which is multiplied already: the record of the source, or NULL.
CREATE OR REPLACE FUNCTION mtm.copied_sequence(seq oid, command text) RETURNS mtm.sequence
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE name text; source mtm.sequence;
BEGIN
  FOR name IN
    SELECT m[1] FROM regexp_matches(command,
      '\mlike\s+((?:"[^"]+"|[[:alnum:]_$]+)(?:\.(?:"[^"]+"|[[:alnum:]_$]+))?)\s+'
      '(?:(?:including|excluding)\s+\w+\s+)*including\s+(?:all|identity)\M',
      'gi') AS m
  LOOP
    SELECT r.* INTO source
    FROM pg_depend mine JOIN pg_attribute a ON a.attrelid = mine.refobjid AND a.attnum = mine.refobjsubid
    JOIN pg_attribute b ON b.attrelid = mtm.resolve(name) AND b.attname = a.attname
    JOIN pg_depend theirs ON theirs.refclassid = 'pg_class'::regclass AND theirs.refobjid = b.attrelid
      AND theirs.refobjsubid = b.attnum AND theirs.classid = 'pg_class'::regclass AND theirs.deptype = 'i'
    JOIN mtm.sequence r ON r.seqrelid = theirs.objid
    WHERE mine.classid = 'pg_class'::regclass AND mine.objid = seq AND mine.deptype = 'i';
    IF FOUND THEN RETURN source; END IF;
  END LOOP;
  RETURN NULL;
END $$;

-- What the command says of this sequence: ALTER TABLE may speak of several identity columns, and touches all that it has.
CREATE OR REPLACE FUNCTION mtm.clause_of(seq oid, command text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
  SELECT CASE WHEN command !~* '^alter\s+table\M' THEN command ELSE coalesce((
    SELECT (regexp_match(command, format('\malter\s+?(?:column\s+?)??(?:%1$s|"%1$s")\s+?(.*?)(?:,\s*(?:add|alter|drop)\M|$)',
      regexp_replace(a.attname, '([^[:alnum:]_])', '\\\1', 'g')), 'i'))[1]
    FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_class'::regclass AND d.objid = seq AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'i'), '') END
$$;

-- What the user wants, after this command: a parameter that the command names, or that is not what we set, is his.
CREATE OR REPLACE FUNCTION mtm.user_parameters(s pg_sequence, command text) RETURNS mtm.sequence
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE r mtm.sequence;
BEGIN
  SELECT * INTO r FROM mtm.sequence WHERE seqrelid = s.seqrelid;
  IF NOT FOUND THEN
    r := mtm.copied_sequence(s.seqrelid, command);
    IF r.seqrelid IS NULL THEN
      RETURN ROW(s.seqrelid, s.seqstart, s.seqincrement, s.seqmin, s.seqmax,
        s.seqstart, s.seqincrement, s.seqmin, s.seqmax)::mtm.sequence;
    END IF;
    r.seqrelid := s.seqrelid;
    RETURN r;
  END IF;
  command := mtm.clause_of(s.seqrelid, command);
  IF s.seqincrement <> r.set_increment OR command ~* '\mincrement\s+(by\s+)?[-+]?[0-9]' THEN
    r.user_increment := s.seqincrement;
  END IF;
  IF s.seqstart <> r.set_start OR command ~* '\mstart\s+(with\s+)?[-+]?[0-9]' THEN r.user_start := s.seqstart; END IF;
  IF s.seqmin <> r.set_min OR command ~* '\m(no\s+minvalue|minvalue\s+[-+]?[0-9])' THEN r.user_min := s.seqmin; END IF;
  IF s.seqmax <> r.set_max OR command ~* '\m(no\s+maxvalue|maxvalue\s+[-+]?[0-9])' THEN r.user_max := s.seqmax; END IF;
  RETURN r;
END $$;

-- Moves a sequence on to its next value of this node's kind. One that has none left is left at its end.
CREATE OR REPLACE FUNCTION mtm.align(s pg_sequence, user_increment bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  last_value bigint; is_called boolean; v numeric; size constant numeric := abs(s.seqincrement::numeric);
  forward constant integer := sign(s.seqincrement);
BEGIN
  EXECUTE format('SELECT last_value, is_called FROM %s', s.seqrelid::regclass) INTO last_value, is_called;
  IF mod(last_value - s.seqstart::numeric, size) = 0 AND last_value BETWEEN s.seqmin AND s.seqmax THEN RETURN; END IF;
  v := last_value::numeric + CASE WHEN is_called THEN user_increment ELSE 0 END;
  v := v + forward * mod(mod(forward * (s.seqstart - v), size) + size, size);
  IF v BETWEEN s.seqmin AND s.seqmax THEN PERFORM mtm_local_setval(s.seqrelid, v::bigint, false);
  ELSIF s.seqcycle THEN PERFORM mtm_local_setval(s.seqrelid, CASE forward WHEN 1 THEN s.seqmin ELSE s.seqmax END, false);
  ELSIF (forward = 1) = (v > s.seqmax) THEN PERFORM mtm_local_setval(s.seqrelid, (v - s.seqincrement)::bigint, true);
  ELSE PERFORM mtm_local_setval(s.seqrelid, s.seqstart, false);
  END IF;
END $$;

-- What the catalog has to hold on node my_id of so many, in set_*; NULL when the bounds leave no room for all of them.
CREATE OR REPLACE FUNCTION mtm.own_kind(r mtm.sequence, cycles boolean, my_id integer, node_count integer) RETURNS mtm.sequence
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  step constant numeric := r.user_increment::numeric * node_count;
  first constant numeric := r.user_start::numeric + (my_id - 1) * r.user_increment::numeric;
  lowest numeric := r.user_min; highest numeric := r.user_max;
BEGIN
  IF r.user_start::numeric + (node_count - 1) * r.user_increment::numeric NOT BETWEEN lowest AND highest
    OR abs(step) > 9223372036854775807 THEN RETURN NULL; END IF;
  -- CYCLE goes on at MINVALUE (descending: MAXVALUE), which must be one of this node's own values.
  IF cycles AND step > 0 THEN lowest := first - div(first - lowest, step) * step; END IF;
  IF cycles AND step < 0 THEN highest := first + div(highest - first, -step) * -step; END IF;
  r.set_start := first; r.set_increment := step; r.set_min := lowest; r.set_max := highest;
  RETURN r;
END $$;

-- Writes the parameters into the catalog, and keeps the user's own.
CREATE OR REPLACE FUNCTION mtm.set_kind(r mtm.sequence) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  UPDATE pg_sequence SET seqstart = (r).set_start, seqincrement = (r).set_increment, seqmin = (r).set_min,
    seqmax = (r).set_max
  WHERE seqrelid = (r).seqrelid
    AND (seqstart, seqincrement, seqmin, seqmax) <> ((r).set_start, (r).set_increment, (r).set_min, (r).set_max);
  INSERT INTO mtm.sequence SELECT (r).*
  ON CONFLICT (seqrelid) DO UPDATE SET user_start = excluded.user_start, user_increment = excluded.user_increment,
    user_min = excluded.user_min, user_max = excluded.user_max, set_start = excluded.set_start,
    set_increment = excluded.set_increment, set_min = excluded.set_min, set_max = excluded.set_max
$$;

-- Makes the sequence this node's. Without `strict` a sequence whose bounds are too small for all nodes is left alone and
-- false returned, else it raises 22023. `command` is the DDL that touched it; empty: none.
CREATE OR REPLACE FUNCTION mtm.interleave(seq oid, command text, strict boolean) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE s pg_sequence; r mtm.sequence; me constant integer := (SELECT my_id FROM mtm.node); nodes integer;
BEGIN
  SELECT * INTO s FROM pg_sequence WHERE seqrelid = seq;
  IF NOT FOUND OR (SELECT relpersistence = 't' FROM pg_class WHERE oid = seq) THEN RETURN true; END IF;
  -- Locked: whoever spreads all sequences anew sees this one, or this one what he has written.
  SELECT node_count INTO STRICT nodes FROM mtm.sequence_step FOR SHARE;
  r := mtm.own_kind(mtm.user_parameters(s, command), s.seqcycle, me, nodes);
  IF r.seqrelid IS NULL THEN
    IF NOT strict THEN RETURN false; END IF;
    RAISE EXCEPTION '[multimaster] the bounds of sequence "%" leave no room for the values of % nodes', seq::regclass,
      nodes USING ERRCODE = '22023', HINT = 'Each node needs its own start: START, START + INCREMENT, …';
  END IF;
  PERFORM mtm.set_kind(r);
  SELECT * INTO s FROM pg_sequence WHERE seqrelid = seq;
  PERFORM mtm.align(s, r.user_increment);
  RETURN true;
END $$;

REVOKE EXECUTE ON FUNCTION mtm.resolve(text), mtm.copied_sequence(oid, text), mtm.clause_of(oid, text),
  mtm.user_parameters(pg_sequence, text), mtm.align(pg_sequence, bigint), mtm.own_kind(mtm.sequence, boolean, integer, integer), mtm.set_kind(mtm.sequence),
  mtm.interleave(oid, text, boolean) FROM PUBLIC;
