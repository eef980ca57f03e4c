/**
 * Makes a GatewayConfig from file < environment < flags. Every problem is one sentence that names the place
 * it came from; all of them are reported at once, before anything is opened or connected.
 * Rule: this reads the configuration file and the files with secrets, and nothing else.
 */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parse, YAMLParseError } from 'yaml';
import type { z } from 'zod';
import { GatewayError } from '../lib/gateway-error.ts';
import { databaseProblems } from './databases.ts';
import { nearestName } from './nearest-name.ts';
import { parseRefereeAddress, type RefereeAddress } from './referee-address.ts';
import { fileSchema, postgresTls, toGatewayConfig, type FileConfig, type GatewayConfig } from './schema.ts';
import { isSecret, settings, type Setting } from './settings.ts';
import { tlsProblem } from './tls-settings.ts';

export interface ConfigSources {
  /** Path of gateway.yaml; absent when environment and flags say everything. */
  readonly file?: string | undefined;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** By flag name without dashes (`listen-port`); undefined values were not given. */
  readonly flags: Readonly<Record<string, unknown>>;
}

type Tree = Record<string, unknown>;

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function readText(path: string, what: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code === 'ENOENT' ? 'does not exist' : 'cannot be read';
    throw new GatewayError('file-unreadable', `${what} ${path} ${reason}`, { cause });
  }
}

function readTree(path: string): Tree {
  const text = readText(path, 'the configuration file');
  try {
    const value: unknown = parse(text, { prettyErrors: true });
    if (value === null) return {};
    if (isTree(value)) return withoutEmpty(value);
  } catch (cause) {
    const reason = cause instanceof YAMLParseError ? cause.message.split('\n')[0] : String(cause);
    throw new GatewayError('config-invalid', `${path} is not valid YAML: ${reason}`, { cause });
  }
  throw new GatewayError('config-invalid', `${path} must consist of lines "name: value"`);
}

/** `listen:` with nothing but comments below it is null in YAML and means the defaults. */
function withoutEmpty(tree: Tree): Tree {
  const entries = Object.entries(tree).filter(([, value]) => value !== null);
  return Object.fromEntries(
    entries.map(([key, value]) => [key, isTree(value) ? withoutEmpty(value) : value]),
  );
}

/** Lists from the environment or a flag are YAML in one line: [{id: 2, host: b, port: 7301}]. */
function textValue(setting: Setting, value: unknown, place: string): unknown {
  if (setting.kind !== 'list' || typeof value !== 'string' || !value.trim().startsWith('[')) return value;
  try {
    return parse(value) as unknown;
  } catch (cause) {
    throw new GatewayError(
      'config-invalid',
      `${place} is not a list such as [{id: 2, host: b, port: 7301}]`,
      { cause },
    );
  }
}

function put(tree: Tree, path: readonly string[], value: unknown): void {
  const [key, ...rest] = path;
  if (key === undefined) return;
  if (rest.length === 0) {
    tree[key] = value;
    return;
  }
  const child = tree[key];
  const branch = isTree(child) ? child : {};
  tree[key] = branch;
  put(branch, rest, value);
}

/**
 * A misspelt MTM_… variable. Others are not ours: Kubernetes makes MTM_PORT_7001_TCP for a service called
 * mtm.
 */
function misspeltVariables(environment: ConfigSources['environment']): string[] {
  const known = [...settings.map((setting) => setting.variable), 'MTM_CONFIG'];
  return Object.keys(environment).flatMap((name) => {
    if (!name.startsWith('MTM_') || known.includes(name)) return [];
    const nearest = nearestName(name, known);
    return nearest !== undefined && nearest.distance <= 2
      ? [`the environment variable ${name} is unknown; the nearest known one is ${nearest.name}`]
      : [];
  });
}

function keysAt(path: readonly PropertyKey[]): string[] {
  if (path[0] === 'peers') return ['id', 'host', 'port', 'conninfo'];
  const names = settings.filter((setting) => path.every((key, index) => setting.path[index] === key));
  return [...new Set(names.map((setting) => setting.path[path.length] ?? ''))].filter((name) => name !== '');
}

function valueAt(tree: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (value, key) => (typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined),
    tree,
  );
}

function sentences(
  issue: z.core.$ZodIssue,
  tree: Tree,
  places: ReadonlyMap<string, string>,
  file: string,
): string[] {
  const name = issue.path.join('.');
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => {
      const full = [...issue.path, key].join('.');
      const nearest = nearestName(key, keysAt(issue.path));
      const prefix = issue.path.length === 0 ? '' : `${name}.`;
      const known = `${prefix}${nearest?.name ?? ''}`;
      return `${file}: the setting ${full} is unknown; the nearest known one is ${known}`;
    });
  }
  const place = places.get(name) ?? `${file}: ${name}`;
  const value = valueAt(tree, issue.path);
  const setting = settings.find((candidate) => candidate.name === name);
  if (value === undefined) {
    const others = setting === undefined ? '' : ` (or ${setting.variable}, or --${setting.flag})`;
    return [`${file}: ${name} is missing${others}${setting === undefined ? '' : `: ${setting.description}`}`];
  }
  const shown = isSecret(name) || typeof value === 'object' ? '' : `, not ${JSON.stringify(value)}`;
  const message =
    issue.code === 'invalid_type'
      ? `must be ${issue.expected === 'object' ? 'a group of settings' : issue.expected}`
      : issue.message;
  return [`${place} ${message}${shown}`];
}

function firstLine(path: string, base: string, what: string): string {
  const text = readText(resolve(base, path), what);
  return text.split(/\r?\n/, 1)[0] ?? '';
}

/** Undefined also when the text makes no sense: that is said elsewhere. */
function refereeOf(config: FileConfig, base: string): RefereeAddress | undefined {
  const file = config.referee_password_file;
  const password =
    file === undefined ? undefined : firstLine(file, base, 'the file named by referee_password_file,');
  const address = parseRefereeAddress(config.referee_connstring);
  if (typeof address === 'string') return undefined;
  const { mode, rootCertFile, certFile, keyFile } = address.tls;
  return {
    ...address,
    password: password ?? address.password,
    tls: {
      mode,
      rootCertFile: absolute(base, rootCertFile),
      certFile: absolute(base, certFile),
      keyFile: absolute(base, keyFile),
    },
  };
}

function readSecrets(config: FileConfig, base: string, problems: string[]) {
  if (config.cluster_secret !== undefined && config.cluster_secret_file !== undefined) {
    problems.push('cluster_secret and cluster_secret_file exclude each other');
  }
  if (config.postgres.password !== undefined && config.postgres.password_file !== undefined) {
    problems.push('postgres.password and postgres.password_file exclude each other');
  }
  const secretFile = config.cluster_secret_file;
  const clusterSecret =
    secretFile === undefined
      ? config.cluster_secret
      : firstLine(secretFile, base, 'the file named by cluster_secret_file,');
  if (clusterSecret === undefined) {
    problems.push(
      'cluster_secret_file is missing: all gateways of a cluster share a secret of at least 16 characters',
    );
  } else if (clusterSecret.length < 16) {
    problems.push(`the cluster secret has ${clusterSecret.length} characters and needs at least 16`);
  }
  const passwordFile = config.postgres.password_file;
  const password =
    passwordFile === undefined
      ? config.postgres.password
      : firstLine(passwordFile, base, 'the file named by postgres.password_file,');
  const referee = refereeOf(config, base);
  return { clusterSecret: clusterSecret ?? '', password, referee };
}

function refereeProblems(config: FileConfig): string[] {
  const { referee_connstring: text, referee_password_file: passwordFile } = config;
  if (text === '') {
    return passwordFile === undefined ? [] : ['referee_password_file is there and referee_connstring is not'];
  }
  const problems: string[] = [];
  const address = parseRefereeAddress(text);
  if (typeof address === 'string') problems.push(`referee_connstring ${address}`);
  else if (address.password !== undefined && passwordFile !== undefined)
    problems.push('referee_password_file and a password in referee_connstring exclude each other');
  const nodes = config.peers.length + 1;
  if (nodes !== 2) {
    const hint = 'leave it out, or name one peer';
    problems.push(`referee_connstring is for clusters of 2 nodes, and ${nodes} are configured: ${hint}`);
  }
  return problems;
}

function contradictions(config: FileConfig): string[] {
  const problems: string[] = [];
  const ids = new Set([config.node_id]);
  for (const peer of config.peers) {
    if (ids.has(peer.id))
      problems.push(`peers: the id ${peer.id} is used twice (node_id is ${config.node_id})`);
    ids.add(peer.id);
  }
  const sendMs = config.heartbeat_send_timeout;
  const receiveMs = config.heartbeat_recv_timeout;
  if (receiveMs < 2 * sendMs) {
    problems.push(
      `heartbeat_recv_timeout (${receiveMs}ms) must be at least twice heartbeat_send_timeout (${sendMs}ms)`,
    );
  }
  if (sendMs < 1) problems.push('heartbeat_send_timeout must be at least 1ms');
  const addresses = new Map<string, string>();
  for (const name of ['listen', 'peer_listen', 'http'] as const) {
    const address = `${config[name].host}:${config[name].port}`;
    const other = addresses.get(address);
    if (other !== undefined) problems.push(`${name} and ${other} are both ${address}`);
    addresses.set(address, name);
  }
  const { database, more_databases: more } = config.postgres;
  problems.push(...databaseProblems(config.cluster_name, database, more), ...refereeProblems(config));
  problems.push(...tlsProblems(config));
  return problems;
}

function tlsProblems({ tls, postgres }: FileConfig): string[] {
  const problems: string[] = [];
  const server = tlsProblem(postgresTls(postgres));
  if (server !== undefined) problems.push(`postgres ${server}`);
  const offered = tls.cert_file !== undefined;
  if (offered !== (tls.key_file !== undefined))
    problems.push('tls needs both cert_file and key_file, or neither');
  if (tls.required && !offered) problems.push('tls.required needs tls.cert_file and tls.key_file');
  if (tls.client_ca_file !== undefined && !offered)
    problems.push('tls.client_ca_file needs tls.cert_file and tls.key_file');
  if (tls.client_cert !== 'optional' && tls.client_ca_file === undefined)
    problems.push(`tls.client_cert: ${tls.client_cert} needs tls.client_ca_file`);
  if (tls.client_users.length > 0 && tls.client_cert !== 'user')
    problems.push('tls.client_users is only for tls.client_cert: user');
  for (const entry of tls.client_users) {
    if (!/^[^=]+=.+$/.test(entry)) problems.push(`tls.client_users: "${entry}" must be name=user`);
  }
  return problems;
}

/** Relative paths are those of the configuration file's folder. */
function absolute(base: string, path: string | undefined): string | undefined {
  return path === undefined ? undefined : resolve(base, path);
}

function withAbsolutePaths(config: FileConfig, base: string): FileConfig {
  const { tls, postgres } = config;
  const { sslrootcert, sslcert, sslkey } = postgres;
  return {
    ...config,
    tls: {
      ...tls,
      cert_file: absolute(base, tls.cert_file),
      key_file: absolute(base, tls.key_file),
      client_ca_file: absolute(base, tls.client_ca_file),
    },
    postgres: {
      ...postgres,
      sslrootcert: absolute(base, sslrootcert),
      sslcert: absolute(base, sslcert),
      sslkey: absolute(base, sslkey),
    },
  };
}

function configError(problems: readonly string[]): GatewayError {
  return new GatewayError('config-invalid', problems.join('\n'));
}

/** What was read: as the code uses it, and as it stands in the file, with absolute paths. */
export interface LoadedSettings {
  readonly config: GatewayConfig;
  readonly file: FileConfig;
}

/** Throws a GatewayError (config-invalid, file-unreadable); its message has one sentence a line. */
export function loadConfig(sources: ConfigSources): GatewayConfig {
  return loadSettings(sources).config;
}

/** As loadConfig. */
export function loadSettings(sources: ConfigSources): LoadedSettings {
  const file = sources.file ?? 'the configuration';
  const tree = sources.file === undefined ? {} : readTree(sources.file);
  const places = new Map<string, string>();
  for (const setting of settings) {
    for (const [place, value] of [
      [`the environment variable ${setting.variable}`, sources.environment[setting.variable]],
      [`--${setting.flag}`, sources.flags[setting.flag]],
    ] as const) {
      if (value === undefined) continue;
      put(tree, setting.path, textValue(setting, value, place));
      places.set(setting.name, place);
    }
  }
  tree['postgres'] ??= {};
  const misspelt = misspeltVariables(sources.environment);
  const parsed = fileSchema.safeParse(tree);
  if (!parsed.success) {
    throw configError([
      ...misspelt,
      ...parsed.error.issues.flatMap((issue) => sentences(issue, tree, places, file)),
    ]);
  }
  const problems = [...misspelt, ...contradictions(parsed.data)];
  const base = sources.file === undefined ? '.' : dirname(sources.file);
  const secrets = readSecrets(parsed.data, base, problems);
  if (problems.length > 0) throw configError(problems);
  const settled = withAbsolutePaths(parsed.data, base);
  return { config: toGatewayConfig(settled, secrets), file: settled };
}
