/**
 * `mtm-gateway prepare-upgrade`, on the machine of a node whose PostgreSQL is to become one of a newer major
 * version: the node leaves its server, so that what pg_upgrade makes of it can take its place.
 */
import type { CommandModule } from 'yargs';
import { loadConfig } from '../config/loading.ts';
import type { GatewayConfig } from '../config/schema.ts';
import { createLog } from '../telemetry/log.ts';
import { say } from './output.ts';
import { configFile, configOption } from './config-options.ts';

interface UpgradeArguments {
  readonly config: string | undefined;
  readonly for: 'pg_upgrade' | 'dump';
  readonly wait: number;
  readonly undo: boolean;
}

const steps = {
  pg_upgrade: [
    '  1. stop PostgreSQL and run pg_upgrade as for any server; give the new one the settings of the old one',
    '     (wal_level = logical and so on), pg_hba.conf and its port',
  ],
  dump: [
    '  1. dump it (pg_dumpall --globals-only, pg_dump of each database), stop it, restore that into an',
    '     empty server with the settings of the old one (wal_level = logical and so on) and its port',
  ],
} as const;

function nextSteps(args: UpgradeArguments): string {
  const file = configFile(args) ?? 'gateway.yaml';
  return [
    'The node has left its PostgreSQL. Nobody may write to it any more. Now:',
    ...steps[args.for],
    `  2. start it, then mtm-gateway serve --config ${file}: it catches up with what it misses meanwhile`,
    `To give it up: mtm-gateway prepare-upgrade --undo --config ${file}, then serve with the old server`,
  ].join('\n');
}

async function prepare(args: UpgradeArguments, config: GatewayConfig): Promise<void> {
  // What goes wrong is said in one sentence; the log tells the way there.
  const log = createLog(config.logLevel === 'info' ? 'warn' : config.logLevel);
  const { departFromServer } = await import('../node/departing.ts');
  await departFromServer(config, log, { counted: args.for === 'dump', waitMs: args.wait * 1000, say });
  say(nextSteps(args));
}

export const prepareUpgradeCommand: CommandModule<object, UpgradeArguments> = {
  command: 'prepare-upgrade',
  describe: 'Leave the PostgreSQL of this node, for pg_upgrade to a newer major version',
  builder: (command) =>
    command
      .option('config', configOption('gateway.yaml of this node, whose gateway was stopped'))
      .option('for', {
        choices: ['pg_upgrade', 'dump'] as const,
        default: 'pg_upgrade' as const,
        describe: 'How the new server is made; dump also counts the rows, to be compared later',
      })
      .option('wait', {
        type: 'number',
        default: 60,
        requiresArg: true,
        describe: 'Seconds within which the other nodes must be online without this one',
      })
      .option('undo', {
        type: 'boolean',
        default: false,
        describe: 'Stay on the server that was prepared',
      })
      .example('$0 prepare-upgrade --config gateway.yaml', 'then pg_upgrade, then serve')
      .example('$0 prepare-upgrade --config gateway.yaml --undo', '')
      .epilogue('The other nodes go on, and keep what this one misses. config/README.md has all steps.'),
  handler: async (args) => {
    const file = configFile(args);
    const config = loadConfig({ file, environment: process.env, flags: {} });
    if (!args.undo) return prepare(args, config);
    const { stayOnServer } = await import('../node/departing.ts');
    const undone = await stayOnServer(config);
    say(
      undone.length === 0
        ? 'nothing was prepared'
        : `the node stays: ${undone.join(', ')}; start its gateway`,
    );
  },
};
