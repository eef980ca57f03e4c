-- values
\set t 'it''s "ä€😀" \\ %'
INSERT INTO kinds VALUES
  (1, -7, 9223372036854775807, 12345678901234567890.123, 0.1, :'t', true, NULL, '2024-02-29', '\x0001ff5c27');
SELECT * FROM kinds \gset
SELECT json_build_object('duty', 'values', 'answer', json_build_object('row', json_build_array(
  :i, :'b', :'n', :f, :'t', :'o'::bool, NULL, :'d', substr(:'y', 3))));

-- prepared
PREPARE put AS INSERT INTO prepared VALUES ($1, $2);
PREPARE get AS SELECT name FROM prepared WHERE id = $1;
PREPARE star AS SELECT * FROM prepared WHERE id = $1;
SELECT format('EXECUTE put (%s, %L)', id, 'name ' || id) FROM generate_series(1, 20) id \gexec
EXECUTE get (7) \gset before_
EXECUTE star (7) \gset star_
\! psql -X -q -p "$OTHER_PORT" -c 'ALTER TABLE prepared ADD note text'
EXECUTE get (7) \gset after_
EXECUTE star (7);
\set refused :SQLSTATE
EXECUTE put (21, 'last');
SELECT json_build_object('duty', 'prepared', 'answer', json_build_object('count', (SELECT count(*) FROM prepared),
  'before', json_build_array(:'before_name', 2), 'after', json_build_array(:'after_name', :'refused')))
  WHERE (:star_id, :'star_name') = (7, 'name 7');

-- pipeline: several statements in one message
INSERT INTO items VALUES (101, 'piped 101')\;
INSERT INTO items SELECT g, 'piped ' || g FROM generate_series(102, 110) g\;
SELECT count(*) FROM items WHERE id BETWEEN 101 AND 199 \gset
INSERT INTO items VALUES (111, 'again 111')\;
INSERT INTO items VALUES (101, 'again 101')\;
INSERT INTO items VALUES (112, 'again 112');
\set refused :SQLSTATE
SELECT json_build_object('duty', 'pipeline', 'answer', json_build_object('count', :count, 'error', :'refused',
  'after', (SELECT count(*) FROM items WHERE id BETWEEN 101 AND 199)));

-- copy; of an error in it psql keeps no code
\copy copied FROM PROGRAM 'for id in $(seq 1000); do printf "%d\tcopied %d\n" $id $id; done'
\copy (SELECT * FROM copied ORDER BY id) TO PROGRAM 'md5sum > "$WORK/md5"'
COPY copied FROM STDIN;
1001	good
x	bad
\.
\set md5 `cut -d ' ' -f 1 "$WORK/md5"`
SELECT json_build_object('duty', 'copy', 'answer', json_build_object('out', :'md5',
  'count', (SELECT count(*) FROM copied)));

-- errors
SELECT * FORM items;
\set syntax :SQLSTATE
INSERT INTO items VALUES (1, 'one');
INSERT INTO items VALUES (2, 'one');
\set unique :SQLSTATE
BEGIN;
SELECT 1 / 0;
\set division :SQLSTATE
SELECT 1;
\set failed :SQLSTATE
ROLLBACK;
SELECT json_build_object('duty', 'errors', 'answer', json_build_object('syntax', :'syntax', 'unique', :'unique',
  'division', :'division', 'failed', :'failed'));

-- large
\set text `yes ä€ | head -n 1000000 | tr -d '\n'`
INSERT INTO big VALUES (1, decode(repeat('00ff5c27', 2621440), 'hex'), :'text');
SELECT data, text FROM big \gset
SELECT json_build_object('duty', 'large', 'answer', json_build_object(
  'data', :'data' = '\x' || repeat('00ff5c27', 2621440), 'text', :'text' = repeat('ä€', 1000000)));

-- transactions
BEGIN;
INSERT INTO items VALUES (301, 'kept');
SAVEPOINT here;
INSERT INTO items VALUES (301, 'twice');
ROLLBACK TO here;
INSERT INTO items VALUES (302, 'kept, too');
COMMIT;
BEGIN;
INSERT INTO items VALUES (303, 'taken back');
ROLLBACK;
BEGIN ISOLATION LEVEL READ COMMITTED;
SHOW transaction_isolation \gset first_
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SHOW transaction_isolation \gset second_
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SHOW transaction_isolation \gset third_
ROLLBACK;
BEGIN READ ONLY;
INSERT INTO items VALUES (304, 'refused');
\set refused :SQLSTATE
ROLLBACK;
SELECT json_build_object('duty', 'transactions', 'answer', json_build_object(
  'kept', (SELECT json_agg(id ORDER BY id) FROM items WHERE id BETWEEN 301 AND 399),
  'levels', json_build_array(
    :'first_transaction_isolation', :'second_transaction_isolation', :'third_transaction_isolation'),
  'readOnly', :'refused'));

-- conflict: a serialization failure, and the same transaction once more
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT value FROM counter \gset
\! psql -X -q -p "$OTHER_PORT" -c 'UPDATE counter SET value = value + 1'
UPDATE counter SET value = :value + 1;
\set refused :SQLSTATE
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT value FROM counter \gset
UPDATE counter SET value = :value + 1;
COMMIT;
SELECT json_build_object('duty', 'conflict', 'answer', json_build_object('codes', json_build_array(:'refused'),
  'value', (SELECT value FROM counter)));

-- cursor: psql declares one itself; the write comes between two of its own
\set FETCH_COUNT 100
\o |cat > "$WORK/numbers"
SELECT g FROM generate_series(1, 2500) g;
\o
\unset FETCH_COUNT
INSERT INTO items VALUES (401, 'in between');
\set sum `awk '{ sum += $1 } END { print sum }' "$WORK/numbers"`
SELECT json_build_object('duty', 'cursor', 'answer', json_build_object('sum', :sum));
