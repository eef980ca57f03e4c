/** `mtm-gateway serve`: one gateway in front of one PostgreSQL, until a signal. */
import type { CommandModule } from 'yargs';
import { createLog } from '../telemetry/log.ts';
import { settingsOf, withConfigOptions } from './config-options.ts';
import { endOfNpm, stopSignals } from './signals.ts';

export const serveCommand: CommandModule<object, { config: string | undefined }> = {
  command: 'serve',
  describe: 'Run one gateway in front of one PostgreSQL',
  builder: (command) =>
    withConfigOptions(command)
      .example('$0 serve --config gateway.yaml', '')
      .example('MTM_LISTEN_PORT=6432 $0 serve --config gateway.yaml', 'a setting from the environment')
      .example('$0 serve --config gateway.yaml --log-level debug', 'a setting from a flag')
      .epilogue(
        'SIGHUP reads the settings again, as RELOAD in the admin console does; SIGTERM and SIGINT end the ' +
          'gateway in good order.',
      ),
  handler: async (args) => {
    const read = () => settingsOf(args);
    const settings = read();
    const log = createLog(settings.config.logLevel);
    process.on('uncaughtException', (err) => {
      log.fatal({ err }, 'a bug: the gateway stops');
      process.exit(70);
    });
    // Before the rest of the program is read: as process 1 of a container it would hear no signal otherwise.
    const signal = Promise.race([stopSignals(() => process.exit(1), ['SIGINT', 'SIGTERM']), endOfNpm()]);
    const { startGateway } = await import('../node/gateway.ts');
    let shutDown = (): void => undefined;
    const ordered = new Promise<'SHUTDOWN'>((resolve) => (shutDown = () => resolve('SHUTDOWN')));
    // Whoever starts may be told to read again what it has just read.
    let reload = (): void => undefined;
    process.on('SIGHUP', () => reload());
    const gateway = await Promise.race([startGateway(settings, log, { read, shutDown }), signal]);
    if (typeof gateway === 'string') {
      log.info('stopped while starting');
      return;
    }
    // The log says how it ended.
    reload = () => void gateway.reload().catch(() => undefined);
    const stop = () => {
      log.info('stopping');
      return gateway.stop();
    };
    await Promise.race([Promise.race([signal, ordered]).then(stop), gateway.done]);
  },
};
