-- The schema mtm: what a node knows about itself. Run by schema-installer.ts as a superuser, in one transaction, again
-- with each change of these files: everything here must be repeatable.
-- Rule of all functions: search_path is pg_catalog, pg_temp (temporary objects last, so that nobody can slip in a
-- relation), what writes is SECURITY DEFINER, and nothing is granted to PUBLIC that is not named so.

CREATE SCHEMA IF NOT EXISTS mtm;
GRANT USAGE ON SCHEMA mtm TO PUBLIC;

-- Which SQL is installed: `digest` is that of the files, so an upgrade is seen without a number to remember.
CREATE TABLE IF NOT EXISTS mtm.schema_version (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  version integer NOT NULL,
  digest text NOT NULL,
  installed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Place of this server in the cluster, and the gateway's setting admin_role, '' for none. One row.
CREATE TABLE IF NOT EXISTS mtm.node (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  my_id integer NOT NULL CHECK (my_id BETWEEN 1 AND 64),
  cluster_name text NOT NULL,
  system_identifier bigint NOT NULL
);
-- timeline: the server's, when a gateway began with it last; a copy of it that was promoted has a higher one. since: the
-- generation that added the node, 0 for one of the first (core/generation/configuration.ts).
ALTER TABLE mtm.node ADD COLUMN IF NOT EXISTS timeline integer NOT NULL DEFAULT 0;
ALTER TABLE mtm.node ADD COLUMN IF NOT EXISTS since bigint NOT NULL DEFAULT 0;
ALTER TABLE mtm.node ADD COLUMN IF NOT EXISTS admin_role text NOT NULL DEFAULT '';
GRANT SELECT ON mtm.node TO PUBLIC;

-- How many nodes the sequences are spread over: the highest id when they were spread last (spread.sql). One row. A table of its
-- own, because a prepared transaction may hold the row, and nothing that a starting gateway does may wait for that.
CREATE TABLE IF NOT EXISTS mtm.sequence_step (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  node_count integer NOT NULL CHECK (node_count BETWEEN 1 AND 64)
);
GRANT SELECT ON mtm.sequence_step TO PUBLIC;
DO $$
BEGIN
  -- Where former versions had it.
  IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'mtm.node'::regclass AND attname = 'node_count' AND NOT attisdropped)
  THEN
    INSERT INTO mtm.sequence_step (node_count) SELECT node_count FROM mtm.node;
    ALTER TABLE mtm.node DROP COLUMN node_count;
  END IF;
END $$;

-- Raised at each takeover of the server by a gateway (architecture §3, Takeover); holder: the process that did it.
CREATE TABLE IF NOT EXISTS mtm.incarnation (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  incarnation bigint NOT NULL
);
ALTER TABLE mtm.incarnation ADD COLUMN IF NOT EXISTS holder text NOT NULL DEFAULT '';
INSERT INTO mtm.incarnation (incarnation) VALUES (0) ON CONFLICT DO NOTHING;

-- With it the gateway proves that an announcement is its own (mtm.announce). Superusers only.
CREATE TABLE IF NOT EXISTS mtm.secret (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  announce_key bytea NOT NULL
);
INSERT INTO mtm.secret (announce_key)
VALUES (sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')))
ON CONFLICT DO NOTHING;

-- What mtm.status() and mtm.nodes() show. Unlogged: it is of the moment, must cost no fsync and never stands in the stream.
CREATE UNLOGGED TABLE IF NOT EXISTS mtm.runtime (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  state jsonb NOT NULL
);

-- The user's own parameters of each sequence; what the catalog holds is computed from them and the node.
-- The set_* columns are what we wrote into the catalog: a difference means that the user altered the sequence since.
CREATE TABLE IF NOT EXISTS mtm.sequence (
  seqrelid oid PRIMARY KEY,
  user_start bigint NOT NULL,
  user_increment bigint NOT NULL,
  user_min bigint NOT NULL,
  user_max bigint NOT NULL,
  set_start bigint NOT NULL,
  set_increment bigint NOT NULL,
  set_min bigint NOT NULL,
  set_max bigint NOT NULL
);
GRANT SELECT ON mtm.sequence TO PUBLIC;

-- Tables that got REPLICA IDENTITY FULL from us: only those go back to DEFAULT when they get a key.
CREATE TABLE IF NOT EXISTS mtm.full_identity (
  relid oid PRIMARY KEY
);

-- A ROW EXCLUSIVE lock on pg_transform says for the rest of the transaction (and not beyond a rolled back savepoint) that DDL
-- was announced: no user may take it, and what else takes it (CREATE TRANSFORM) is announced. A catalog, so that it is not among
-- the locks of tables that a user looks at in his session.
DO $$
BEGIN
  -- Former versions had a table for that. A transaction that is still prepared may have locked it, and nothing that a starting
  -- gateway does may wait for that: it goes with a later installation.
  IF to_regclass('mtm.ddl_mark') IS NOT NULL THEN
    LOCK TABLE mtm.ddl_mark IN ACCESS EXCLUSIVE MODE NOWAIT;
    DROP TABLE mtm.ddl_mark;
  END IF;
EXCEPTION WHEN lock_not_available THEN NULL;
END $$;

-- Never has rows. A ROW EXCLUSIVE lock on it, which only our functions can take, says in the same way that a command on
-- temporary objects was left out.
CREATE TABLE IF NOT EXISTS mtm.temporary_mark (one boolean PRIMARY KEY);

-- Functions and domains of the row type of a temporary table: this session's alone, and gone with it.
CREATE UNLOGGED TABLE IF NOT EXISTS mtm.temporary_object (
  class oid NOT NULL,
  object oid NOT NULL,
  backend integer NOT NULL,
  PRIMARY KEY (class, object, backend)
);

-- One row while the transaction runs the script of an extension; nobody else ever sees it.
CREATE UNLOGGED TABLE IF NOT EXISTS mtm.extension_frame (
  transaction xid8 PRIMARY KEY,
  depth integer NOT NULL
);

-- How many rows of catalogs that event triggers do not watch the transaction had changed when all of that was announced or
-- told, and how many of them no row shows (unwatched.sql). One row while it runs; nobody else ever sees it.
CREATE UNLOGGED TABLE IF NOT EXISTS mtm.accounted (
  transaction xid8 PRIMARY KEY,
  changes bigint NOT NULL,
  untold bigint NOT NULL
);

-- One row while our own functions alter sequences: the event triggers pass that over. Nobody else ever sees it.
CREATE UNLOGGED TABLE IF NOT EXISTS mtm.own_frame (
  transaction xid8 PRIMARY KEY
);

-- The tables that the running command has rewritten with values of this node's own; nobody else ever sees it.
CREATE UNLOGGED TABLE IF NOT EXISTS mtm.rewritten (
  transaction xid8,
  relation oid,
  PRIMARY KEY (transaction, relation)
);

-- Calls of setval. A table, because only a trigger knows for certain who calls it, and may do more than he. Never has rows.
CREATE TABLE IF NOT EXISTS mtm.setval_call (
  sequence oid NOT NULL,
  value bigint NOT NULL,
  called boolean NOT NULL,
  caller name
);
GRANT INSERT ON mtm.setval_call TO PUBLIC;

-- Whoever may write a message could feign DDL or a header. (Its arguments differ between versions.)
DO $$
DECLARE f regprocedure;
BEGIN
  FOR f IN SELECT oid FROM pg_proc WHERE proname = 'pg_logical_emit_message' AND pronamespace = 11 LOOP
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f);
  END LOOP;
END $$;

-- Whose rights count: the role that was set, or the session's user; also inside a SECURITY DEFINER function.
CREATE OR REPLACE FUNCTION mtm.current_role_name() RETURNS name
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE current_setting('role') WHEN 'none' THEN session_user ELSE current_setting('role')::name END
$$;
