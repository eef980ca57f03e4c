/**
 * `mtm-gateway compare`: all nodes at one logical point. Thin: a gateway compares
 * (src/node/comparison-desk.ts), this shows what it finds, and how far it is.
 * Rule: the comparison lives as long as this connection: Ctrl-C ends both, and frees the snapshots.
 * Exit codes: 0 equal, 1 different, 2 usage, 3 not or not all could be compared.
 */
import type { Argv, CommandModule } from 'yargs';
import type { ComparisonNews, ComparisonProgress } from '../core/comparison/news.ts';
import { comparisonDefaults, mostDetails, mostJobs } from '../core/comparison/options.ts';
import { ClusterClient, type ClusterTarget } from '../io/cluster-client.ts';
import type { CopyProgress } from '../io/recovery/base-backup-receiver.ts';
import { GatewayError } from '../lib/gateway-error.ts';
import { targetsOf, using, withDatabase, withTarget, type LookArguments } from './cluster-commands.ts';
import { say } from './output.ts';
import { newsText, verdictText } from './comparison-text.ts';
import { CopyProgressLine } from './copy-progress.ts';

export interface CompareArguments extends LookArguments {
  readonly table: string[] | undefined;
  readonly exclude: string[] | undefined;
  readonly jobs: number;
  readonly details: number;
  readonly database: string | undefined;
  readonly 'max-time': number | undefined;
  readonly verbose: boolean;
}

const notComparable = 3;
const interrupted = 130;

function withOptions(command: Argv): Argv<CompareArguments> {
  return withTarget(command)
    .option('table', {
      type: 'string',
      array: true,
      requiresArg: true,
      describe: 'Only this one: name, schema.name; * for any',
    })
    .option('exclude', {
      type: 'string',
      array: true,
      requiresArg: true,
      describe: 'Not this one, written in the same way',
    })
    .option('jobs', {
      type: 'number',
      default: comparisonDefaults.jobs,
      describe: `Queries at once on each node, up to ${mostJobs}`,
    })
    .option('details', {
      type: 'number',
      default: comparisonDefaults.details,
      describe: `Rows shown of each table that differs, up to ${mostDetails}`,
    })
    .option('database', {
      type: 'string',
      requiresArg: true,
      describe: 'One database of the gateway; all otherwise',
    })
    .option('max-time', {
      type: 'number',
      requiresArg: true,
      describe: 'Seconds: snapshots are kept no longer',
    })
    .option('verbose', { type: 'boolean', default: false, describe: 'Tables that are equal too' })
    .option('json', {
      type: 'boolean',
      default: false,
      describe: 'One line of JSON for each thing that is found',
    })
    .example('$0 compare --config gateway.yaml', 'definitions, sequences and all rows')
    .example(`$0 compare --table 'sales.*' --exclude sales.log --details 50 --config gateway.yaml`, '')
    .epilogue(
      'Commits wait for a moment at the beginning. Snapshots are kept until the end: meanwhile VACUUM ' +
        'removes nothing on all nodes.\n' +
        'Exit codes: 0 equal, 1 different, 2 usage, 3 something could not be compared.',
    ) as unknown as Argv<CompareArguments>;
}

export const compareCommand: CommandModule<object, CompareArguments> = {
  command: 'compare',
  describe: 'Compare everything on all nodes at the same moment; exit code 1 if they differ',
  builder: withOptions,
  handler: async (args) => {
    const chosen = chosenTargets(args);
    let code = 0;
    for (const target of chosen) {
      if (!args.json && chosen.length > 1 && 'database' in target) say(`database ${target.database}`);
      const now = await oneDatabase(target, args);
      code = now === 1 || code === 0 ? now : code;
    }
    process.exitCode = code;
  },
};

/** As targetsOf, but of --database alone where it is given. Throws config-invalid when there is none. */
export function chosenTargets(
  args: LookArguments & { readonly database: string | undefined },
): readonly [ClusterTarget, ...ClusterTarget[]] {
  const [first, ...more] = targetsOf(args)
    .map((target) => inDatabase(target, args.database))
    .filter((target) => target !== undefined);
  if (first !== undefined) return [first, ...more];
  throw new GatewayError('config-invalid', `the gateway has no database ${args.database}`);
}

/** Undefined: it is another database. */
export function inDatabase(target: ClusterTarget, database: string | undefined): ClusterTarget | undefined {
  if (database === undefined) return target;
  if (!('url' in target)) return target.database === database ? target : undefined;
  return withDatabase(target, database);
}

/** Its exit code. */
function oneDatabase(target: ClusterTarget, args: CompareArguments): Promise<number> {
  const progress = new CopyProgressLine(process.stderr, undefined, 'comparing');
  return reported(async () => {
    try {
      return await using(await ClusterClient.open(target), (open) => compareWith(open, args, progress));
    } finally {
      progress.clear();
    }
  });
}

/** The exit code; what could not be done is said, and has one of its own. */
export async function reported(work: () => Promise<number>): Promise<number> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof GatewayError) || error.code === 'config-invalid') throw error;
    process.stderr.write(`mtm-gateway: ${error.message}\n`);
    if (error.hint !== '') process.stderr.write(`  what to do: ${error.hint}\n`);
    return error.sqlstate === '22023' ? 2 : notComparable;
  }
}

export async function compareWith(
  client: ClusterClient,
  args: Omit<CompareArguments, 'database' | 'config' | 'url'>,
  progress: CopyProgressLine,
): Promise<number> {
  const stop = (): void => {
    progress.clear();
    process.exitCode = interrupted;
    void client.end().finally(() => process.exit(interrupted));
  };
  process.once('SIGINT', stop).once('SIGTERM', stop);
  const maxTime = args['max-time'];
  const name = await client.beginComparison({
    tables: args.table ?? [],
    exclude: args.exclude ?? [],
    jobs: args.jobs,
    details: args.details,
    ...(maxTime === undefined ? {} : { maxTimeMs: Math.round(maxTime * 1000) }),
  });
  const differing: string[] = [];
  let end: Extract<ComparisonNews, { kind: 'end' }> | undefined;
  for (let seen = 0, ended = false; !ended;) {
    const report = await client.comparisonNews(name, seen);
    seen += report.news.length;
    ({ ended } = report);
    for (const news of report.news) {
      if (news.kind === 'table' && !news.equal) differing.push(news.table);
      if (news.kind === 'end') end = news;
      const text = args.json ? JSON.stringify(news) : newsText(news, args.verbose);
      if (text === undefined) continue;
      progress.clear();
      say(text);
    }
    if (!ended && report.news.length === 0) progress.show(shownProgress(report.progress));
  }
  progress.clear();
  process.off('SIGINT', stop).off('SIGTERM', stop);
  if (end === undefined) return notComparable;
  if (!args.json) say(verdictText(end, differing));
  if (!end.equal) return 1;
  return end.whole ? 0 : notComparable;
}

function shownProgress({ what, bytes, ofBytes }: ComparisonProgress): CopyProgress {
  const waits = what !== '' && (bytes === 0 || bytes >= ofBytes);
  return { received: Math.min(bytes, ofBytes), expected: ofBytes, waitsFor: waits ? what : undefined };
}
