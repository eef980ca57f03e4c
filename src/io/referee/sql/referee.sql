-- The referee's memory (core/generation/referee-record.ts): one row for each cluster. Rows are never deleted.
CREATE SCHEMA IF NOT EXISTS mtm_referee;
CREATE TABLE IF NOT EXISTS mtm_referee.decision (
  cluster text PRIMARY KEY,
  winner int NOT NULL,
  generation bigint NOT NULL,
  online_low bigint NOT NULL,
  online_high bigint NOT NULL,
  revision bigint NOT NULL,
  cleared_up_to bigint NOT NULL GENERATED ALWAYS AS (least(online_low, online_high)) STORED
);
COMMENT ON TABLE mtm_referee.decision IS
  'mtm-gateway: which of two nodes may work alone. Never delete a row, never restore this table from a backup.';
