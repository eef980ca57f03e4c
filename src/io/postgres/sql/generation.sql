-- What a node must not forget of elections, syncpoints and peers, and what the gateway tells the server of outcomes.
-- Rule: what the protocol rests on is logged and never goes back: a lower promise or last_online is refused here as well. The
-- gateway's own connections write it with synchronous_commit=on. The outcomes are unlogged: after a crash of the server
-- they are gone together with what says how complete they are, so a loss is never read as "aborted".

-- promised, accepted, chosen, last_online: src/core/generation/record.ts. One row.
CREATE TABLE IF NOT EXISTS mtm.generation_state (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  promised_generation bigint NOT NULL DEFAULT 0,
  promised_proposer integer NOT NULL DEFAULT 0,
  accepted jsonb,
  chosen jsonb,
  last_online bigint NOT NULL DEFAULT 0
);
INSERT INTO mtm.generation_state DEFAULT VALUES ON CONFLICT DO NOTHING;

-- The last syncpoint. A gid is below it when its generation is lower than `generation`, or the same and its counter is lower
-- than counters[node]. lost_*: this node gave up the history before lost_position (max_retained_wal): a node that was not
-- online in lost_generation cannot be served, and of gids stamped up to it this node may have forgotten commits. One row.
CREATE TABLE IF NOT EXISTS mtm.syncpoint (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  generation bigint NOT NULL DEFAULT 0,
  counters jsonb NOT NULL DEFAULT '{}',
  position pg_lsn NOT NULL DEFAULT '0/0',
  lost_generation bigint NOT NULL DEFAULT 0,
  lost_position pg_lsn NOT NULL DEFAULT '0/0'
);
INSERT INTO mtm.syncpoint DEFAULT VALUES ON CONFLICT DO NOTHING;
-- The server is another one than before (upgrade.sql): its WAL has no history, until the node is online again.
ALTER TABLE mtm.syncpoint ADD COLUMN IF NOT EXISTS is_renewed boolean NOT NULL DEFAULT false;

-- The servers of the peers as they were last reported: one that went back in time is known by it.
CREATE TABLE IF NOT EXISTS mtm.peer_position (
  node integer PRIMARY KEY,
  system_identifier text NOT NULL,
  timeline bigint NOT NULL,
  flushed pg_lsn NOT NULL,
  noted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

ALTER TABLE mtm.peer_position ADD COLUMN IF NOT EXISTS since bigint NOT NULL DEFAULT 0;

-- This node's server began as a copy of the server of node `source`, taken when that was online in `generation`; the copy holds
-- what that one's WAL says before copy_end. done: of all that it holds the gids are noted here. One row, or none.
CREATE TABLE IF NOT EXISTS mtm.seed (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  source integer NOT NULL,
  generation bigint NOT NULL,
  copy_end pg_lsn NOT NULL,
  done boolean NOT NULL DEFAULT false
);
ALTER TABLE mtm.seed ADD COLUMN IF NOT EXISTS source_since bigint NOT NULL DEFAULT 0;

-- Outcomes that the gateway knows, as ranges of counters. `complete_below`: of gids stamped lower (and, below the floor, higher
-- than `complete_from`), whatever is not in
-- `committed`, not prepared here and not below the syncpoint was aborted, or never was.
CREATE UNLOGGED TABLE IF NOT EXISTS mtm.outcome (
  node integer,
  generation bigint,
  incarnation bigint,
  committed int8multirange NOT NULL DEFAULT '{}',
  aborted int8multirange NOT NULL DEFAULT '{}',
  PRIMARY KEY (node, generation, incarnation)
);
CREATE UNLOGGED TABLE IF NOT EXISTS mtm.outcome_cover (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  complete_below bigint NOT NULL
);
ALTER TABLE mtm.outcome_cover ADD COLUMN IF NOT EXISTS complete_from bigint NOT NULL DEFAULT 0;

-- Writes the fields of `change` that are there, and with lastOnline the mark at which nodes that catch up stop.
CREATE OR REPLACE FUNCTION mtm.persist(change jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE s mtm.generation_state; generation bigint; proposer integer; online bigint;
BEGIN
  SELECT * INTO STRICT s FROM mtm.generation_state FOR UPDATE;
  generation := coalesce((change #>> '{promised,generation}')::bigint, s.promised_generation);
  proposer := coalesce((change #>> '{promised,proposer}')::integer, s.promised_proposer);
  online := coalesce((change ->> 'lastOnline')::bigint, s.last_online);
  IF (generation, proposer) < (s.promised_generation, s.promised_proposer) OR online < s.last_online THEN
    RAISE EXCEPTION '[multimaster] the state of this node would go back: % after promise (%, %), last online %', change,
      s.promised_generation, s.promised_proposer, s.last_online USING ERRCODE = 'XX000';
  END IF;
  UPDATE mtm.generation_state SET promised_generation = generation, promised_proposer = proposer, last_online = online,
    accepted = coalesce(change -> 'accepted', s.accepted), chosen = coalesce(change -> 'chosen', s.chosen);
  -- What its copy, or its former server, held already has no rows in this node's history: that is none for a node that was away
  -- before.
  IF online > s.last_online THEN
    UPDATE mtm.syncpoint SET lost_generation = online, lost_position = pg_current_wal_insert_lsn(), is_renewed = false
    WHERE is_renewed OR s.last_online = 0 AND EXISTS (SELECT FROM mtm.seed);
  END IF;
  IF change ? 'lastOnline' THEN PERFORM pg_logical_emit_message(true, 'mtm-mark', online::text); END IF;
END $$;

-- The server, a copy of another node's, becomes that of node `id`: a voter that never voted, with the copied record and floor.
-- Its caller has seen that it is a copy, and rolls back what is prepared here.
CREATE OR REPLACE FUNCTION mtm.become(id integer, since bigint, copy_end pg_lsn) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  DELETE FROM mtm.seed;
  INSERT INTO mtm.seed (source, source_since, generation, copy_end)
  SELECT n.my_id, n.since, s.last_online, become.copy_end FROM mtm.node n, mtm.generation_state s;
  UPDATE mtm.node SET my_id = become.id, since = become.since;
  UPDATE mtm.generation_state SET promised_generation = (chosen ->> 'number')::bigint,
    promised_proposer = (chosen ->> 'proposer')::integer, accepted = NULL, last_online = 0;
  UPDATE mtm.syncpoint SET position = '0/0', is_renewed = false;
  DELETE FROM mtm.predecessor;
  DELETE FROM mtm.departure;
  UPDATE mtm.secret SET announce_key = sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8'));
  DELETE FROM mtm.peer_position;
  DELETE FROM mtm.outcome;
  DELETE FROM mtm.outcome_cover;
END $$;

-- Adds what became known. `outcomes`: [{node, generation, incarnation, committed, aborted}], both int8multiranges as text.
CREATE OR REPLACE FUNCTION mtm.note_outcomes(outcomes jsonb, complete_below bigint) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO mtm.outcome AS o (node, generation, incarnation, committed, aborted)
  SELECT node, generation, incarnation, committed, aborted FROM jsonb_to_recordset(outcomes)
    AS r(node integer, generation bigint, incarnation bigint, committed int8multirange, aborted int8multirange)
  ON CONFLICT (node, generation, incarnation) DO UPDATE
    SET committed = o.committed + excluded.committed, aborted = o.aborted + excluded.aborted;
  -- Filled from nothing it knows what the gateway remembers: everything that is not below the floor.
  INSERT INTO mtm.outcome_cover AS c (complete_below, complete_from)
  SELECT note_outcomes.complete_below, p.generation FROM mtm.syncpoint p
  ON CONFLICT (one) DO UPDATE SET complete_below = greatest(c.complete_below, excluded.complete_below)
$$;

-- Everything below is finished everywhere, and the gateway forgets it. Outcomes are kept on: somebody may ask late.
CREATE OR REPLACE FUNCTION mtm.set_syncpoint(floor_generation bigint, floor_counters jsonb, at_position pg_lsn)
RETURNS void LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  UPDATE mtm.syncpoint SET generation = floor_generation, counters = floor_counters, position = at_position
  WHERE generation <= floor_generation;
  DELETE FROM mtm.outcome WHERE generation < floor_generation - 1000;
$$;

-- Older than the last syncpoint: finished on all nodes. Remembered is how only if mtm.outcome has been there since.
CREATE OR REPLACE FUNCTION mtm.is_forgotten(gid text) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE parts text[] := regexp_match(is_forgotten.gid, '^mtm:([0-9]{1,3}):([0-9]{1,15}):[0-9]{1,15}:([0-9]{1,15})$');
  stamp bigint := parts[2]::bigint; point mtm.syncpoint;
BEGIN
  SELECT * INTO STRICT point FROM mtm.syncpoint;
  RETURN coalesce(stamp < point.generation OR
    stamp = point.generation AND parts[3]::bigint < (point.counters ->> parts[1])::bigint, false);
END $$;

-- What became of a transaction, asked on any node:
--   'committed'  it is decided so; a node that still catches up may not show its rows yet
--   'aborted'    it did not commit and never will, or there was none of that id
--   'in doubt'   it is prepared here: decided or not, it is not finished here; ask again soon
--   'unknown'    this node cannot tell. Either it is finished on all nodes and so old that nobody remembers how
--                (mtm.is_forgotten(gid) is true then, and asking again does not help), or this node does not know it yet
--                (mtm.is_forgotten(gid) is false: ask again when it is online, or on another node).
CREATE OR REPLACE FUNCTION mtm.transaction_outcome(gid text) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE parts text[] := regexp_match(transaction_outcome.gid, '^mtm:([0-9]{1,3}):([0-9]{1,15}):([0-9]{1,15}):([0-9]{1,15})$');
  stamp bigint; counter bigint; found mtm.outcome; point mtm.syncpoint;
BEGIN
  IF parts IS NULL THEN RETURN 'unknown'; END IF;
  stamp := parts[2]::bigint;
  counter := parts[4]::bigint;
  SELECT * INTO found FROM mtm.outcome o
  WHERE o.node = parts[1]::integer AND o.generation = stamp AND o.incarnation = parts[3]::bigint;
  IF found.committed @> counter THEN RETURN 'committed'; END IF;
  IF found.aborted @> counter THEN RETURN 'aborted'; END IF;
  IF EXISTS (SELECT FROM mtm.generation_state WHERE chosen -> 'commits' ? transaction_outcome.gid) THEN
    RETURN 'committed';
  END IF;
  IF EXISTS (SELECT FROM pg_prepared_xacts x WHERE x.gid = transaction_outcome.gid AND x.database = current_database())
  THEN RETURN 'in doubt'; END IF;
  SELECT * INTO STRICT point FROM mtm.syncpoint;
  IF stamp > point.lost_generation AND EXISTS (
    SELECT FROM mtm.outcome_cover c WHERE stamp < c.complete_below
      AND (stamp > c.complete_from OR NOT mtm.is_forgotten(transaction_outcome.gid)))
  THEN RETURN 'aborted'; END IF;
  RETURN 'unknown';
END $$;

REVOKE EXECUTE ON FUNCTION mtm.become(integer, bigint, pg_lsn), mtm.persist(jsonb), mtm.note_outcomes(jsonb, bigint),
  mtm.set_syncpoint(bigint, jsonb, pg_lsn) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mtm.transaction_outcome(text), mtm.is_forgotten(text) TO PUBLIC;
