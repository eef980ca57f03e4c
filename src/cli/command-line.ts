/**
 * The command line: one command a file, put together here. Rule: what is expected to go wrong (GatewayError,
 * a wrong flag) is one clear sentence on standard error and an exit code; a stack trace means a bug of ours.
 * Exit codes: 0 done, 1 failed, 2 wrong configuration or usage, 70 our own bug.
 */
import yargs, { type Argv } from 'yargs';
import { nearestName } from '../config/nearest-name.ts';
import { settings } from '../config/settings.ts';
import { gatewayVersion } from '../config/version.ts';
import { GatewayError } from '../lib/gateway-error.ts';
import { serveCommand } from './serve.ts';

/** A wrong flag or command, in yargs' words. */
class UsageError extends Error {
  override readonly name = 'UsageError';
}

const commandNames = [
  ...['dev', 'init', 'serve', 'check', 'reload', 'status', 'nodes', 'add-node', 'join', 'drop-node'],
  ...['compare', 'repair', 'check-query', 'alter-sequences', 'completion'],
  ...['prepare-upgrade', 'forget-cluster'],
  ...['start', 'stop', 'drop'],
];
const flagNames = [
  'config',
  'json',
  'nodes',
  'port',
  'data',
  'pg',
  'restart',
  'node',
  'only',
  'from',
  'pgdata',
  'pg-bin',
  'url',
  ...['referee', 'databases'],
  ...['database', 'cluster', 'dir', 'postgres-port', 'user', 'password-file'],
  ...['undo', 'wait', 'for'],
  ...['table', 'exclude', 'jobs', 'details', 'max-time', 'verbose'],
  ...['key', 'all-differences', 'max-rows', 'dry-run', 'apply', 'yes'],
  'help',
  'version',
];

/** `Unknown argument: x` of yargs, with what was probably meant. */
function usageSentence(message: string): string {
  const unknown = /^Unknown (?:arguments?|commands?): ([^,\s]+)/.exec(message)?.[1];
  if (unknown === undefined) return message;
  const flags = [...flagNames, ...settings.map((setting) => setting.flag)];
  const flag = nearestName(unknown, flags);
  const command = nearestName(unknown, commandNames);
  if (flag === undefined || command === undefined) return message;
  const meant = command.distance < flag.distance ? command.name : `--${flag.name}`;
  return `${unknown} is unknown here; the nearest known name is ${meant}`;
}

/** Settings are flags of `serve` and `check`, and too many to be offered before a dash was typed. */
function complete(
  current: string,
  _args: unknown,
  usual: (done: (error: Error | null, words?: string[]) => void) => void,
  done: (words: string[]) => void,
): void {
  usual((_error, words = []) =>
    done(words.filter((word) => current.startsWith('-') || !word.startsWith('-'))),
  );
}

/** A gateway that runs for months keeps what was read: for `serve` nothing of the other commands is. */
async function withCommands(words: Argv, first: string | undefined): Promise<Argv> {
  if (first === 'serve') return words.command(serveCommand);
  const { addCommands } = await import('./commands.ts');
  return addCommands(words);
}

async function commandLine(args: readonly string[]): Promise<Argv> {
  const words = yargs([...args])
    .scriptName('mtm-gateway')
    .usage('$0: synchronous multi-master for stock PostgreSQL 15-18\n\nUsage: $0 <command> [options]');
  return (await withCommands(words, args[0]))
    .completion('completion', 'Print a script for the completion of bash or zsh', complete)
    .demandCommand(1, 'which command? mtm-gateway --help lists them')
    .example('$0 dev', 'three nodes on this machine, on ports 7001, 7002 and 7003')
    .example('$0 init --nodes db1,db2,db3 --database app', 'the files of three nodes')
    .example('$0 serve --config gateway.yaml', 'one gateway in front of one PostgreSQL')
    .example('$0 check --config gateway.yaml', 'what has to change on the server')
    .example('$0 nodes --config gateway.yaml', 'the nodes of the cluster, and which are connected')
    .epilogue(
      'Settings: config/README.md. Every setting can be a line in the file, a variable MTM_… or a flag.',
    )
    .strict()
    .help()
    .alias('help', 'h')
    .version(gatewayVersion())
    .wrap(Math.min(110, process.stdout.columns ?? 110))
    .exitProcess(false)
    .fail((message: string, error: Error | undefined) => {
      throw error instanceof Error && error.name !== 'YError'
        ? error
        : new UsageError(usageSentence(message));
    });
}

/** Prints the failure; returns the exit code. */
function failure(error: unknown): number {
  if (error instanceof GatewayError) {
    const hint = error.code === 'config-invalid' || error.hint === '' ? '' : `\n  what to do: ${error.hint}`;
    process.stderr.write(`mtm-gateway: ${error.message}${hint}\n`);
    return error.code === 'config-invalid' || error.code === 'file-unreadable' ? 2 : 1;
  }
  if (error instanceof UsageError) {
    process.stderr.write(`mtm-gateway: ${error.message}\n`);
    return 2;
  }
  process.stderr.write(
    `mtm-gateway: a bug: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
  );
  return 70;
}

/** Runs one command to its end and returns the exit code. */
export async function runCommandLine(args: readonly string[]): Promise<number> {
  process.exitCode = 0;
  try {
    await (await commandLine(args)).parseAsync();
    return Number(process.exitCode);
  } catch (error) {
    return failure(error);
  }
}
