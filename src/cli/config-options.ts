/** What `serve` and `check` share: --config and one flag for each setting. */
import type { Argv } from 'yargs';
import { loadSettings, type LoadedSettings } from '../config/loading.ts';
import type { GatewayConfig } from '../config/schema.ts';
import { isSecret, settings } from '../config/settings.ts';

const group = 'Settings (config/README.md says more)';

export function withConfigOptions<T>(command: Argv<T>): Argv<T & { config: string | undefined }> {
  let result = command.option('config', {
    alias: 'c',
    type: 'string',
    requiresArg: true,
    describe: 'The file with the settings (or the variable MTM_CONFIG)',
  });
  for (const setting of settings) {
    // A secret on the command line could be read by everybody on the machine.
    if (isSecret(setting.name)) continue;
    result = result.option(setting.flag, {
      type: 'string',
      requiresArg: true,
      describe: setting.description,
      group,
    });
  }
  return result;
}

/** File < environment < flags. Throws GatewayError. */
export function configOf(args: Readonly<Record<string, unknown>>): GatewayConfig {
  return settingsOf(args).config;
}

/** As configOf. */
export function settingsOf(args: Readonly<Record<string, unknown>>): LoadedSettings {
  const given = args['config'] ?? process.env['MTM_CONFIG'];
  return loadSettings({
    file: typeof given === 'string' ? given : undefined,
    environment: process.env,
    flags: args,
  });
}
