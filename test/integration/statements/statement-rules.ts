/**
 * What may be on one node only, and what may be refused: each with its reason. Everything else must come out as on a stock
 * server, and on all nodes.
 * Rule: a statement that is not named here and does not do the same everywhere is a defect of the gateway.
 */
import type { Cell } from './statement-matrix.ts';

interface Rule {
  /** Titles of cases: a command, or `command | variant`. */
  readonly titles: readonly string[];
  readonly forms?: readonly Cell['form'][];
  readonly why: string;
}

interface Refusal extends Rule {
  readonly code: string;
}

const nested: readonly Cell['form'][] = ['function', 'DO'];

const localRules: readonly Rule[] = [
  {
    why: 'nothing was changed',
    titles: [
      'CREATE TABLE | IF NOT EXISTS of one that is there',
      'ALTER TABLE | IF EXISTS of one that is not there',
      'ALTER TABLE | ALL IN TABLESPACE',
      'ALTER ROLE | RESET ALL',
      'ALTER DATABASE | RESET',
      'PREPARE TRANSACTION',
    ],
  },
  { why: 'nothing was changed', forms: ['user'], titles: ['DROP SUBSCRIPTION'] },
  {
    why: 'temporary objects are those of the session',
    titles: [
      'CREATE TABLE | TEMPORARY',
      'CREATE TABLE AS | TEMPORARY',
      'CREATE SEQUENCE | TEMPORARY',
      'CREATE VIEW | TEMPORARY',
      'GRANT | on a temporary table',
    ],
  },
  {
    why: 'how each node stores what it has',
    titles: ['REINDEX', 'VACUUM', 'ANALYZE', 'CLUSTER', 'CHECKPOINT'],
  },
  {
    why: 'databases and the settings of a server are its own (surface.md)',
    titles: [
      'CREATE DATABASE',
      'DROP DATABASE',
      'ALTER DATABASE | options',
      'ALTER DATABASE | RENAME',
      'ALTER DATABASE | OWNER',
      'ALTER DATABASE | REFRESH COLLATION VERSION',
      'ALTER SYSTEM',
    ],
  },
  {
    why: 'it only reads, or changes the session alone',
    titles: [
      ...[
        'SELECT',
        'SELECT | FOR UPDATE',
        'SELECT | nextval',
        'SELECT | set_config',
        'SELECT | advisory lock',
      ],
      ...['TABLE', 'VALUES', 'COPY | TO', 'COPY | query TO', 'EXPLAIN'],
      ...['PREPARE', 'DEALLOCATE', 'DECLARE', 'FETCH', 'MOVE', 'CLOSE', 'SET', 'SET ROLE'],
      ...[
        'SET | session_replication_role',
        'SET SESSION AUTHORIZATION',
        'SET TRANSACTION',
        'SET CONSTRAINTS',
        'RESET',
        'SHOW',
        'DISCARD',
        'LOAD',
      ],
      ...['LISTEN', 'UNLISTEN', 'LOCK', 'BEGIN', 'START TRANSACTION', 'COMMIT', 'END', 'ROLLBACK', 'ABORT'],
      ...['SAVEPOINT'],
    ],
  },
  { why: 'in a function it reaches listeners of this node only', forms: nested, titles: ['NOTIFY'] },
];

const refusalRules: readonly Refusal[] = [
  {
    code: '0A000',
    why: 'each node would compute values of its own, or lacks the rows',
    titles: [
      'ALTER TABLE | SET LOGGED, with rows',
      'CREATE MATERIALIZED VIEW | volatile',
      'CREATE MATERIALIZED VIEW | a clock behind a view',
      'REFRESH MATERIALIZED VIEW | volatile',
    ],
  },
  {
    code: '2D000',
    why: 'the gateway runs it in a transaction, which cannot end inside',
    titles: ['CALL | a procedure that commits', 'COMMIT', 'ROLLBACK', 'COMMIT | AND CHAIN'],
  },
  {
    code: '0A000',
    why: 'nested, PostgreSQL shows it to no event trigger, and the rows do not tell which command it was',
    forms: nested,
    titles: [
      'ALTER ROLE | options',
      'ALTER ROLE | PASSWORD',
      'ALTER ROLE | RENAME',
      'ALTER ROLE | RESET ALL',
      'ALTER USER',
      'ALTER GROUP',
      'DROP ROLE',
      'DROP USER',
      'DROP GROUP',
      'GRANT | role, another option',
      'GRANT | database',
      'GRANT | tablespace',
      'GRANT | parameter',
      'REVOKE | role',
      'REVOKE | database',
      'REVOKE | parameter',
      'REASSIGN OWNED',
      'COMMENT | event trigger',
      'ALTER DATABASE | RESET',
      'ALTER DATABASE | options',
      'ALTER TABLESPACE | options',
      'CREATE EVENT TRIGGER',
      'ALTER EVENT TRIGGER',
      'DROP EVENT TRIGGER',
    ],
  },
  {
    code: '0A000',
    why: 'the database is local, and the rest of the transaction is not',
    forms: ['savepoint'],
    titles: ['ALTER DATABASE | options'],
  },
  { code: '0A000', why: 'large objects are not replicated', titles: ['SELECT | lo_create'] },
  {
    code: '0A000',
    why: 'PostgreSQL prepares no transaction that has used temporary objects',
    forms: ['rolled back'],
    titles: [
      'CREATE TABLE | TEMPORARY',
      'CREATE TABLE AS | TEMPORARY',
      'CREATE SEQUENCE | TEMPORARY',
      'CREATE VIEW | TEMPORARY',
    ],
  },
  { code: '0A000', why: 'in code it is not the message that travels', forms: nested, titles: ['NOTIFY'] },
  {
    code: '22023',
    why: 'the name is one of the gateway',
    titles: ['PREPARE TRANSACTION | a name of the gateway'],
  },
];

function covers(rule: Rule, { title, form }: Cell): boolean {
  const [command = ''] = title.split(' | ');
  const named = rule.titles.includes(title) || rule.titles.includes(command);
  return named && (rule.forms === undefined || rule.forms.includes(form));
}

/** Why the cell may be as it is; undefined: it may not. */
export function reasonFor(cell: Cell): string | undefined {
  const { outcome } = cell;
  switch (outcome.kind) {
    case 'same':
      return 'the same on all nodes';
    case 'error':
      return "PostgreSQL's own error";
    case 'tolerated':
      return undefined;
    case 'local':
      return localRules.find((rule) => covers(rule, cell))?.why;
    case 'refused':
      return refusalRules.find((rule) => rule.code === outcome.code && covers(rule, cell))?.why;
  }
}
