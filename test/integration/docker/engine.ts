/**
 * The Docker engine of this machine, where there is one, and the images that the tests run: ours, built from the working
 * tree, and stand-ins for what an engine without a registry cannot pull. Rule: nothing here starts an engine.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { outputOf, runToEnd, type ProgramRun } from '../../support/programs.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));

function works(program: string, ...args: string[]): boolean {
  return spawnSync(program, args, { stdio: 'ignore', timeout: 20_000 }).status === 0;
}

/** An engine answers. */
export const hasEngine = works('docker', 'version', '--format', '{{.Server.Version}}');
/** `docker compose`, or the program of its first version. */
const composeProgram = !hasEngine
  ? undefined
  : works('docker', 'compose', 'version')
    ? ['docker', 'compose']
    : works('docker-compose', 'version')
      ? ['docker-compose']
      : undefined;
export const hasCompose = composeProgram !== undefined;

/** For the name of a test: says why it is not run. */
export const needsEngine = hasEngine ? '' : ' (not run: no Docker engine answers)';
export const needsCompose = hasCompose ? '' : ' (not run: no Docker engine with compose answers)';

/** Its answer, also a failure. */
export function tryDocker(...args: string[]): Promise<ProgramRun> {
  return runToEnd('docker', args, { cwd: root });
}

/** Throws with what docker says when it fails; its standard output. */
export async function docker(...args: string[]): Promise<string> {
  return (await outputOf('docker', args, { cwd: root })).trim();
}

/** config/compose.yaml as one project, with these variables. */
export class Composition {
  readonly project: string;
  readonly #environment: Readonly<Record<string, string>>;
  readonly #profile: readonly string[];

  constructor(project: string, environment: Readonly<Record<string, string>>, profile?: string) {
    this.project = project;
    this.#environment = environment;
    this.#profile = profile === undefined ? [] : ['--profile', profile];
  }

  async run(...args: string[]): Promise<string> {
    const [program = '', ...first] = composeProgram ?? [];
    const which = ['-p', this.project, '-f', 'config/compose.yaml', ...this.#profile];
    const env = { ...process.env, ...this.#environment };
    return (await outputOf(program, [...first, ...which, ...args], { cwd: root, env })).trim();
  }

  /** The container of a service. */
  container(service: string): Promise<string> {
    return docker(
      'ps',
      '-aq',
      '--filter',
      `label=${this.#label}`,
      '--filter',
      `label=${service_}=${service}`,
    );
  }

  get #label(): string {
    return `com.docker.compose.project=${this.project}`;
  }

  /** Everything that the engine still has of it, one a line. */
  async left(): Promise<string[]> {
    const filter = ['--filter', `label=${this.#label}`];
    const lists = await Promise.all([
      docker('ps', '-aq', ...filter),
      docker('network', 'ls', '-q', ...filter),
      docker('volume', 'ls', '-q', ...filter),
    ]);
    return lists.flatMap((list) => list.split('\n')).filter((line) => line !== '');
  }
}

const service_ = 'com.docker.compose.service';

/** Builds an image from the text of a Dockerfile and files beside it. */
async function build(tag: string, files: Readonly<Record<string, string>>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'mtm-image-'));
  try {
    mkdirSync(folder, { recursive: true });
    for (const [name, text] of Object.entries(files)) {
      writeFileSync(join(folder, name), text);
      chmodSync(join(folder, name), 0o755);
    }
    await docker('build', '-q', '--network=host', '-t', tag, folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Ours. MTM_TEST_IMAGE names one that is built already. */
export async function gatewayImage(): Promise<string> {
  const given = process.env['MTM_TEST_IMAGE'];
  if (given !== undefined) return given;
  await docker('build', '-q', '--network=host', '-t', 'mtm-gateway:test', '.');
  return 'mtm-gateway:test';
}

const readsPasswordFile = `#!/bin/bash
set -e
[ -z "$POSTGRES_PASSWORD_FILE" ] || export POSTGRES_PASSWORD="$(cat "$POSTGRES_PASSWORD_FILE")"
exec /entry.sh "$@"
`;

/** MTM_TEST_POSTGRES_VERSION (15), or a stand-in that knows what the official image knows of the environment. */
export async function postgresImage(): Promise<{ readonly name: string; readonly version: string }> {
  const version = process.env['MTM_TEST_POSTGRES_VERSION'] ?? '15';
  const official = [
    'run',
    '--rm',
    '--entrypoint',
    'docker-entrypoint.sh',
    `postgres:${version}`,
    '--version',
  ];
  if ((await tryDocker(...official)).code === 0) return { name: 'postgres', version };
  const text = `FROM postgres:${version}
COPY docker-entrypoint.sh /usr/local/bin/
ENV PG_MAJOR=${version}
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
`;
  await build(`mtm-test-postgres:${version}`, {
    Dockerfile: text,
    'docker-entrypoint.sh': readsPasswordFile,
  });
  return { name: 'mtm-test-postgres', version };
}

/** redis:7, or Debian's on the image that the stand-in of PostgreSQL is made of. */
export async function redisImage(): Promise<string> {
  if ((await tryDocker('run', '--rm', 'redis:7', 'redis-server', '--version')).code === 0) return 'redis:7';
  const text = `FROM postgres:${process.env['MTM_TEST_POSTGRES_VERSION'] ?? '15'}
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends redis-server >/dev/null
COPY docker-entrypoint.sh /usr/local/bin/
ENTRYPOINT ["docker-entrypoint.sh"]
`;
  await build('mtm-test-redis:7', { Dockerfile: text, 'docker-entrypoint.sh': '#!/bin/sh\nexec "$@"\n' });
  return 'mtm-test-redis:7';
}
