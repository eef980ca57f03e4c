/** `mtm-gateway serve`: one gateway in front of one PostgreSQL, until a signal. */
import type { CommandModule } from 'yargs';
import { createLog } from '../telemetry/log.ts';
import { configOf, withConfigOptions } from './config-options.ts';
import { endOfNpm, stopSignals } from './signals.ts';

export const serveCommand: CommandModule<object, { config: string | undefined }> = {
  command: 'serve',
  describe: 'Run one gateway in front of one PostgreSQL',
  builder: (command) =>
    withConfigOptions(command)
      .example('$0 serve --config gateway.yaml', '')
      .example('MTM_LISTEN_PORT=6432 $0 serve --config gateway.yaml', 'a setting from the environment')
      .example('$0 serve --config gateway.yaml --log-level debug', 'a setting from a flag'),
  handler: async (args) => {
    const config = configOf(args);
    const log = createLog(config.logLevel);
    process.on('uncaughtException', (err) => {
      log.fatal({ err }, 'a bug: the gateway stops');
      process.exit(70);
    });
    // Before the rest of the program is read: as process 1 of a container it would hear no signal otherwise.
    const signal = Promise.race([stopSignals(() => process.exit(1)), endOfNpm()]);
    const { startGateway } = await import('../node/gateway.ts');
    const gateway = await Promise.race([startGateway(config, log), signal]);
    if (typeof gateway === 'string') {
      log.info('stopped while starting');
      return;
    }
    const stop = () => {
      log.info('stopping');
      return gateway.stop();
    };
    await Promise.race([signal.then(stop), gateway.done]);
  },
};
