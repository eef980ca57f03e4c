/**
 * Commands that ask a gateway of the cluster: `status`, `nodes`, `add-node`, `drop-node`. Thin: the SQL
 * functions do the work.
 */
import type { Argv, CommandModule } from 'yargs';
import { loadConfig } from '../config/loading.ts';
import { reachableHost } from '../config/reachable-host.ts';
import { ClusterClient, type Answer, type ClusterTarget } from '../io/cluster-client.ts';
import { GatewayError } from '../lib/gateway-error.ts';
import { configFile, configOption } from './config-options.ts';
import { say, sayRemarks } from './output.ts';
import { listText, objectsOf, tableText } from './table.ts';

interface TargetArguments {
  readonly config: string | undefined;
  readonly url: string | undefined;
}

export interface LookArguments extends TargetArguments {
  readonly json: boolean;
}

export function withTarget<T>(command: Argv<T>) {
  return command
    .option('config', configOption('gateway.yaml of a gateway on this machine'))
    .option('url', {
      type: 'string',
      requiresArg: true,
      describe: 'Any gateway of the cluster: postgresql://user@host:port/database',
    })
    .conflicts('config', 'url');
}

/**
 * One target for each database of the gateway, the first database's first; with a URL the one that it names.
 * Throws config-invalid when no gateway is named.
 */
export function targetsOf(args: TargetArguments): readonly [ClusterTarget, ...ClusterTarget[]] {
  if (args.url !== undefined) return [{ url: args.url }];
  const file = configFile(args);
  if (file === undefined) {
    throw new GatewayError('config-invalid', 'which gateway? name one with --config FILE or --url URL');
  }
  const config = loadConfig({ file, environment: process.env, flags: {} });
  const { listen, postgres, moreDatabases, clientTls } = config;
  const { user, password } = postgres;
  const target = (database: string) => {
    const { port } = listen;
    const encrypted = clientTls.certFile !== undefined;
    return { host: reachableHost(listen.host), port, encrypted, user, password, database };
  };
  return [target(postgres.database), ...moreDatabases.map(target)];
}

/** The same gateway, and that database. Throws config-invalid. */
export function withDatabase(target: ClusterTarget, database: string): ClusterTarget {
  if (!('url' in target)) return { ...target, database };
  if (!URL.canParse(target.url))
    throw new GatewayError('config-invalid', '--url must be postgresql://user@host:port');
  const url = new URL(target.url);
  url.pathname = `/${encodeURIComponent(database)}`;
  return { url: url.href };
}

export async function using<T>(
  client: ClusterClient,
  work: (client: ClusterClient) => Promise<T>,
): Promise<T> {
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

function lookCommand(
  name: 'status' | 'nodes',
  describe: string,
  text: (answer: Answer) => string,
  result: (answer: Answer) => unknown,
): CommandModule<object, LookArguments> {
  return {
    command: name,
    describe,
    builder: (command) =>
      withTarget(command)
        .option('json', { type: 'boolean', default: false, describe: 'The result as JSON' })
        .example(`$0 ${name} --config gateway.yaml`, '')
        .example(`$0 ${name} --url postgresql://postgres@db1:7001/app --json`, ''),
    handler: async (args) => {
      const client = await ClusterClient.openToLook(targetsOf(args)[0]);
      const answer = await using(client, (open) => open[name]());
      say(args.json ? JSON.stringify(result(answer), null, 2) : text(answer));
    },
  };
}

export const statusCommand = lookCommand(
  'status',
  'How a node is, and why it is not online: mtm.status()',
  listText,
  (answer) => objectsOf(answer)[0] ?? {},
);

export const nodesCommand = lookCommand(
  'nodes',
  'The nodes of the cluster: mtm.nodes()',
  tableText,
  objectsOf,
);

export const addNodeCommand: CommandModule<
  object,
  TargetArguments & { readonly address: string; readonly json: boolean }
> = {
  command: 'add-node <address>',
  describe: 'Add a node; then, on its machine, mtm-gateway join copies a server to it',
  builder: (command) =>
    withTarget(command)
      .positional('address', {
        type: 'string',
        demandOption: true,
        describe: 'Where clients will reach its gateway: host=… port=… [peer=host:port]',
      })
      .option('json', { type: 'boolean', default: false, describe: 'The result as JSON' })
      .example(
        `$0 add-node 'host=db4 port=7001' --config gateway.yaml`,
        'its peer port is as far from 7001 as here',
      )
      .example(
        `$0 add-node 'host=db4 port=7001 peer=10.0.0.4:7301' --url postgresql://postgres@db1:7001/app`,
        '',
      ),
  handler: async (args) => {
    const id = await addedEverywhere(targetsOf(args), args.address);
    if (args.json) return say(JSON.stringify({ id }));
    say(`node ${id} was added; it counts when it is online. On its machine:`);
    say(`  1. write its gateway.yaml: node_id: ${id}, name and secret of the cluster, the others as peers`);
    say(
      '  2. mtm-gateway join --config gateway.yaml --from HOST:PORT --pgdata DIR   (the peer address of one)',
    );
    say('  3. start PostgreSQL, then mtm-gateway serve --config gateway.yaml');
    say(`To take it back: mtm-gateway drop-node ${id}`);
  },
};

export const dropNodeCommand: CommandModule<object, TargetArguments & { readonly node: string }> = {
  command: 'drop-node <node>',
  describe: 'Remove a node that was stopped; the others keep nothing for it any more',
  builder: (command) =>
    withTarget(command)
      .positional('node', { type: 'string', demandOption: true, describe: 'Its id, as in mtm-gateway nodes' })
      .example('$0 drop-node 3 --config gateway.yaml', 'after the gateway of node 3 was stopped'),
  handler: async (args) => {
    const node = nodeNumber(args.node);
    let removed = false;
    for (const target of targetsOf(args)) {
      const remarks = await using(await ClusterClient.open(target), (open) => open.dropNode(node));
      sayRemarks(remarks);
      removed ||= remarks.length === 0;
    }
    if (removed) say(`node ${node} was removed; to return it, add it as a new node with a new copy`);
  },
};

/** The databases of a gateway have their nodes for themselves; the same node has the same id in all. */
async function addedEverywhere(targets: readonly ClusterTarget[], address: string): Promise<number> {
  const ids: number[] = [];
  for (const target of targets)
    ids.push(await using(await ClusterClient.open(target), (open) => open.addNode(address)));
  const id = ids[0]!;
  if (ids.every((each) => each === id)) return id;
  throw new GatewayError(
    'command-refused',
    `the databases of the cluster gave the new node different ids (${ids.join(', ')})`,
    {
      hint: 'drop these ids again in each database (SELECT mtm.drop_node(id)) and add the node anew',
    },
  );
}

/** Throws config-invalid. */
function nodeNumber(text: string): number {
  if (/^[1-9][0-9]?$/.test(text)) return Number(text);
  throw new GatewayError('config-invalid', `the id of a node is a number such as 3, not ${text}`);
}
