/**
 * `mtm-gateway forget-cluster`: makes of a server that was restored from a backup the first one of a new
 * cluster.
 */
import type { CommandModule } from 'yargs';
import { configsByDatabase } from '../config/databases.ts';
import { loadConfig } from '../config/loading.ts';
import { forgetCluster } from '../io/store/forgetting.ts';
import { say } from './output.ts';
import { configFile, configOption } from './config-options.ts';

export const forgetClusterCommand: CommandModule<object, { readonly config: string | undefined }> = {
  command: 'forget-cluster',
  describe: 'After a restore: the server forgets its cluster, and can begin a new one',
  builder: (command) =>
    command
      .option('config', configOption('gateway.yaml for the restored server; its gateway does not run'))
      .example('$0 forget-cluster --config gateway.yaml', 'then another cluster_name, copies, serve')
      .epilogue(
        'Never on a node of a cluster that lives: it could not come back. config/README.md has all steps.',
      ),
  handler: async (args) => {
    const file = configFile(args);
    const config = loadConfig({ file, environment: process.env, flags: {} });
    for (const { postgres } of configsByDatabase(config)) {
      const name = await forgetCluster(postgres);
      say(
        `database ${postgres.database}: ${name === undefined ? 'it knew of none' : `"${name}" is forgotten`}`,
      );
    }
    say('Now: another cluster_name in gateway.yaml of all nodes; then copy this server to the others.');
  },
};
