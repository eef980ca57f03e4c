\set from random(1, 1000)
BEGIN;
SELECT value FROM counter \gset
UPDATE counter SET value = value + 1;
INSERT INTO copied SELECT count(*) + 1, 'copied' FROM copied;
SELECT :value + :from AS sum;
COMMIT;
