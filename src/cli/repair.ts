/**
 * `mtm-gateway repair`: rows of other nodes become those of a chosen one. Thin: a gateway does it
 * (src/node/repair-desk.ts).
 * Rule: nothing is changed without --apply and a yes. What is changed is shown before, and compared behind
 * it.
 * Exit codes: 0 the rows are the same (or a dry run), 1 rows still differ, 2 usage, 3 it could not be done.
 */
import { createInterface } from 'node:readline/promises';
import type { Argv, CommandModule } from 'yargs';
import { mostItems, type NodeRepair, type RepairOptions } from '../core/comparison/repair.ts';
import { ClusterClient } from '../io/cluster-client.ts';
import { GatewayError } from '../lib/gateway-error.ts';
import { using, withTarget, type LookArguments } from './cluster-commands.ts';
import { say } from './output.ts';
import { chosenTargets, compareWith, reported } from './compare.ts';
import { nodesText } from './comparison-text.ts';
import { CopyProgressLine } from './copy-progress.ts';

interface RepairArguments extends LookArguments {
  readonly from: number;
  readonly table: string;
  readonly node: number[] | undefined;
  readonly key: string[] | undefined;
  readonly 'all-differences': boolean;
  readonly 'max-rows': number;
  readonly database: string | undefined;
  readonly apply: boolean;
  readonly 'dry-run': boolean;
  readonly yes: boolean;
}

const mostRows = 10_000;

function withOptions(command: Argv): Argv<RepairArguments> {
  return withTarget(command)
    .option('from', {
      type: 'number',
      demandOption: true,
      requiresArg: true,
      describe: 'The node whose rows are right',
    })
    .option('table', {
      type: 'string',
      demandOption: true,
      requiresArg: true,
      describe: 'name or schema.name',
    })
    .option('node', {
      type: 'number',
      array: true,
      requiresArg: true,
      describe: 'Only this node is changed; all others otherwise',
    })
    .option('key', {
      type: 'string',
      array: true,
      requiresArg: true,
      describe: `A key as compare shows it: 42, or '["a", "b"]' for several columns`,
    })
    .option('all-differences', { type: 'boolean', default: false, describe: 'All rows that differ' })
    .option('max-rows', {
      type: 'number',
      default: mostRows,
      requiresArg: true,
      describe: 'Stop after so many; then join the node anew',
    })
    .option('database', {
      type: 'string',
      requiresArg: true,
      describe: 'Of the gateway; its first one otherwise',
    })
    .option('dry-run', {
      type: 'boolean',
      default: false,
      describe: 'Only show what would be done; the default',
    })
    .option('apply', { type: 'boolean', default: false, describe: 'Do it' })
    .option('yes', { type: 'boolean', default: false, describe: 'Do not ask' })
    .option('json', { type: 'boolean', default: false, describe: 'One line of JSON for each step' })
    .example('$0 repair --from 1 --table accounts --key 42 --config gateway.yaml', 'what would be done')
    .example('$0 repair --from 1 --table accounts --all-differences --apply --config gateway.yaml', '')
    .epilogue(
      'The change is made on the nodes that differ alone, and not replicated. Commits wait for less than ' +
        '3 s for each 25 rows. Each gateway logs what it changed.\n' +
        'Exit codes: 0 done, 1 rows still differ, 2 usage, 3 not done.',
    ) as unknown as Argv<RepairArguments>;
}

export const repairCommand: CommandModule<object, RepairArguments> = {
  command: 'repair',
  describe: 'Make rows of a table on other nodes those of one node; shows what it would do',
  builder: withOptions,
  handler: async (args) => {
    const keys = keysOf(args);
    if (args.apply && args['dry-run'])
      throw new GatewayError('config-invalid', '--apply and --dry-run are one or the other');
    if (args.apply && !args.yes && !process.stdin.isTTY)
      throw new GatewayError('config-invalid', '--apply without a terminal needs --yes');
    const [first] = chosenTargets(args);
    process.exitCode = await reported(async () =>
      using(await ClusterClient.open(first), (client) => repairWith(client, args, keys)),
    );
  },
};

/** Undefined: all rows that differ. Throws config-invalid. */
export function keysOf({
  key,
  'all-differences': all,
}: Pick<RepairArguments, 'key' | 'all-differences'>): string[][] | undefined {
  if (all && key !== undefined)
    throw new GatewayError('config-invalid', '--key and --all-differences are one or the other');
  if (all) return undefined;
  if (key === undefined)
    throw new GatewayError('config-invalid', 'which rows? name them with --key, or --all-differences');
  if (key.length > mostItems)
    throw new GatewayError('config-invalid', `--key can be given ${mostItems} times; use --all-differences`);
  return key.map((text) => {
    if (!text.startsWith('[')) return [text];
    try {
      const list: unknown = JSON.parse(text);
      if (Array.isArray(list))
        return list.map((each) => (typeof each === 'string' ? each : JSON.stringify(each)));
    } catch {
      // said below
    }
    throw new GatewayError('config-invalid', `a key of several columns is a JSON array, not ${text}`);
  });
}

async function repairWith(
  client: ClusterClient,
  args: RepairArguments,
  keys: string[][] | undefined,
): Promise<number> {
  const options: RepairOptions = {
    from: args.from,
    table: args.table,
    apply: false,
    ...(args.node === undefined ? {} : { nodes: args.node }),
    ...(keys === undefined ? {} : { keys }),
  };
  const plan = await client.repairRows(options);
  const tell = (what: string, value: object): void => {
    say(args.json ? JSON.stringify(value) : what);
  };
  if (plan.statements.length === 0) {
    tell(`nothing to repair: these rows of ${plan.table} are those of node ${args.from}`, {
      nothing: plan.table,
    });
    return 0;
  }
  for (const { node, sql } of plan.statements) tell(`node ${node}: ${sql}`, { node, sql });
  if (plan.more) tell('… and more rows, which are found when these are repaired', { more: true });
  if (!args.apply) {
    tell('This is a dry run: nothing was changed. --apply does it, on these nodes alone.', { dryRun: true });
    return 0;
  }
  if (!args.yes && !(await confirmed(plan.statements.map(({ node }) => node)))) {
    say('nothing was changed');
    return 3;
  }
  const done = await repairAll(client, { ...options, apply: true }, args['max-rows']);
  for (const each of done.nodes)
    tell(
      `node ${each.node}: ${each.rows} keys repaired, ` +
        `${each.deleted} rows deleted, ${each.inserted} inserted`,
      each,
    );
  if (done.stopped)
    tell('more rows differ than --max-rows: dropping the node and joining it anew is safer', {
      stopped: true,
    });
  const compared = { ...args, table: [args.table], exclude: undefined, jobs: 2, details: 10, verbose: true };
  const progress = new CopyProgressLine(process.stderr, undefined, 'comparing');
  return compareWith(client, { ...compared, 'max-time': undefined }, progress);
}

async function confirmed(nodes: readonly number[]): Promise<boolean> {
  const asked = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await asked.question(`Change ${nodesText([...new Set(nodes)])}? yes or no: `);
    return answer.trim().toLowerCase() === 'yes';
  } finally {
    asked.close();
  }
}

/** Pass by pass, until nothing is left or `most` rows are done. */
async function repairAll(
  client: ClusterClient,
  options: RepairOptions,
  most: number,
): Promise<{ readonly nodes: readonly NodeRepair[]; readonly stopped: boolean }> {
  const sums = new Map<number, NodeRepair>();
  for (;;) {
    const { nodes, more } = await client.repairRows(options);
    for (const each of nodes) {
      const former = sums.get(each.node) ?? { node: each.node, rows: 0, deleted: 0, inserted: 0 };
      sums.set(each.node, {
        node: each.node,
        rows: former.rows + each.rows,
        deleted: former.deleted + each.deleted,
        inserted: former.inserted + each.inserted,
      });
    }
    const changed = nodes.some(({ rows }) => rows > 0);
    const all = [...sums.values()];
    if (!more || !changed) return { nodes: all, stopped: false };
    if (all.some(({ rows }) => rows >= most)) return { nodes: all, stopped: true };
  }
}
