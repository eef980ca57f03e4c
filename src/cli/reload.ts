/** `mtm-gateway reload`: tells a running gateway to read its settings again, through its admin console. */
import type { CommandModule } from 'yargs';
import { consoleDatabase } from '../config/databases.ts';
import { ClusterClient } from '../io/cluster-client.ts';
import { targetsOf, using, withDatabase, withTarget, type LookArguments } from './cluster-commands.ts';
import { say } from './output.ts';

export const reloadCommand: CommandModule<object, LookArguments> = {
  command: 'reload',
  describe: 'Let a gateway read its settings again; no session notices, and it is all or nothing',
  builder: (command) =>
    withTarget(command)
      .option('json', { type: 'boolean', default: false, describe: 'The result as JSON' })
      .example('$0 reload --config gateway.yaml', 'the gateway of this file, on this machine')
      .example('$0 reload --url postgresql://postgres@db1:7001', 'the same from elsewhere')
      .epilogue(
        'Settings that need a restart refuse the whole; the table in config/README.md tells which. ' +
          'SIGHUP does the same, and the command RELOAD of the admin console.',
      ),
  handler: async (args) => {
    const client = await ClusterClient.open(withDatabase(targetsOf(args)[0], consoleDatabase));
    const [text = ''] = await using(client, (open) => open.reload());
    const list = /^changed: (.*)$/.exec(text)?.[1];
    if (args.json) say(JSON.stringify({ changed: list === undefined ? [] : list.split(', ') }));
    else say(text);
  },
};
