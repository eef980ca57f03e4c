-- mtm.alter_sequences(): all sequences are spread over the nodes anew, when the number of nodes has changed or when a sequence
-- does not draw its node's values.
--
-- One replicated transaction. Each node locks each sequence against nextval, and that until the transaction ends everywhere;
-- makes sure that it has drawn nothing beyond a *fence* that is the same on all nodes; and goes on at its own first value behind
-- the fence. So nobody draws a new value while somebody can still draw an old one behind the fence: no value is drawn twice.
-- Rule: what is done at home is written before the message for the peers, so that the fences hold here for certain. A node that
-- was away goes on behind the fence or behind its own last value: what it has drawn alone it could not commit.

CREATE OR REPLACE FUNCTION mtm.floor_div(a numeric, b numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT div(a, b) - CASE WHEN mod(a, b) <> 0 AND (a < 0) <> (b < 0) THEN 1 ELSE 0 END
$$;

-- The permanent sequences and what they have come to. reached: the last value drawn, or the one before the first; step: what
-- nextval adds; parameters: the user's start, increment, minimum and maximum; fits: their bounds leave room for so many nodes;
-- is_right: it draws what is this node's among them.
CREATE OR REPLACE FUNCTION mtm.sequence_states(node_count integer)
RETURNS TABLE (seqrelid oid, name text, created_here boolean, reached numeric, step bigint, parameters bigint[], fits boolean,
  is_right boolean)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
  each record; s pg_sequence; r mtm.sequence; last_value bigint; is_called boolean;
  me constant integer := (SELECT my_id FROM mtm.node);
BEGIN
  FOR each IN
    SELECT q, format('%I.%I', n.nspname, c.relname) AS qualified, age(c.xmin) <= 0 AND mtm.is_own(c.xmin) AS own
    FROM pg_sequence q JOIN pg_class c ON c.oid = q.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relpersistence <> 't' ORDER BY 2
  LOOP
    s := each.q;
    name := each.qualified;
    created_here := each.own;
    EXECUTE format('SELECT last_value, is_called FROM %s', name) INTO last_value, is_called;
    r := mtm.user_parameters(s, '');
    parameters := ARRAY[r.user_start, r.user_increment, r.user_min, r.user_max];
    r := mtm.own_kind(r, s.seqcycle, me, node_count);
    seqrelid := s.seqrelid;
    step := s.seqincrement;
    reached := last_value::numeric - CASE WHEN is_called THEN 0 ELSE step END;
    fits := r.seqrelid IS NOT NULL;
    is_right := fits
      AND (s.seqstart, s.seqincrement, s.seqmin, s.seqmax) = (r.set_start, r.set_increment, r.set_min, r.set_max)
      AND mod(last_value::numeric - s.seqstart, s.seqincrement) = 0
      AND last_value BETWEEN s.seqmin AND s.seqmax;
    RETURN NEXT;
  END LOOP;
EXCEPTION WHEN undefined_table OR lock_not_available THEN
  RAISE EXCEPTION '[multimaster] the sequences are being changed: %', sqlerrm
    USING ERRCODE = '40001', HINT = 'Repeat the transaction.';
END $$;

-- For whoever asks: {right, digest of what must be the same on all nodes, tooSmall: [name], sequences: {name: [reached, step]}},
-- numbers as text.
CREATE OR REPLACE FUNCTION mtm.tell_sequences(node_count integer) RETURNS jsonb
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT jsonb_build_object(
    'right', t.node_count = tell_sequences.node_count AND coalesce(bool_and(q.is_right) FILTER (WHERE q.fits), true),
    'digest', md5(coalesce(string_agg(q.name || q.parameters::text, ' ' ORDER BY q.name COLLATE "C"), '')),
    'tooSmall', coalesce(jsonb_agg(q.name) FILTER (WHERE NOT q.fits), '[]'),
    'sequences', coalesce(jsonb_object_agg(q.name, jsonb_build_array(q.reached::text, q.step::text))
      FILTER (WHERE q.name IS NOT NULL), '{}'))
  FROM mtm.sequence_step t LEFT JOIN mtm.sequence_states(tell_sequences.node_count) q ON true
  GROUP BY t.node_count
$$;

-- The furthest value between the bounds in the columns that the sequence is for, as far as an index finds it at once. It was
-- drawn by nobody who can be asked, or lies before what is known.
CREATE OR REPLACE FUNCTION mtm.furthest_in_tables(seq oid, parameters bigint[]) RETURNS numeric
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE c record; found bigint; furthest numeric; ascends constant boolean := parameters[2] > 0;
BEGIN
  FOR c IN
    SELECT a.attrelid::regclass AS relation, a.attname FROM pg_attribute a JOIN (
      SELECT refobjid AS relation, refobjsubid AS attnum FROM pg_depend
      WHERE classid = 'pg_class'::regclass AND objid = seq AND refclassid = 'pg_class'::regclass
        AND deptype IN ('a', 'i') AND refobjsubid > 0
      UNION SELECT f.adrelid, f.adnum FROM pg_depend d JOIN pg_attrdef f ON f.oid = d.objid
      WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = seq
    ) AS used ON a.attrelid = used.relation AND a.attnum = used.attnum
    WHERE a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) AND EXISTS (
      SELECT FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam
      WHERE i.indrelid = a.attrelid AND i.indkey[0] = a.attnum AND i.indisvalid AND i.indpred IS NULL AND m.amname = 'btree')
  LOOP
    EXECUTE format('SELECT %s(%I)::bigint FROM %s WHERE %2$I BETWEEN $1 AND $2',
      CASE WHEN ascends THEN 'max' ELSE 'min' END, c.attname, c.relation)
      INTO found USING parameters[3], parameters[4];
    furthest := CASE WHEN ascends THEN greatest(furthest, found) ELSE least(furthest, found) END;
  END LOOP;
  RETURN furthest;
END $$;

-- Locks the sequences against nextval, each with a new file that takes the place of the old one when the transaction commits:
-- what is set in it afterwards is undone with the transaction, and sessions forget values that they have cached. Whoever draws
-- from several of them in another order must not be waited for with some of them locked: returned is an order in which it went.
CREATE OR REPLACE FUNCTION mtm.hold_sequences(names text[]) RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE name text; increment bigint; tries integer := 0; patience constant text := current_setting('lock_timeout');
BEGIN
  LOOP
    tries := tries + 1;
    BEGIN
      INSERT INTO mtm.own_frame VALUES (pg_current_xact_id());
      FOREACH name IN ARRAY names LOOP
        -- The first is waited for with nothing in hand.
        IF name <> names[1] AND tries <= 2 * cardinality(names) THEN PERFORM set_config('lock_timeout', '300ms', true); END IF;
        SELECT seqincrement INTO STRICT increment FROM pg_sequence WHERE seqrelid = name::regclass;
        EXECUTE format('ALTER SEQUENCE %s INCREMENT %s', name, increment);
      END LOOP;
      DELETE FROM mtm.own_frame WHERE transaction = pg_current_xact_id();
      PERFORM set_config('lock_timeout', patience, true);
      EXIT;
    EXCEPTION WHEN lock_not_available THEN
      IF name = names[1] OR tries > 2 * cardinality(names) THEN RAISE; END IF;
      names := name || array_remove(names, name);
    END;
  END LOOP;
  RETURN names;
END $$;

-- Moves a locked sequence to this node's first value in the first round that lies behind the fence: a round has one value for each
-- node. One that has none left is left at its end.
CREATE OR REPLACE FUNCTION mtm.move_behind(r mtm.sequence, cycles boolean, fence numeric) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  forward constant integer := sign(r.set_increment); step constant numeric := r.set_increment;
  v numeric := r.set_start + (mtm.floor_div(fence - r.user_start, step) + 1) * step;
  first constant numeric := CASE forward WHEN 1 THEN r.set_min ELSE r.set_max END;
  last constant numeric := CASE forward WHEN 1 THEN r.set_max ELSE r.set_min END;
BEGIN
  IF (first - v) * forward > 0 THEN v := v - mtm.floor_div(v - first, step) * step; END IF;
  IF v BETWEEN r.set_min AND r.set_max THEN PERFORM mtm_local_setval(r.seqrelid, v::bigint, false);
  ELSIF cycles THEN PERFORM mtm_local_setval(r.seqrelid, first::bigint, false);
  ELSE PERFORM mtm_local_setval(r.seqrelid, (r.set_start + mtm.floor_div(last - r.set_start, step) * step)::bigint, true);
  END IF;
END $$;

-- Goes on behind the fences: [[name, fence, the user's parameters as the home node has them …], …], in the order in which they are
-- to be locked. `live`: a value behind a fence is a reason to fail; otherwise this node goes on behind it.
CREATE OR REPLACE FUNCTION mtm.pass_fences(nodes integer, fences jsonb, live boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE each record; r mtm.sequence; me constant integer := (SELECT my_id FROM mtm.node);
BEGIN
  FOR each IN
    SELECT q.*, p.seqcycle, (e ->> 1)::numeric AS fence, (e ->> 2)::bigint AS user_start, (e ->> 3)::bigint AS user_increment,
      (e ->> 4)::bigint AS user_min, (e ->> 5)::bigint AS user_max
    FROM jsonb_array_elements(fences) WITH ORDINALITY AS a(e, n) LEFT JOIN mtm.sequence_states(nodes) q ON q.name = e ->> 0
    LEFT JOIN pg_sequence p ON p.seqrelid = q.seqrelid ORDER BY n
  LOOP
    IF (each.reached - each.fence) * sign(each.step) > 0 THEN
      IF live THEN
        RAISE EXCEPTION '[multimaster] sequence % has gone on faster than expected', each.name
          USING ERRCODE = '40001', HINT = 'Repeat the transaction.';
      END IF;
      each.fence := each.reached;
    END IF;
    r := ROW(each.seqrelid, each.user_start, each.user_increment, each.user_min, each.user_max, 0, 0, 0, 0)::mtm.sequence;
    r := mtm.own_kind(r, each.seqcycle, me, nodes);
    PERFORM mtm.set_kind(r);
    PERFORM mtm.move_behind(r, each.seqcycle, each.fence);
  END LOOP;
END $$;

-- At the peers. Only in replica sessions of the gateway, which only a superuser can open.
CREATE OR REPLACE FUNCTION mtm.apply_fences(nodes integer, fences jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE recovering constant boolean := current_setting('application_name') = 'mtm_recovery';
BEGIN
  IF NOT mtm.is_silent() THEN
    RAISE EXCEPTION '[multimaster] apply_fences is the gateway''s own' USING ERRCODE = '42501';
  END IF;
  -- What has been decided is not judged again: the setting may be another one meanwhile.
  IF NOT recovering THEN PERFORM mtm.require_admin(); END IF;
  UPDATE mtm.sequence_step SET node_count = nodes;
  PERFORM mtm.hold_sequences(array(SELECT e ->> 0 FROM jsonb_array_elements(fences) WITH ORDINALITY AS a(e, n) ORDER BY n));
  PERFORM mtm.pass_fences(nodes, fences, NOT recovering);
END $$;

-- The fences for the sequences in this order, which are locked here. `answer`: of the gateway, see sequence-question.ts.
CREATE OR REPLACE FUNCTION mtm.fences(names text[], answer jsonb, created text[], former_nodes integer) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  nodes constant integer := (answer ->> 'count')::integer; fences jsonb := '[]'; q record; fence numeric; told numeric;
  furthest numeric;
  -- Of nodes that cannot be asked only what they have committed counts, and that is in the tables.
  absent constant boolean := NOT answer -> 'members' @> (SELECT jsonb_agg(n) FROM generate_series(1, former_nodes) n);
BEGIN
  FOR q IN
    SELECT s.* FROM mtm.sequence_states(nodes) s JOIN unnest(names) WITH ORDINALITY AS u(name, n) USING (name) ORDER BY u.n
  LOOP
    told := (answer #>> ARRAY['fences', q.name, CASE WHEN q.step > 0 THEN 'high' ELSE 'low' END])::numeric;
    IF told IS NULL AND answer -> 'members' <> jsonb_build_array(answer -> 'node') AND q.name <> ALL (created) THEN
      RAISE EXCEPTION '[multimaster] sequence % is not on all nodes yet', q.name
        USING ERRCODE = '40001', HINT = 'Repeat the transaction.';
    END IF;
    fence := CASE WHEN q.step > 0 THEN greatest(told, q.reached) ELSE least(told, q.reached) END;
    IF absent THEN
      furthest := mtm.furthest_in_tables(q.seqrelid, q.parameters);
      -- A value at the very end of the bounds is nobody's draw.
      IF furthest + 2 * nodes * q.parameters[2]::numeric BETWEEN q.parameters[3] AND q.parameters[4] THEN
        fence := CASE WHEN q.step > 0 THEN greatest(fence, furthest) ELSE least(fence, furthest) END;
      END IF;
    END IF;
    fences := fences || jsonb_build_array(jsonb_build_array(q.name, fence::text) || to_jsonb(q.parameters::text[]));
  END LOOP;
  RETURN fences;
END $$;

-- Spreads all sequences over as many nodes as the highest id says, but over `least_count` at least. False: the bounds of some
-- leave no room, and they are left alone. Not for users' event triggers, which do not see it at the peers either.
CREATE OR REPLACE FUNCTION mtm.spread_sequences(least_count integer) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET session_replication_role = replica AS $$
DECLARE
  answer jsonb := mtm.ask_gateway('sequence-positions', jsonb_build_object('least', least_count, 'fences', false));
  nodes constant integer := (answer ->> 'count')::integer; own constant jsonb := mtm.tell_sequences(nodes);
  too_small jsonb := own -> 'tooSmall'; former integer := (SELECT node_count FROM mtm.sequence_step);
  created text[]; names text[]; fences jsonb;
  who constant name := mtm.current_role_name();
BEGIN
  -- An id that nobody has was somebody's, and will be somebody else's.
  IF NOT ((own -> 'right')::boolean AND (answer -> 'right')::boolean
    AND answer -> 'digests' <@ jsonb_build_array(own -> 'digest')
    AND answer -> 'configured' @> (SELECT jsonb_agg(n) FROM generate_series(1, former) n)) THEN
    SELECT node_count INTO STRICT former FROM mtm.sequence_step FOR UPDATE;
    UPDATE mtm.sequence_step SET node_count = nodes;
    -- From here on nobody creates a sequence.
    SELECT coalesce(array_agg(s.name ORDER BY s.name) FILTER (WHERE s.fits), '{}'),
      coalesce(array_agg(s.name) FILTER (WHERE s.created_here), '{}'),
      coalesce(jsonb_agg(s.name) FILTER (WHERE NOT s.fits), '[]')
    INTO names, created, too_small FROM mtm.sequence_states(nodes) s;
    names := mtm.hold_sequences(names);
    answer := mtm.ask_gateway('sequence-positions', jsonb_build_object('least', least_count, 'fences', true));
    IF (answer ->> 'count')::integer <> nodes THEN
      RAISE EXCEPTION '[multimaster] the number of nodes has changed meanwhile'
        USING ERRCODE = '40001', HINT = 'Repeat the transaction.';
    END IF;
    fences := mtm.fences(names, answer, created, former);
    PERFORM mtm.pass_fences(nodes, fences, true);
    PERFORM set_config('mtm.search_path', 'pg_catalog', true), set_config('mtm.effective_user', who, true);
    PERFORM mtm.emit_ddl(format('SELECT mtm.apply_fences(%s, %L)', nodes, fences), 'SELECT');
  END IF;
  IF too_small <> '[]' THEN
    RAISE WARNING '[multimaster] sequences that were left alone, because their bounds leave no room for % nodes: %', nodes,
      (SELECT string_agg(name, ', ') FROM jsonb_array_elements_text(too_small) AS name)
      USING HINT = 'They draw the same values on all nodes. Give them wider bounds.';
  END IF;
  RETURN too_small = '[]';
END $$;

-- Puts right what the sequences of all nodes draw, above what was drawn.
CREATE OR REPLACE FUNCTION mtm.alter_sequences() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM mtm.require_admin();
  RETURN mtm.spread_sequences(0);
END $$;

REVOKE EXECUTE ON FUNCTION mtm.floor_div(numeric, numeric), mtm.sequence_states(integer), mtm.tell_sequences(integer),
  mtm.furthest_in_tables(oid, bigint[]), mtm.hold_sequences(text[]), mtm.move_behind(mtm.sequence, boolean, numeric),
  mtm.pass_fences(integer, jsonb, boolean), mtm.fences(text[], jsonb, text[], integer), mtm.spread_sequences(integer)
  FROM PUBLIC;
