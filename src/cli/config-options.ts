/** The option --config of all commands; beside it, for `serve` and `check`, one flag for each setting. */
import type { Argv } from 'yargs';
import { loadSettings, type LoadedSettings } from '../config/loading.ts';
import { isSecret, settings } from '../config/settings.ts';

const group = 'Settings (config/README.md says more)';

/** --config; `describe`: whose file it is. */
export function configOption(describe: string) {
  return {
    alias: 'c',
    type: 'string',
    requiresArg: true,
    describe: `${describe} (or the variable MTM_CONFIG)`,
  } as const;
}

/** Undefined: none is named. */
export function configFile(args: { readonly config: string | undefined }): string | undefined {
  return args.config ?? process.env['MTM_CONFIG'];
}

export function withConfigOptions<T>(command: Argv<T>): Argv<T & { config: string | undefined }> {
  let result = command.option('config', configOption('The file with the settings'));
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
export function settingsOf(args: Readonly<Record<string, unknown>>): LoadedSettings {
  const { config } = args;
  const file = configFile({ config: typeof config === 'string' ? config : undefined });
  return loadSettings({ file, environment: process.env, flags: args });
}
