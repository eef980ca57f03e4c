--+ CREATE TABLE work (id int PRIMARY KEY, t text, at timestamptz DEFAULT clock_timestamp())
--+ INSERT INTO work SELECT i, 'row ' || i FROM generate_series(1, 20) AS i
--+ ALTER TABLE work CLUSTER ON work_pkey
--+ CREATE TABLE work_2 (id serial PRIMARY KEY, w int REFERENCES work DEFERRABLE)
--+ CREATE FUNCTION fill(n int) RETURNS int LANGUAGE sql AS 'INSERT INTO work VALUES (n, random()::text) RETURNING id'

--# INSERT
INSERT INTO work VALUES (101, random()::text) RETURNING *
--# INSERT | ON CONFLICT
INSERT INTO work VALUES (1, 'again') ON CONFLICT (id) DO UPDATE SET t = excluded.t || random()
--# INSERT | serial
INSERT INTO work_2 (w) VALUES (1)
--# UPDATE
UPDATE work SET t = random()::text, at = now() WHERE id = 2
--# DELETE
DELETE FROM work WHERE id = 3 RETURNING id
--# MERGE
MERGE INTO work USING (VALUES (4, 'm'), (104, 'm')) AS v (id, t) ON work.id = v.id
  WHEN MATCHED THEN UPDATE SET t = v.t WHEN NOT MATCHED THEN INSERT VALUES (v.id, v.t)
--# MERGE | RETURNING
--@ since 17
MERGE INTO work USING (VALUES (5, 'm')) AS v (id, t) ON work.id = v.id WHEN MATCHED THEN DELETE RETURNING merge_action()
--# SELECT
SELECT count(*) FROM work
--# SELECT | FOR UPDATE
SELECT * FROM work WHERE id = 6 FOR UPDATE
--# SELECT | a function that writes
SELECT fill(107)
--# SELECT | nextval
SELECT nextval('work_2_id_seq')
--# SELECT | WITH INSERT
WITH i AS (INSERT INTO work VALUES (108, 'with') RETURNING id) SELECT * FROM i
--# SELECT | pg_notify
SELECT pg_notify('channel', 'payload')
--# SELECT | set_config
SELECT set_config('work_mem', '5MB', false)
--# SELECT | advisory lock
SELECT pg_advisory_xact_lock(1)
--# SELECT | lo_create
SELECT lo_create(0)
--# TABLE
TABLE work
--# VALUES
VALUES (1), (2)
--# COPY | FROM PROGRAM
COPY work (id, t) FROM PROGRAM 'echo 111,copied' WITH (FORMAT csv)
--# COPY | TO
COPY work TO STDOUT
--# COPY | query TO
COPY (SELECT * FROM work) TO PROGRAM 'cat >/dev/null'
--# EXPLAIN
EXPLAIN INSERT INTO work VALUES (112)
--# EXPLAIN | ANALYZE of a change
EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) INSERT INTO work VALUES (113, random()::text)
--# EXPLAIN | ANALYZE CREATE TABLE AS
EXPLAIN ANALYZE CREATE TABLE by_explain AS SELECT 1 AS one
--# PREPARE
PREPARE p_{f} AS SELECT 1
--# EXECUTE
--@ prepare PREPARE p1_{f} (int) AS INSERT INTO work VALUES ($1, random()::text)
EXECUTE p1_{f} (114)
--# DEALLOCATE
--@ prepare PREPARE p2_{f} AS SELECT 1
DEALLOCATE p2_{f}
--# DECLARE
DECLARE c_{f} CURSOR FOR SELECT * FROM work
--# DECLARE | WITH HOLD
DECLARE ch_{f} CURSOR WITH HOLD FOR SELECT * FROM work
--# FETCH
--@ prepare DECLARE c1_{f} SCROLL CURSOR WITH HOLD FOR SELECT * FROM work
FETCH NEXT FROM c1_{f}
--# MOVE
--@ prepare DECLARE c2_{f} CURSOR WITH HOLD FOR SELECT * FROM work
MOVE 2 FROM c2_{f}
--# CLOSE
--@ prepare DECLARE c3_{f} CURSOR WITH HOLD FOR SELECT * FROM work
CLOSE c3_{f}
--# SET
SET work_mem = '6MB'
--# SET | LOCAL
SET LOCAL work_mem = '7MB'
--# SET ROLE
SET ROLE NONE
--# SET SESSION AUTHORIZATION
SET SESSION AUTHORIZATION DEFAULT
--# SET TRANSACTION
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ
--# SET CONSTRAINTS
SET CONSTRAINTS ALL DEFERRED
--# SET | session_replication_role
SET LOCAL session_replication_role = replica
--# RESET
RESET work_mem
--# SHOW
SHOW work_mem
--# DISCARD
DISCARD PLANS
--# DISCARD | ALL
DISCARD ALL
--@ afterwards SET search_path = m_{f}, public
--# LISTEN
LISTEN channel_{f}
--# UNLISTEN
UNLISTEN *
--# NOTIFY
NOTIFY channel_{f}, 'payload'
--# LOAD
LOAD 'plpgsql'
--# LOCK
LOCK TABLE work IN SHARE MODE
--# LOCK | a catalog
LOCK TABLE pg_catalog.pg_class IN EXCLUSIVE MODE
--# VACUUM
VACUUM work
--# ANALYZE
ANALYZE work
--# CLUSTER
CLUSTER work
--# CLUSTER | USING
CLUSTER work_2 USING work_2_pkey
--# CLUSTER | partitioned
--+ CREATE TABLE parted_{f} (a int) PARTITION BY LIST (a)
--+ CREATE TABLE parted_{f}_1 PARTITION OF parted_{f} FOR VALUES IN (1)
--+ CREATE INDEX parted_{f}_a ON parted_{f} (a)
CLUSTER parted_{f} USING parted_{f}_a
--# CHECKPOINT
CHECKPOINT
--# BEGIN
BEGIN ISOLATION LEVEL REPEATABLE READ
--@ afterwards ROLLBACK
--# START TRANSACTION
START TRANSACTION READ ONLY
--@ afterwards ROLLBACK
--# COMMIT
COMMIT
--# END
END
--# ROLLBACK
ROLLBACK
--# ABORT
ABORT
--# COMMIT | AND CHAIN
COMMIT AND CHAIN
--@ afterwards ROLLBACK
--# SAVEPOINT
SAVEPOINT point
--# RELEASE SAVEPOINT
RELEASE SAVEPOINT point
--# ROLLBACK TO SAVEPOINT
ROLLBACK TO SAVEPOINT point
--# PREPARE TRANSACTION
PREPARE TRANSACTION 'mine_{f}'
--# PREPARE TRANSACTION | a name of the gateway
PREPARE TRANSACTION 'mtm:1:1:1:1'
--# COMMIT PREPARED
COMMIT PREPARED 'nobody_{f}'
--# ROLLBACK PREPARED
ROLLBACK PREPARED 'nobody_{f}'
--# ALTER LARGE OBJECT
ALTER LARGE OBJECT 4711 OWNER TO postgres
