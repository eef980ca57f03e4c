BEGIN;
SELECT value AS before FROM counter FOR UPDATE \gset
\startpipeline
UPDATE counter SET value = :before + 1;
INSERT INTO copied SELECT count(*) + 1, 'copied' FROM copied;
SELECT value FROM counter;
\endpipeline
COMMIT;
