/**
 * `mtm-gateway join`, on the machine of a node that was just added: copies a member's server over the peer
 * port into an empty data directory, so that it needs nothing but the gateway's own configuration file.
 */
import { existsSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { CommandModule } from 'yargs';
import { loadConfig } from '../config/loading.ts';
import { serverAccount } from '../io/launcher/account.ts';
import { majorOf, promoteOnce } from '../io/launcher/promotion.ts';
import { formatLsn } from '../io/postgres/lsn-text.ts';
import type { FinishedCopy } from '../io/recovery/base-backup-receiver.ts';
import { removeRestoreSettings } from '../io/recovery/restore-settings.ts';
import type { FileOwner } from '../io/recovery/copy-folder.ts';
import { GatewayError } from '../lib/gateway-error.ts';
import { configFile, configOption } from './config-options.ts';
import { say } from './output.ts';
import { copyServer } from './server-copy.ts';
import { stopSignals } from './signals.ts';

export interface JoinArguments {
  readonly config: string | undefined;
  readonly from: string;
  readonly pgdata: string;
  readonly 'pg-bin': string | undefined;
}

/** `host:port`, `[address]:port`. Throws config-invalid. */
function parsePeerAddress(text: string): { host: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:\s]+)):([0-9]{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  const host = match?.[1] ?? match?.[2];
  if (host !== undefined && port >= 1 && port <= 65_535) return { host, port };
  throw new GatewayError(
    'config-invalid',
    `--from must be HOST:PORT, the peer address of a member, not ${text}`,
  );
}

/** As root, the files belong to whoever has the directory, or to the account that servers run as. */
function ownerOf(folder: string): (FileOwner & { readonly name: string }) | undefined {
  const account = serverAccount();
  if (account === undefined || !existsSync(folder)) return account;
  const { uid, gid } = statSync(folder);
  return uid === 0 ? account : { name: `uid ${uid}`, uid, gid };
}

function nextSteps(copy: FinishedCopy, args: JoinArguments, node: number, ready: boolean): string {
  const file = configFile(args) ?? 'gateway.yaml';
  const start = ready ? '' : ': it recovers to the end of the copy and is then promoted';
  const end = formatLsn(copy.end);
  return [
    `${args.pgdata} is a copy of the server of node ${copy.source} at ${end}. Now:`,
    `  1. look at its settings and pg_hba.conf: those of node ${copy.source} (port, archive_command …)`,
    `  2. start PostgreSQL on it, as this machine usually does${start}`,
    `  3. mtm-gateway serve --config ${file}`,
    'It is online when it has caught up. On any node, this waits for it:',
    `  SELECT mtm.join_node(${node}, '${end}')`,
  ].join('\n');
}

async function join(args: JoinArguments): Promise<void> {
  const from = parsePeerAddress(args.from);
  const binaries = args['pg-bin'];
  const major = binaries === undefined ? undefined : majorOf(binaries);
  const config = loadConfig({
    file: configFile(args),
    environment: process.env,
    flags: {},
  });
  const folder = resolve(args.pgdata);
  const owner = ownerOf(folder);
  const stopping = new AbortController();
  void stopSignals(() => process.exit(1)).then((name) => stopping.abort(new Error(`stopped by ${name}`)));
  const copy = await copyServer({
    config,
    from,
    folder,
    owner,
    signal: stopping.signal,
    accept: (facts) => {
      if (major === undefined || major === facts.major) return;
      const text = `node ${facts.source} runs PostgreSQL ${facts.major}, and ${binaries} has ${major}`;
      throw new GatewayError('copy-failed', text, { hint: 'a copy needs the same major version' });
    },
  });
  if (binaries !== undefined) {
    say('starting PostgreSQL once: it recovers to the end of the copy');
    await promoteOnce(binaries, folder, owner);
    removeRestoreSettings(folder);
  }
  say(nextSteps(copy, args, config.nodeId, binaries !== undefined));
}

export const joinCommand: CommandModule<object, JoinArguments> = {
  command: 'join',
  describe: 'Make the server of a node that was added: a copy of that of a member',
  builder: (command) =>
    command
      .option('config', configOption('gateway.yaml of the new node'))
      .option('from', {
        type: 'string',
        demandOption: true,
        requiresArg: true,
        describe: 'HOST:PORT, the peer address (peer_listen) of a member that is online',
      })
      .option('pgdata', {
        type: 'string',
        demandOption: true,
        requiresArg: true,
        describe: 'The data directory: empty, or not there yet',
      })
      .option('pg-bin', {
        type: 'string',
        requiresArg: true,
        describe: 'Folder with the program postgres: starts the copy once, so that it is ready',
      })
      .example('$0 join --config gateway.yaml --from db1:7301 --pgdata /var/lib/postgresql/18/main', '')
      .example(
        '$0 join -c gateway.yaml --from db1:7301 --pgdata /data --pg-bin /usr/lib/postgresql/18/bin',
        'also lets it recover; afterwards it starts as any server',
      )
      .epilogue(
        'Before: mtm-gateway add-node gives it an id. A copy that is broken off leaves nothing behind.',
      ),
  handler: async (args) => {
    await join(args);
  },
};
