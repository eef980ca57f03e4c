/**
 * `mtm-gateway init`: writes what each node of a new cluster needs, a folder for each machine: gateway.yaml
 * and the secret that they share. What flags do not say is asked, when somebody sits at a terminal.
 * Rule: nothing is ever overwritten; either all files are written or none.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { createInterface } from 'node:readline/promises';
import type { CommandModule } from 'yargs';
import { loadConfig } from '../config/loading.ts';
import { GatewayError } from '../lib/gateway-error.ts';
import { say } from './output.ts';

export interface InitArguments {
  readonly nodes: string | undefined;
  readonly database: string | undefined;
  readonly cluster: string;
  readonly dir: string;
  readonly port: number;
  readonly 'postgres-port': number;
  readonly user: string;
  readonly 'password-file': string | undefined;
  readonly referee: string | undefined;
  readonly json: boolean;
}

export interface PlannedNode {
  readonly id: number;
  readonly host: string;
  readonly port: number;
  readonly peerPort: number;
  readonly httpPort: number;
  readonly postgresPort: number;
}

interface PlannedFile {
  readonly path: string;
  readonly text: string;
  readonly mode: number;
}

const secretName = 'cluster.secret';
const mostNodes = 64;

function wrong(message: string): GatewayError {
  return new GatewayError('config-invalid', message);
}

/** `db1,db2:6432,[::1]`: several nodes on one machine get ports of their own. Throws config-invalid. */
export function plannedNodes(list: string, port: number, postgresPort: number): PlannedNode[] {
  const names = list.split(/[\s,]+/).filter((name) => name !== '');
  if (names.length < 1 || names.length > mostNodes)
    throw wrong(`--nodes must name 1 to ${mostNodes} machines, such as db1,db2,db3`);
  const seen = new Map<string, number>();
  return names.map((name, index) => {
    const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9_.-]+))(?::([0-9]{1,5}))?$/.exec(name);
    const host = match?.[1] ?? match?.[2];
    if (host === undefined) throw wrong(`--nodes: ${name} is no machine: HOST, HOST:PORT or [ADDRESS]:PORT`);
    const before = seen.get(host) ?? 0;
    seen.set(host, before + 1);
    const own = match?.[3] === undefined ? port + before : Number(match[3]);
    if (own < 1 || own + 300 > 65_535) throw wrong(`--nodes: the port ${own} of ${host} must be 1 to 65235`);
    const ports = {
      port: own,
      httpPort: own + 200,
      peerPort: own + 300,
      postgresPort: postgresPort + before,
    };
    return { id: index + 1, host, ...ports };
  });
}

/** In YAML any JSON text is a scalar, also where the bare word would be a number or null. */
const scalar = (text: string): string => JSON.stringify(text);

/** The gateway.yaml of one of the nodes. */
export function gatewayFile(
  node: PlannedNode,
  nodes: readonly PlannedNode[],
  args: Pick<InitArguments, 'cluster' | 'user' | 'password-file' | 'referee'> & { readonly database: string },
): string {
  const listenHost = isLoopback(node.host) ? node.host : '0.0.0.0';
  const conninfo = ({ host, port }: PlannedNode): string =>
    `postgresql://${host.includes(':') ? `[${host}]` : host}:${port}/${encodeURIComponent(args.database)}`;
  const password = args['password-file'];
  const peers = nodes.filter(({ id }) => id !== node.id);
  return [
    `# Node ${node.id} of ${nodes.length}, made by mtm-gateway init. All settings: config/README.md.`,
    `# mtm-gateway check --config gateway.yaml tells what is missing on this machine.`,
    `node_id: ${node.id}`,
    `cluster_name: ${scalar(args.cluster)}`,
    `cluster_secret_file: ${secretName}`,
    '',
    '# Clients, the other gateways, and health (reachable from this machine only).',
    `listen: {host: ${scalar(listenHost)}, port: ${node.port}}`,
    `peer_listen: {host: ${scalar(listenHost)}, port: ${node.peerPort}}`,
    `http: {host: 127.0.0.1, port: ${node.httpPort}}`,
    '',
    '# The PostgreSQL of this node; the user must be a superuser.',
    'postgres:',
    '  host: 127.0.0.1',
    `  port: ${node.postgresPort}`,
    `  user: ${scalar(args.user)}`,
    password === undefined ? '  # password_file: postgres.password' : `  password_file: ${scalar(password)}`,
    `  database: ${scalar(args.database)}`,
    '',
    '# conninfo: how clients reach the node.',
    peers.length === 0 ? 'peers: []' : 'peers:',
    ...peers.flatMap((peer) => [
      `  - id: ${peer.id}`,
      `    host: ${scalar(peer.host)}`,
      `    port: ${peer.peerPort}`,
      `    conninfo: ${scalar(conninfo(peer))}`,
    ]),
    ...(args.referee === undefined ? [] : ['', `referee_connstring: ${scalar(args.referee)}`]),
    '',
  ].join('\n');
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}

function plannedFiles(folder: string, nodes: readonly PlannedNode[], args: InitArguments, database: string) {
  // A password may stand in it.
  const mode = args.referee === undefined ? 0o644 : 0o600;
  const secret = `${randomBytes(32).toString('base64url')}\n`;
  return nodes.flatMap((node): PlannedFile[] => {
    const home = join(folder, `node${node.id}`);
    return [
      { path: join(home, secretName), text: secret, mode: 0o600 },
      {
        path: join(home, 'gateway.yaml'),
        text: gatewayFile(node, nodes, { ...args, database }),
        mode,
      },
    ];
  });
}

/** All or none. Throws command-refused, file-unreadable, config-invalid. */
function write(files: readonly PlannedFile[]): void {
  const there = files.find(({ path }) => existsSync(path));
  if (there !== undefined) {
    const hint = 'choose another --dir; to begin anew, take the old one away yourself';
    throw new GatewayError('command-refused', `${there.path} is there already: nothing was written`, {
      hint,
    });
  }
  const written: string[] = [];
  try {
    for (const { path, text, mode } of files) {
      mkdirSync(resolve(path, '..'), { recursive: true });
      writeFileSync(path, text, { mode, flag: 'wx' });
      written.push(path);
    }
    for (const { path } of files) {
      if (path.endsWith('.yaml')) checkFile(path);
    }
  } catch (cause) {
    for (const path of written) rmSync(path);
    if (cause instanceof GatewayError) throw cause;
    const message = `the files could not be written, and none is left: ${(cause as Error).message}`;
    throw new GatewayError('file-unreadable', message, { cause });
  }
}

/** The password is put beside it later. */
function checkFile(path: string): void {
  try {
    loadConfig({ file: path, environment: {}, flags: {} });
  } catch (error) {
    if (!(error instanceof GatewayError) || error.code !== 'file-unreadable') throw error;
  }
}

async function answered(args: InitArguments): Promise<{ nodes: string; database: string }> {
  const { nodes, database } = args;
  if (nodes !== undefined && database !== undefined) return { nodes, database };
  if (!process.stdin.isTTY || args.json) {
    const missing = nodes === undefined ? '--nodes db1,db2,db3' : '--database app';
    throw wrong(`${missing} is missing, and there is no terminal to ask`);
  }
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return {
      nodes:
        nodes ??
        (await lines.question('The machines of the nodes, as the others reach them (db1,db2,db3): ')),
      database: database ?? (await lines.question('The database that the cluster replicates: ')),
    };
  } finally {
    lines.close();
  }
}

function nextSteps(folder: string, nodes: readonly PlannedNode[], args: InitArguments): string {
  const lines = [
    `Each folder of ${folder} belongs on its machine, the secret readable for the gateway only. There:`,
    '  1. give PostgreSQL what it needs and close it to others:  mtm-gateway check --config gateway.yaml',
    '  2. start the gateway:                                     mtm-gateway serve --config gateway.yaml',
    'Before the first start the databases must be equal: empty, or copies of one.',
  ];
  if (nodes.length === 2 && args.referee === undefined)
    lines.push('Two nodes go on only while both are there: name a --referee, or better a third node.');
  return lines.join('\n');
}

async function init(args: InitArguments): Promise<void> {
  const { nodes: list, database } = await answered(args);
  if (database.trim() === '') throw wrong('--database must name the database that the cluster replicates');
  const nodes = plannedNodes(list, args.port, args['postgres-port']);
  const folder = resolve(args.dir);
  const files = plannedFiles(folder, nodes, args, database.trim());
  write(files);
  if (args.json) return say(JSON.stringify({ folder, nodes, files: files.map(({ path }) => path) }, null, 2));
  for (const { path, mode } of files) say(`${mode.toString(8)}  ${relative('.', path)}`);
  say(nextSteps(relative('.', folder) || '.', nodes, args));
}

export const initCommand: CommandModule<object, InitArguments> = {
  command: 'init',
  describe: 'Write gateway.yaml for each node of a new cluster, with a fresh secret',
  builder: (command) =>
    command
      .option('nodes', {
        type: 'string',
        requiresArg: true,
        describe: 'The machines: db1,db2,db3 or db1:7001,…',
      })
      .option('database', { type: 'string', requiresArg: true, describe: 'The database that is replicated' })
      .option('cluster', {
        type: 'string',
        default: 'mtm',
        requiresArg: true,
        describe: 'Name of the cluster',
      })
      .option('dir', { type: 'string', default: 'cluster', requiresArg: true, describe: 'Where to write' })
      .option('port', {
        type: 'number',
        default: 7001,
        requiresArg: true,
        describe: 'Of clients; HTTP is 200 above it, the other gateways 300',
      })
      .option('postgres-port', {
        type: 'number',
        default: 5432,
        requiresArg: true,
        describe: 'Of PostgreSQL',
      })
      .option('user', {
        type: 'string',
        default: 'postgres',
        requiresArg: true,
        describe: 'Superuser of PostgreSQL',
      })
      .option('password-file', {
        type: 'string',
        requiresArg: true,
        describe: 'Its password, as the file is called on the machines of the nodes',
      })
      .option('referee', {
        type: 'string',
        requiresArg: true,
        describe: 'Of two nodes: redis://… or postgres://…',
      })
      .option('json', { type: 'boolean', default: false, describe: 'The result as JSON; nothing is asked' })
      .example('$0 init', 'asks for the machines and the database')
      .example('$0 init --nodes db1,db2,db3 --database app', 'three folders below ./cluster')
      .example('$0 init --nodes db1,db2 --database app --referee redis://db3:6379', 'two nodes and a referee')
      .epilogue(
        'Nothing is overwritten. Exit codes: 0 written, 1 something is there already, 2 wrong answers.',
      ),
  handler: async (args) => {
    await init(args);
  },
};
