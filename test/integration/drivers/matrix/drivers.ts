/**
 * The drivers of the matrix: how each is asked whether it is there (it prints its version), how its program is built and
 * started, and what it does not have. Rule: always Debian's interpreters (/usr/bin), whatever else is on the PATH.
 */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findProgram } from '../../../support/programs.ts';
import { duties, type Answer, type Duties } from './duties.ts';

export type Command = readonly [program: string, ...args: string[]];

export interface Driver {
  readonly name: string;
  /** Debian's packages: named when the test is not run, and in config/tool/install-optional.sh. */
  readonly packages: string;
  /** Ends well and prints the version when the machine has everything. */
  readonly probe: Command;
  /** Into the folder. */
  readonly build?: (folder: string) => Command;
  readonly run: (folder: string) => Command;
  readonly environment?: Readonly<Record<string, string>>;
  /** Duties, or parts of their answers, that it has no way to do. */
  readonly lacks?: readonly string[];
  /** Its own ones, instead of those of all. */
  readonly duties?: Duties;
}

/** What the driver has to do and to say. */
export function dutiesOf({ lacks = [], duties: own = duties }: Driver): Duties {
  const has = (duty: string, answer: Answer): Answer =>
    Object.fromEntries(Object.entries(answer).filter(([part]) => !lacks.includes(`${duty}.${part}`)));
  return Object.fromEntries(
    Object.entries(own)
      .filter(([duty]) => !lacks.includes(duty))
      .map(([duty, answer]) => [duty, has(duty, answer)]),
  );
}

const here = fileURLToPath(new URL('.', import.meta.url));

function python(name: string, more: Pick<Driver, 'packages' | 'lacks'> & { module?: string }): Driver {
  const module = more.module ?? name;
  return {
    name,
    ...more,
    probe: ['/usr/bin/python3', '-c', `import ${module}; print(${module}.__version__.split()[0])`],
    run: () => ['/usr/bin/python3', join(here, name, 'duties.py')],
    // Nothing is written beside the programs.
    environment: { PYTHONDONTWRITEBYTECODE: '1', PYTHONPATH: '' },
  };
}

const jar = '/usr/share/java/postgresql.jar';
const go = { GO111MODULE: 'off', GOPATH: '/usr/share/gocode', GOFLAGS: '', CGO_ENABLED: '0' };

export const drivers: readonly Driver[] = [
  {
    name: 'psql',
    packages: 'postgresql-client',
    probe: ['psql', '--version'],
    run: () => ['/bin/sh', join(here, 'psql/duties.sh')],
    // It shows a position and keeps none, keeps no code of COPY, and ends with a statement that is cancelled.
    lacks: ['copy.error', 'cancel.after', 'errors.position', 'errors.constraint', 'errors.detail'],
  },
  {
    name: 'pgbench',
    packages: 'postgresql-contrib',
    probe: [findProgram('pgbench') ?? 'pgbench', '--version'],
    run: () => ['/bin/sh', join(here, 'pgbench/duties.sh')],
    duties: Object.fromEntries(
      ['simple', 'extended', 'prepared'].map((protocol) => [protocol, { processed: '40/40', failed: '0' }]),
    ),
  },
  python('psycopg2', { packages: 'python3-psycopg2' }),
  python('psycopg', { packages: 'python3-psycopg' }),
  // 0.27 knows no target_session_attrs, and keeps the error of a statement that its task cancelled to itself.
  python('asyncpg', { packages: 'python3-asyncpg', lacks: ['hosts.otherwise', 'cancel.error'] }),
  // What has no place in the ORM: it is psycopg2's.
  python('sqlalchemy', { packages: 'python3-sqlalchemy', lacks: ['prepared', 'copy', 'notify'] }),
  {
    name: 'odbc',
    packages: 'odbc-postgresql python3-pyodbc',
    probe: [
      '/usr/bin/python3',
      '-c',
      "import pyodbc, sys; print(pyodbc.version); sys.exit('PostgreSQL Unicode' not in pyodbc.drivers())",
    ],
    run: () => ['/usr/bin/python3', join(here, 'odbc/duties.py')],
    lacks: ['copy', 'notify', 'errors.position', 'errors.constraint', 'errors.detail', 'errors.failed'],
  },
  {
    name: 'jdbc',
    packages: 'libpostgresql-jdbc-java default-jdk-headless',
    // Its main program prints the version and fails.
    probe: [
      '/bin/sh',
      '-c',
      `/usr/bin/javac -version > /dev/null 2>&1 && /usr/bin/java -cp ${jar} org.postgresql.util.PGJDBCMain | grep -o 'Driver [0-9.]*'`,
    ],
    build: (folder) => {
      const source = join(here, 'jdbc/Duties.java');
      return ['/usr/bin/javac', '-encoding', 'UTF-8', '-cp', jar, '-d', join(folder, 'jdbc'), source];
    },
    run: (folder) => ['/usr/bin/java', '-cp', `${jar}:${join(folder, 'jdbc')}`, 'Duties'],
  },
  {
    name: 'pgx',
    packages: 'golang-go golang-github-jackc-pgx-v4-dev',
    probe: ['/usr/bin/go', 'list', '-f', '{{.ImportPath}}', 'github.com/jackc/pgx/v4'],
    build: (folder) => ['/usr/bin/go', 'build', '-o', join(folder, 'pgx'), join(here, 'pgx/duties.go')],
    run: (folder) => [join(folder, 'pgx')],
    environment: { ...go, GOCACHE: join(tmpdir(), 'mtm-go-cache') },
  },
  {
    name: 'ruby-pg',
    packages: 'ruby-pg',
    probe: ['/usr/bin/ruby', '-rpg', '-e', 'puts PG::VERSION'],
    run: () => ['/usr/bin/ruby', join(here, 'ruby-pg/duties.rb')],
    environment: { GEM_HOME: '', GEM_PATH: '', RUBYLIB: '', RUBYOPT: '' },
  },
  {
    name: 'pdo',
    packages: 'php-cli php-pgsql',
    probe: [
      '/usr/bin/php',
      '-r',
      "echo phpversion('pdo_pgsql'); exit(extension_loaded('pdo_pgsql') ? 0 : 1);",
    ],
    run: () => ['/usr/bin/php', '-d', 'memory_limit=512M', join(here, 'pdo/duties.php')],
    lacks: ['cancel', 'errors.position', 'errors.constraint'],
  },
  {
    name: 'dbd-pg',
    packages: 'libdbd-pg-perl',
    probe: ['/usr/bin/perl', '-MDBD::Pg', '-e', 'print $DBD::Pg::VERSION'],
    run: () => ['/usr/bin/perl', join(here, 'dbd-pg/duties.pl')],
    environment: { PERL5LIB: '', PERL5OPT: '' },
  },
];
