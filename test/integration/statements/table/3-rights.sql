--! CREATE ROLE r_{f}
--! CREATE ROLE r_group_{f}
--! CREATE ROLE r_old_{f}
--! GRANT r_old_{f}, r_{f} TO clerk
--! GRANT ALL ON SCHEMA m_{f} TO r_old_{f}
--+ CREATE TABLE rights (id int PRIMARY KEY, t text)
--+ CREATE SEQUENCE rights_s
--+ CREATE FUNCTION rights_f() RETURNS int LANGUAGE sql AS 'SELECT 1'
--+ CREATE PROCEDURE rights_p() LANGUAGE sql AS 'SELECT 1'
--+ CREATE DOMAIN rights_d AS int
--+ CREATE TYPE rights_t AS ENUM ('x')

--# CREATE ROLE
CREATE ROLE r_new_{f} LOGIN PASSWORD 'secret' CONNECTION LIMIT 3 VALID UNTIL '2040-01-01' IN ROLE r_group_{f}
--# CREATE USER
CREATE USER r_user_{f}
--# CREATE GROUP
CREATE GROUP r_grp_{f} ROLE r_{f}
--# ALTER ROLE | options
ALTER ROLE r_{f} CREATEDB NOLOGIN CONNECTION LIMIT 5
--# ALTER ROLE | PASSWORD
ALTER ROLE r_{f} PASSWORD 'other'
--# ALTER ROLE | SET
ALTER ROLE r_{f} SET work_mem = '5MB'
--# ALTER ROLE | IN DATABASE SET
ALTER ROLE r_{f} IN DATABASE {db} SET search_path = a, "b c"
--# ALTER ROLE | RESET ALL
ALTER ROLE r_{f} RESET ALL
--# ALTER ROLE | RENAME
--! CREATE ROLE r_ren_{f}
ALTER ROLE r_ren_{f} RENAME TO r_renamed_{f}
--# ALTER USER
ALTER USER r_{f} WITH NOINHERIT
--# ALTER USER | SET
ALTER USER r_{f} SET statement_timeout = '77s'
--# ALTER GROUP
ALTER GROUP r_group_{f} ADD USER r_{f}
--# DROP ROLE
--! CREATE ROLE r_drop_{f}
DROP ROLE r_drop_{f}
--# DROP USER
--! CREATE ROLE r_drop1_{f}
DROP USER IF EXISTS r_drop1_{f}, r_nowhere_{f}
--# DROP GROUP
--! CREATE ROLE r_drop2_{f}
DROP GROUP r_drop2_{f}
--# GRANT | role
GRANT r_group_{f} TO r_{f} WITH ADMIN OPTION
--# GRANT | role, options of 16
--@ since 16
--! CREATE ROLE r_opt_{f}
GRANT r_opt_{f} TO r_{f} WITH INHERIT FALSE, SET TRUE
--# GRANT | role, another option
--! CREATE ROLE r_more_{f}
--! GRANT r_more_{f} TO r_{f}
GRANT r_more_{f} TO r_{f} WITH ADMIN OPTION
--# GRANT | table, columns
GRANT SELECT, UPDATE (t) ON rights TO r_{f} WITH GRANT OPTION
--# GRANT | all tables in schema
GRANT SELECT ON ALL TABLES IN SCHEMA m_{f} TO r_{f}
--# GRANT | sequence
GRANT USAGE ON SEQUENCE rights_s TO r_{f}
--# GRANT | function, procedure
GRANT EXECUTE ON FUNCTION rights_f() TO r_{f}
--# GRANT | routine
GRANT EXECUTE ON ROUTINE rights_p() TO r_{f}
--# GRANT | schema
GRANT USAGE, CREATE ON SCHEMA m_{f} TO r_{f}
--# GRANT | type
GRANT USAGE ON TYPE rights_t TO r_{f}
--# GRANT | domain
GRANT USAGE ON DOMAIN rights_d TO r_{f}
--# GRANT | language
GRANT USAGE ON LANGUAGE plpgsql TO r_{f}
--# GRANT | database
GRANT TEMPORARY ON DATABASE {db} TO r_{f}
--# GRANT | tablespace
GRANT CREATE ON TABLESPACE pg_default TO r_{f}
--# GRANT | parameter
GRANT SET ON PARAMETER log_min_messages TO r_{f}
--# GRANT | large object
GRANT SELECT ON LARGE OBJECT 4711 TO r_{f}
--# GRANT | foreign data wrapper
--! CREATE FOREIGN DATA WRAPPER w_{f}
GRANT USAGE ON FOREIGN DATA WRAPPER w_{f} TO r_{f}
--# GRANT | foreign server
--! CREATE SERVER srv_{f} FOREIGN DATA WRAPPER w_{f}
GRANT USAGE ON FOREIGN SERVER srv_{f} TO r_{f}
--# GRANT | on a temporary table
--@ prepare CREATE TEMPORARY TABLE tmp_{f} (id int)
GRANT SELECT ON tmp_{f} TO PUBLIC
--# REVOKE | role
--! GRANT r_group_{f} TO r_old_{f}
REVOKE r_group_{f} FROM r_old_{f}
--# REVOKE | table
--+ GRANT ALL ON rights TO r_old_{f}
REVOKE DELETE ON rights FROM r_old_{f} CASCADE
--# REVOKE | database
--! GRANT TEMPORARY ON DATABASE {db} TO r_old_{f}
REVOKE TEMPORARY ON DATABASE {db} FROM r_old_{f}
--# REVOKE | parameter
--! GRANT SET ON PARAMETER log_min_duration_statement TO r_old_{f}
REVOKE SET ON PARAMETER log_min_duration_statement FROM r_old_{f}
--# ALTER DEFAULT PRIVILEGES
ALTER DEFAULT PRIVILEGES IN SCHEMA m_{f} GRANT SELECT ON TABLES TO r_{f}
--# ALTER DEFAULT PRIVILEGES | of a role
ALTER DEFAULT PRIVILEGES FOR ROLE r_old_{f} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC
--# REASSIGN OWNED
--! CREATE TABLE owned_1 (id int)
--! ALTER TABLE owned_1 OWNER TO r_old_{f}
REASSIGN OWNED BY r_old_{f} TO r_{f}
--# DROP OWNED
--! CREATE ROLE r_owns_{f}
--! GRANT r_owns_{f} TO clerk
--! CREATE TABLE owned_2 (id int)
--! ALTER TABLE owned_2 OWNER TO r_owns_{f}
--! GRANT SELECT ON rights TO r_owns_{f}
DROP OWNED BY r_owns_{f}

--# COMMENT | table
COMMENT ON TABLE rights IS 'it''s; a "comment"'
--# COMMENT | column
COMMENT ON COLUMN rights.t IS 'column'
--# COMMENT | constraint
COMMENT ON CONSTRAINT rights_pkey ON rights IS 'constraint'
--# COMMENT | index
COMMENT ON INDEX rights_pkey IS 'index'
--# COMMENT | sequence
COMMENT ON SEQUENCE rights_s IS 'sequence'
--# COMMENT | function
COMMENT ON FUNCTION rights_f() IS 'function'
--# COMMENT | type
COMMENT ON TYPE rights_t IS 'type'
--# COMMENT | schema
COMMENT ON SCHEMA m_{f} IS 'schema'
--# COMMENT | language
COMMENT ON LANGUAGE plpgsql IS 'language {f}'
--# COMMENT | extension
COMMENT ON EXTENSION plpgsql IS 'extension {f}'
--# COMMENT | role
COMMENT ON ROLE r_{f} IS 'role'
--# COMMENT | database
COMMENT ON DATABASE {db} IS 'database {f}'
--# COMMENT | tablespace
COMMENT ON TABLESPACE pg_default IS 'tablespace {f}'
--# COMMENT | event trigger
--! CREATE FUNCTION on_comment() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'
--! CREATE EVENT TRIGGER et_comment_{f} ON ddl_command_end EXECUTE FUNCTION on_comment()
COMMENT ON EVENT TRIGGER et_comment_{f} IS 'event trigger'
--# COMMENT | large object
COMMENT ON LARGE OBJECT 4711 IS 'large'
--# COMMENT | server
COMMENT ON SERVER srv_{f} IS 'server'
--# SECURITY LABEL | no provider
SECURITY LABEL ON TABLE rights IS 'secret'
--# SECURITY LABEL | role
SECURITY LABEL ON ROLE r_{f} IS 'secret'

--# CREATE SCHEMA
CREATE SCHEMA sch_{f} CREATE TABLE t (id serial PRIMARY KEY) CREATE VIEW v AS SELECT id FROM t
--# CREATE SCHEMA | AUTHORIZATION
CREATE SCHEMA AUTHORIZATION r_{f}
--# ALTER SCHEMA | RENAME
--! CREATE SCHEMA sch1_{f} AUTHORIZATION clerk
ALTER SCHEMA sch1_{f} RENAME TO sch1_renamed_{f}
--# ALTER SCHEMA | OWNER
--! CREATE SCHEMA sch2_{f} AUTHORIZATION clerk
ALTER SCHEMA sch2_{f} OWNER TO r_{f}
--# DROP SCHEMA
--! CREATE SCHEMA sch3_{f} AUTHORIZATION clerk
--! CREATE TABLE sch3_{f}.t (id int)
DROP SCHEMA sch3_{f} CASCADE
--# CREATE DATABASE
CREATE DATABASE db_{f} TEMPLATE template0
--# ALTER DATABASE | SET
ALTER DATABASE {db} SET lc_monetary = 'C'
--# ALTER DATABASE | RESET
ALTER DATABASE {db} RESET lc_monetary
--# ALTER DATABASE | options
ALTER DATABASE {db} CONNECTION LIMIT 500
--# ALTER DATABASE | RENAME
ALTER DATABASE db_{f} RENAME TO db_renamed_{f}
--# ALTER DATABASE | OWNER
ALTER DATABASE template0 OWNER TO postgres
--# ALTER DATABASE | REFRESH COLLATION VERSION
ALTER DATABASE {db} REFRESH COLLATION VERSION
--# DROP DATABASE
DROP DATABASE IF EXISTS db_renamed_{f}
--# CREATE TABLESPACE
CREATE TABLESPACE ts_{f} LOCATION '/nowhere'
--# ALTER TABLESPACE | options
ALTER TABLESPACE pg_default SET (random_page_cost = 1.5)
--# ALTER TABLESPACE | RENAME
ALTER TABLESPACE nowhere_{f} RENAME TO x
--# DROP TABLESPACE
DROP TABLESPACE IF EXISTS nowhere_{f}
--# ALTER SYSTEM
ALTER SYSTEM SET log_min_duration_statement = 100000
--# ALTER SYSTEM | RESET
ALTER SYSTEM RESET log_min_duration_statement

--# CREATE FOREIGN DATA WRAPPER
CREATE FOREIGN DATA WRAPPER w1_{f} OPTIONS (a '1')
--# ALTER FOREIGN DATA WRAPPER
ALTER FOREIGN DATA WRAPPER w_{f} OPTIONS (ADD a '2')
--# DROP FOREIGN DATA WRAPPER
--! CREATE FOREIGN DATA WRAPPER w2_{f}
DROP FOREIGN DATA WRAPPER w2_{f}
--# CREATE SERVER
--! GRANT USAGE ON FOREIGN DATA WRAPPER w_{f} TO clerk
CREATE SERVER srv1_{f} TYPE 'x' VERSION '1' FOREIGN DATA WRAPPER w_{f} OPTIONS (host 'h')
--# ALTER SERVER
--! CREATE SERVER srv2_{f} FOREIGN DATA WRAPPER w_{f}
--! ALTER SERVER srv2_{f} OWNER TO clerk
ALTER SERVER srv2_{f} OPTIONS (ADD port '5')
--# DROP SERVER
--! CREATE SERVER srv3_{f} FOREIGN DATA WRAPPER w_{f}
--! ALTER SERVER srv3_{f} OWNER TO clerk
DROP SERVER srv3_{f}
--# CREATE USER MAPPING
CREATE USER MAPPING FOR PUBLIC SERVER srv2_{f} OPTIONS (user 'u')
--# ALTER USER MAPPING
--! CREATE USER MAPPING FOR clerk SERVER srv2_{f} OPTIONS (user 'u')
ALTER USER MAPPING FOR clerk SERVER srv2_{f} OPTIONS (SET user 'v')
--# DROP USER MAPPING
--! CREATE USER MAPPING FOR r_{f} SERVER srv2_{f}
DROP USER MAPPING FOR r_{f} SERVER srv2_{f}
--# CREATE FOREIGN TABLE
--! GRANT USAGE ON FOREIGN SERVER srv_{f} TO clerk
CREATE FOREIGN TABLE ft_plain (id int OPTIONS (x 'y'), t text) SERVER srv_{f} OPTIONS (a 'b')
--# ALTER FOREIGN TABLE
--+ CREATE FOREIGN TABLE ft1 (id int) SERVER srv_{f}
ALTER FOREIGN TABLE ft1 ADD COLUMN t text, OPTIONS (ADD a 'c')
--# DROP FOREIGN TABLE
--+ CREATE FOREIGN TABLE ft2 (id int) SERVER srv_{f}
DROP FOREIGN TABLE ft2
--# IMPORT FOREIGN SCHEMA
IMPORT FOREIGN SCHEMA public FROM SERVER srv_{f} INTO m_{f}

--# CREATE PUBLICATION
CREATE PUBLICATION pub_{f} FOR TABLE rights (id) WHERE (id > 0) WITH (publish = 'insert')
--# CREATE PUBLICATION | FOR ALL TABLES
CREATE PUBLICATION pub_all_{f} FOR ALL TABLES
--# ALTER PUBLICATION
--! CREATE PUBLICATION pub1_{f} FOR TABLES IN SCHEMA m_{f}
ALTER PUBLICATION pub1_{f} SET (publish = 'insert, update')
--# DROP PUBLICATION
--! CREATE PUBLICATION pub2_{f}
DROP PUBLICATION pub2_{f}
--# CREATE SUBSCRIPTION
CREATE SUBSCRIPTION sub_{f} CONNECTION 'host=nowhere' PUBLICATION p WITH (connect = false, slot_name = NONE)
--# ALTER SUBSCRIPTION
ALTER SUBSCRIPTION sub_{f} DISABLE
--# DROP SUBSCRIPTION
DROP SUBSCRIPTION IF EXISTS sub_{f}
