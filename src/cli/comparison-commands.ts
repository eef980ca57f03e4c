/**
 * Commands that look after what the nodes have in common: `check-query`, `alter-sequences`. Thin: the SQL
 * functions do the work. With several databases each is asked.
 */
import type { CommandModule } from 'yargs';
import { ClusterClient } from '../io/cluster-client.ts';
import { targetsOf, using, withTarget, type LookArguments } from './cluster-commands.ts';
import { say } from './output.ts';

const asJson = { type: 'boolean', default: false, describe: 'The result as JSON' } as const;

export const checkQueryCommand: CommandModule<object, LookArguments & { readonly query: string }> = {
  command: 'check-query <query>',
  describe: 'Run a query on all nodes at the same moment and compare the results; exit code 1 if they differ',
  builder: (command) =>
    withTarget(command)
      .positional('query', { type: 'string', demandOption: true, describe: 'It needs an ORDER BY' })
      .option('json', asJson)
      .example(`$0 check-query 'SELECT * FROM accounts ORDER BY id' --config gateway.yaml`, ''),
  handler: async (args) => {
    const client = await ClusterClient.open(targetsOf(args)[0]);
    const { equal, remarks } = await using(client, (open) => open.checkQuery(args.query));
    if (!equal) process.exitCode = 1;
    if (args.json) return say(JSON.stringify({ equal, remarks }));
    for (const remark of remarks) say(remark);
    say(equal ? 'the nodes agree' : 'the nodes DIFFER');
  },
};

export const alterSequencesCommand: CommandModule<object, LookArguments> = {
  command: 'alter-sequences',
  describe: 'Spread the values of all sequences over the nodes anew: mtm.alter_sequences()',
  builder: (command) =>
    withTarget(command)
      .option('json', asJson)
      .example('$0 alter-sequences --config gateway.yaml', 'after sequences were changed past the gateways'),
  handler: async (args) => {
    for (const target of targetsOf(args)) {
      const client = await ClusterClient.open(target);
      const { altered, remarks } = await using(client, (open) => open.alterSequences());
      if (args.json) {
        say(JSON.stringify({ altered, remarks }));
        continue;
      }
      for (const remark of remarks) say(remark);
      say(altered ? 'the sequences were altered on all nodes' : 'nothing had to be altered');
    }
  },
};
