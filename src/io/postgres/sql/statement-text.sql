-- Which text is the command that an event trigger fires for? Top level: the query string; nested: PG_CONTEXT; functions in
-- SQL: their source. Texts with several commands are split, and the one that fits the tag is taken.
-- Rule: NULL, and so 0A000, whenever it is not certain; never a guess.

-- The statements of a text, without the semicolons. Knows strings, quoted names, dollar quotes, comments, parentheses
-- and BEGIN ATOMIC bodies. `complete` is false when something is still open at the end. `alike`: it reads the same whatever
-- standard_conforming_strings is. One pass over marks (a regular expression per token would take minutes for a long text).
DROP FUNCTION IF EXISTS mtm.split_statements(text, boolean);
CREATE FUNCTION mtm.split_statements(source text, standard_strings boolean,
  OUT statements text[], OUT complete boolean, OUT alike boolean)
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
  part text[]; plain text; mark text; at integer := 1; start integer := 1; parens integer := 0; word text;
  -- What is open: '' nothing, else the mark that opened it. `$`: `tag` closes it; `level` of nested comments.
  opened text := ''; level integer := 0; tag text; escapes boolean := false;
  -- An ordinary literal; it was the last thing, and what follows on a line of its own belongs to it.
  ordinary boolean := false; ended boolean := false; breaks boolean := false;
  -- BEGIN ATOMIC … END holds semicolons: the depth of BEGIN and CASE inside it.
  has_atomic constant boolean := position('atomic' IN lower(source)) > 0; atomic integer := 0; last_word text := '';
  -- The text between the last two dollars, when there was nothing but a tag.
  between text;
BEGIN
  statements := '{}';
  alike := true;
  FOR part IN
    SELECT regexp_matches(source || E'\n', '([^''"$;()\n\r/*-]*)(--|/\*|\*/|[''"$;()\n\r/*-])', 'g')
  LOOP
    plain := part[1]; mark := part[2];
    IF opened = '' AND has_atomic THEN
      FOR word IN SELECT lower(m[1]) FROM regexp_matches(plain, '[[:alnum:]_]+', 'g') AS m LOOP
        IF word = 'atomic' AND last_word = 'begin' THEN atomic := 1;
        ELSIF atomic > 0 AND word = 'case' THEN atomic := atomic + 1;
        ELSIF atomic > 0 AND word = 'end' THEN atomic := atomic - 1; END IF;
        last_word := word;
      END LOOP;
    END IF;
    at := at + length(plain) + length(mark);
    IF opened = '''' THEN alike := alike AND NOT (ordinary AND position('\' IN plain) > 0);
    ELSIF opened = '' AND (plain !~ '^\s*$' OR mark NOT IN ('''', '--', E'\n', E'\r')) THEN ended := false;
    ELSIF opened IN ('', '--') AND mark IN (E'\n', E'\r') THEN breaks := true; END IF;
    IF mark = '$' THEN
      IF opened = '' AND between IS NOT NULL AND plain ~ '^([[:alpha:]_\u0080-\uffff][[:alnum:]_\u0080-\uffff]*)?$' THEN
        opened := '$'; tag := plain; between := NULL;
      ELSIF opened = '$' AND between IS NOT NULL AND plain = tag THEN opened := ''; between := NULL;
      ELSIF opened = '$' THEN between := '';
      ELSE between := CASE WHEN opened = '' AND plain !~ '[[:alnum:]_\u0080-\uffff]$' THEN '' END;
      END IF;
      CONTINUE;
    END IF;
    between := NULL;
    CASE opened
      WHEN '' THEN
        CASE mark
          WHEN '(' THEN parens := parens + 1;
          WHEN ')' THEN parens := parens - 1;
          WHEN ';' THEN
            IF parens = 0 AND atomic = 0 THEN
              statements := statements || substr(source, start, at - 1 - start);
              start := at;
            END IF;
          WHEN '''' THEN
            opened := mark;
            IF NOT (ended AND (breaks OR plain = '')) THEN
              ordinary := plain !~ '(^|[^[:alnum:]_$\u0080-\uffff])[eE]$';
              escapes := NOT (ordinary AND standard_strings);
              alike := alike AND plain !~ '(^|[^[:alnum:]_$\u0080-\uffff])[uU]&$';
            END IF;
          WHEN '"', '--' THEN opened := mark;
          WHEN '/*' THEN opened := mark; level := 1;
          ELSE NULL;
        END CASE;
      WHEN '''' THEN
        IF mark = '''' AND NOT (escapes AND (length(plain) - length(rtrim(plain, '\'))) % 2 = 1) THEN
          opened := ''; ended := true; breaks := false;
        END IF;
      WHEN '"' THEN
        IF mark = '"' THEN opened := ''; END IF;
      WHEN '--' THEN
        IF mark IN (E'\n', E'\r') THEN opened := ''; END IF;
      WHEN '/*' THEN
        level := level + CASE mark WHEN '/*' THEN 1 WHEN '*/' THEN -1 ELSE 0 END;
        IF level = 0 THEN opened := ''; END IF;
      ELSE NULL;
    END CASE;
  END LOOP;
  complete := opened = '' AND parens = 0 AND atomic = 0;
  statements := array(SELECT s FROM unnest(statements || substr(source, start)) WITH ORDINALITY AS u(s, n)
    WHERE mtm.without_comments(s) <> '' ORDER BY n);
END $$;

-- standard_conforming_strings of the session, as mtm.note_frame and its like have found it: our own functions have it on.
CREATE OR REPLACE FUNCTION mtm.standard_strings() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(nullif(current_setting('mtm.standard_strings', true), ''), 'on')::boolean
$$;

-- A statement from its first word on.
CREATE OR REPLACE FUNCTION mtm.without_comments(statement text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE rest text := statement; level integer; stop integer; at integer;
BEGIN
  LOOP
    rest := ltrim(rest, E' \t\n\r\f\v');
    IF starts_with(rest, '--') THEN rest := substr(rest, length(substring(rest FROM '^[^\n\r]*')) + 1);
    ELSIF starts_with(rest, '/*') THEN
      level := 1; at := 3;
      WHILE level > 0 LOOP
        stop := regexp_instr(rest, '/\*|\*/', at);
        IF stop = 0 THEN RETURN rest; END IF;
        level := level + CASE substr(rest, stop, 2) WHEN '/*' THEN 1 ELSE -1 END;
        at := stop + 2;
      END LOOP;
      rest := substr(rest, at);
    ELSE RETURN rest;
    END IF;
  END LOOP;
END $$;

-- Could this statement have this command tag? Compares the first words without those that the tag leaves out.
CREATE OR REPLACE FUNCTION mtm.fits_tag(statement text, tag text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
  SELECT CASE
    -- Built from the catalog; the text does not matter.
    WHEN tag IN ('CREATE TABLE AS', 'SELECT INTO') THEN true
    ELSE regexp_replace(words, '^(CREATE|ALTER|DROP) ((OR REPLACE|GLOBAL|LOCAL|TEMP|TEMPORARY|UNLOGGED|UNIQUE|RECURSIVE|'
      || 'CONSTRAINT|TRUSTED|PROCEDURAL|DEFAULT(?= CONVERSION)) )*', '\1 ') || ' ' LIKE tag || ' %' END
  FROM (SELECT upper(array_to_string(array(
    SELECT m[1] FROM regexp_matches(regexp_replace(left(mtm.without_comments(statement), 1000),
      '/\*([^*]|\*[^/])*\*/|--[^\n\r]*', ' ', 'g'), '([[:alnum:]_$]+|[^[:alnum:]_$\s]+)', 'g')
      WITH ORDINALITY AS w(m, n) ORDER BY n LIMIT 12), ' ')) AS words) AS first
$$;

-- The one statement of the text that has the tag; NULL when there is none or several.
CREATE OR REPLACE FUNCTION mtm.only_statement(source text, tag text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE parts text[]; complete boolean; trimmed text := rtrim(source, E'; \t\r\n'); found text[];
BEGIN
  -- Semicolons separate, or there is one statement.
  IF position(';' IN trimmed) = 0 THEN parts := ARRAY[trimmed];
  ELSE
    SELECT s.statements, s.complete INTO parts, complete
    FROM mtm.split_statements(source, mtm.standard_strings()) AS s;
    IF NOT complete THEN RETURN NULL; END IF;
  END IF;
  found := array(SELECT p FROM unnest(parts) AS p WHERE mtm.fits_tag(p, tag));
  RETURN CASE WHEN cardinality(found) = 1 THEN mtm.without_comments(found[1]) END;
END $$;

-- The text of an SPI frame at the start of a context: `SQL statement "…"` and what follows it. Nothing inside is escaped,
-- so it ends at the first quote before a line that begins a frame, at which the text is complete; and when the frames do
-- not tally afterwards (a text that looks like frames), the answer is NULL.
CREATE OR REPLACE FUNCTION mtm.spi_text(context text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
  body text := substr(context, length('SQL statement "') + 1);
  frame constant text := '"(\n(PL/[^\n]+ (function|code block)|SQL (statement|expression|function) "|COPY |'
    || 'PL/pgSQL (assignment|expression) "|extension script file ")|$)';
  stop integer := 0; candidate text; rest text;
BEGIN
  LOOP
    stop := regexp_instr(body, frame, stop + 1);
    IF stop = 0 THEN RETURN NULL; END IF;
    candidate := left(body, stop - 1);
    IF (mtm.split_statements(candidate, mtm.standard_strings())).complete THEN
      rest := substr(body, stop);
      -- Each closing quote in front of a PL frame belongs to one opening: the first is this text's, the others follow.
      IF regexp_count(rest, '"\nPL/') > 1
        + regexp_count(rest, '\n(SQL (statement|expression)|PL/pgSQL (assignment|expression)) "') THEN
        RETURN NULL;
      END IF;
      RETURN candidate;
    END IF;
  END LOOP;
END $$;

-- The statement of a function in SQL, which the context names without schema and arguments: NULL unless all functions of
-- that name that fit have the same text at that place.
CREATE OR REPLACE FUNCTION mtm.sql_function_text(context text, tag text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE place text[] := regexp_match(context, '^SQL function "(.*?)" statement ([0-9]+)($|\n)'); found text[];
BEGIN
  IF place IS NULL THEN RETURN NULL; END IF;
  found := array(
    SELECT DISTINCT mtm.without_comments(s.statements[place[2]::integer])
    FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang,
      LATERAL mtm.split_statements(p.prosrc, mtm.standard_strings()) AS s
    WHERE p.proname = place[1] AND l.lanname = 'sql' AND s.complete
      AND mtm.fits_tag(s.statements[place[2]::integer], tag));
  RETURN CASE WHEN cardinality(found) = 1 THEN found[1] END;
END $$;

-- `context` is PG_CONTEXT of the event trigger function, its own line first. NULL: it cannot be told.
CREATE OR REPLACE FUNCTION mtm.command_text(context text, tag text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  own_line constant integer := position(E'\n' IN context || E'\n');
  callers constant text := substr(context, own_line + 1);
BEGIN
  IF callers = '' THEN RETURN mtm.only_statement(current_query(), tag); END IF;
  IF starts_with(callers, 'SQL statement "') THEN RETURN mtm.only_statement(mtm.spi_text(callers), tag); END IF;
  IF starts_with(callers, 'SQL function "') THEN RETURN mtm.sql_function_text(callers, tag); END IF;
  RETURN NULL;
END $$;

REVOKE EXECUTE ON FUNCTION mtm.split_statements(text, boolean), mtm.standard_strings(), mtm.without_comments(text),
  mtm.fits_tag(text, text),
  mtm.only_statement(text, text), mtm.spi_text(text), mtm.sql_function_text(text, text), mtm.command_text(text, text)
  FROM PUBLIC;
