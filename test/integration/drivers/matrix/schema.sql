-- What each driver finds: a role of its own with a password, and tables in a schema of its name. `driver` is replaced by it.
CREATE ROLE "driver" LOGIN PASSWORD 'sesame of driver';
CREATE SCHEMA AUTHORIZATION "driver"
  CREATE TABLE items (id int PRIMARY KEY, name text CONSTRAINT items_name_key UNIQUE)
  CREATE TABLE kinds (id int PRIMARY KEY, i int, b bigint, n numeric, f float8, t text, o boolean, nothing text, d date, y bytea)
  CREATE TABLE prepared (id int PRIMARY KEY, name text)
  CREATE TABLE copied (id int PRIMARY KEY, name text)
  CREATE TABLE big (id int PRIMARY KEY, data bytea, text text)
  CREATE TABLE counter (id int PRIMARY KEY, value int);
INSERT INTO "driver".counter VALUES (1, 0);
