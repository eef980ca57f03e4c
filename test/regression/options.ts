/** What `npm run regress` understands. */
import { parseArgs } from 'node:util';
import { usualCache } from './sources.ts';
import type { SuiteName } from './suite.ts';

export const usage = `npm run regress -- [options] [FILE ...]
Runs PostgreSQL's own tests (the sources of Debian's postgresql-15) through gateway 1 of a cluster of three, and before that
on one server alone; prints what differs, and compares it with the differences that are recorded in test/regression.
FILE: only these files (test_setup runs first).
  --suite regress|isolation   which tests [regress]
  --sequences plain|spread    plain: for this run node 1 draws 1, 2, 3 as one server does, so that everything else can be
                              compared; spread: as in any cluster, 1, 4, 7 [plain]
  --parallel                  files side by side, as the schedule says [one after the other]
  --port P                    of gateway 1; see mtm-gateway dev [23000]
  --file-limit S              seconds for one file [300]
  --step-limit S              seconds for one step of an isolation test [10]
  --limit S                   seconds for the whole run through the gateway [7200]
  --cache DIR                 where sources and programs are kept [${usualCache}]
  --out DIR                   where results stay [DIR/run of the cache]
  --keep                      the cluster's data and logs stay in --out
  --record                    writes what differs into test/regression
  --help`;

export interface Options {
  readonly suite: SuiteName;
  readonly spread: boolean;
  readonly parallel: boolean;
  readonly port: number;
  readonly fileLimit: number;
  readonly stepLimit: number;
  readonly limit: number;
  readonly cache: string;
  readonly out: string;
  readonly keep: boolean;
  readonly record: boolean;
  readonly only: readonly string[] | undefined;
}

function whole(name: string, text: string): number {
  if (/^\d+$/.test(text)) return Number(text);
  throw new TypeError(`--${name} must be a whole number, not ${text}`);
}

function oneOf<T extends string>(name: string, text: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === text);
  if (found === undefined) throw new TypeError(`--${name} must be ${choices.join(' or ')}, not ${text}`);
  return found;
}

/** Undefined: help was asked for. Throws TypeError when something is not understood. */
export function readOptions(args: readonly string[]): Options | undefined {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      suite: { type: 'string', default: 'regress' },
      sequences: { type: 'string', default: 'plain' },
      parallel: { type: 'boolean', default: false },
      port: { type: 'string', default: '23000' },
      'file-limit': { type: 'string', default: '300' },
      'step-limit': { type: 'string', default: '10' },
      limit: { type: 'string', default: '7200' },
      cache: { type: 'string', default: usualCache },
      out: { type: 'string' },
      keep: { type: 'boolean', default: false },
      record: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return undefined;
  return {
    suite: oneOf('suite', values.suite, ['regress', 'isolation']),
    spread: oneOf('sequences', values.sequences, ['plain', 'spread']) === 'spread',
    parallel: values.parallel,
    port: whole('port', values.port),
    fileLimit: whole('file-limit', values['file-limit']),
    stepLimit: whole('step-limit', values['step-limit']),
    limit: whole('limit', values.limit),
    cache: values.cache,
    out: values.out ?? `${values.cache}/run`,
    keep: values.keep,
    record: values.record,
    only: positionals.length === 0 ? undefined : positionals,
  };
}
