/**
 * The drivers of the matrix: how each is asked whether it is there (it prints its version), how its program is built and
 * started, and what it does not have. Rule: always Debian's interpreters (/usr/bin), whatever else is on the PATH.
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

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
}

const here = fileURLToPath(new URL('.', import.meta.url));

function python(name: string, more: Pick<Driver, 'packages' | 'lacks'> & { module?: string }): Driver {
  const module = more.module ?? name;
  return {
    name,
    ...more,
    probe: ['/usr/bin/python3', '-c', `import ${module}; print(${module}.__version__)`],
    run: () => ['/usr/bin/python3', join(here, name, 'duties.py')],
    // Nothing is written beside the programs.
    environment: { PYTHONDONTWRITEBYTECODE: '1', PYTHONPATH: '' },
  };
}

export const drivers: readonly Driver[] = [
  python('psycopg2', { packages: 'python3-psycopg2' }),
  python('psycopg', { packages: 'python3-psycopg' }),
  // 0.27 knows no target_session_attrs, and keeps the error of a statement that its task cancelled to itself.
  python('asyncpg', { packages: 'python3-asyncpg', lacks: ['hosts.otherwise', 'cancel.error'] }),
];
