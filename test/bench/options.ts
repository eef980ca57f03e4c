/** What the user asks of a benchmark run: `npm run bench -- --seconds 5 --only gateway,pgbouncer,select`. */
import { parseArgs } from 'node:util';
import { postgresMajors, type PostgresMajor } from '../../src/io/launcher/server-binaries.ts';

export const candidateKeys = [
  'direct',
  'pgbouncer',
  'gateway',
  'gateways',
  'pgpool-native',
  'pgpool-snapshot',
  'streaming',
  'limit',
] as const;
export type CandidateKey = (typeof candidateKeys)[number];

export const workloadKeys = [
  'select',
  'select-new',
  'update',
  'tpcb',
  'tpcb-extended',
  'tpcb-prepared',
] as const;
export type WorkloadKey = (typeof workloadKeys)[number];

/** What is measured besides speeds; the last four take long and are done when they are named, three with clusters of their own. */
const partKeys = ['memory', 'bulk', 'latency', 'apart', 'nodes', 'sessions', 'endurance'] as const;
export type PartKey = (typeof partKeys)[number];

const usualParts: readonly PartKey[] = ['memory', 'bulk', 'latency'];

const needs: Record<PartKey, readonly CandidateKey[]> = {
  memory: ['gateway'],
  bulk: ['direct', 'gateway'],
  latency: ['gateway', 'limit'],
  apart: ['direct', 'gateway'],
  nodes: [],
  sessions: [],
  endurance: [],
};

export interface BenchOptions {
  /** How long each measurement lasts. */
  readonly seconds: number;
  readonly rounds: number;
  /** How long each workload runs on each candidate before anything counts. */
  readonly warmUpSeconds: number;
  readonly clients: readonly number[];
  /** pgbench's scale: 100,000 accounts each. */
  readonly scale: number;
  readonly candidates: readonly CandidateKey[];
  readonly workloads: readonly WorkloadKey[];
  readonly parts: readonly PartKey[];
  readonly sessions: number;
  /** Of the endurance run. */
  readonly minutes: number;
  readonly major: PostgresMajor;
  /** The first of the ports that the servers and proxies use. */
  readonly port: number;
  /** Only what README.md's table needs, see `plan.ts`. */
  readonly table: boolean;
  readonly output: 'text' | 'markdown' | 'json';
  /** Where the gateways' CPU profiles go; undefined: none are taken. */
  readonly profileFolder: string | undefined;
}

export const usage = `npm run bench -- [options]
  --seconds N    length of each measurement (4)
  --warm-up N    seconds of each workload on each candidate before anything counts (12)
  --rounds N     rounds over all candidates, in alternating order (5)
  --clients LIST numbers of clients (1,8,32)
  --scale N      scale of the pgbench tables (10)
  --only LIST    only these candidates: ${candidateKeys.join(', ')}
                 and only these workloads: ${workloadKeys.join(', ')}
                 and only these parts: ${partKeys.join(', ')}
                   memory: 400 MB to a slow reader; bulk: COPY and a big update; latency: the steps of a commit;
                   only when named: apart: bulk as if each process had a core of its own; nodes: five nodes
                   instead of three; sessions: thousands that are idle; endurance: a mixed load for a long time
  --sessions N   how many idle sessions (4000)
  --minutes N    length of the endurance run (60)
  --pg N         PostgreSQL's major version: ${postgresMajors.join(', ')} (18)
  --port N       first port of the servers and proxies (24001)
  --table        the table of README.md: all of it but endurance, in about 20 minutes (--rounds 5 --seconds 2
                 --warm-up 5 --scale 50, other numbers of clients for each kind of work)
  --markdown     the report as Markdown
  --json         the report as JSON with every single measurement
  --profile DIR  the gateways write CPU profiles (.cpuprofile) to DIR when they end`;

/** Without `--table`, and with it. */
const usual = { seconds: '4', rounds: '5', 'warm-up': '12', scale: '10', only: '' };
const forTable: typeof usual = {
  seconds: '2',
  rounds: '5',
  'warm-up': '5',
  scale: '50',
  only: 'select,select-new,update,tpcb,memory,bulk,latency,apart,nodes,sessions',
};

/** A sentence for the user about his options. */
export class UsageError extends Error {}

function wholeNumber(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new UsageError(`--${name} is a whole number from ${least} to ${most}, not ${text}`);
}

const list = (text: string): string[] => text.split(',').filter((word) => word !== '');

interface Selection {
  readonly candidates: readonly CandidateKey[];
  readonly workloads: readonly WorkloadKey[];
  readonly parts: readonly PartKey[];
}

/** Names of candidates restrict the candidates, names of workloads and parts what is done with them. */
function selection(words: readonly string[]): Selection {
  const known: readonly string[] = [...candidateKeys, ...workloadKeys, ...partKeys];
  const unknown = words.find((word) => !known.includes(word));
  if (unknown !== undefined) throw new UsageError(`--only knows ${known.join(', ')}, not ${unknown}`);
  const named = candidateKeys.filter((key) => words.includes(key));
  const workloads = workloadKeys.filter((key) => words.includes(key));
  const parts = partKeys.filter((key) => words.includes(key));
  const everything = workloads.length === 0 && parts.length === 0;
  const needed = candidateKeys.filter((key) => parts.some((part) => needs[part].includes(key)));
  const everyone = workloads.length === 0 && parts.length > 0 ? needed : candidateKeys;
  const candidates = named.length > 0 ? named : everyone;
  const possible = usualParts.filter((part) => needs[part].every((key) => candidates.includes(key)));
  return {
    candidates,
    workloads: everything ? workloadKeys : workloads,
    parts: everything ? possible : parts,
  };
}

/** Undefined: help was asked for. Throws UsageError. */
export function readOptions(args: readonly string[]): BenchOptions | undefined {
  const text = (fallback: string) => ({ type: 'string', default: fallback }) as const;
  const either = { type: 'string' } as const;
  const { values: given } = parseArgs({
    args: [...args],
    options: {
      seconds: either,
      rounds: either,
      'warm-up': either,
      clients: text('1,8,32'),
      scale: either,
      only: either,
      minutes: text('60'),
      sessions: text('4000'),
      pg: text('18'),
      port: text('24001'),
      profile: { type: 'string' },
      table: { type: 'boolean', default: false },
      markdown: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (given.help) return undefined;
  const values = { ...(given.table ? forTable : usual), ...given };
  const major = postgresMajors.find((known) => String(known) === values.pg);
  if (major === undefined)
    throw new UsageError(`--pg is one of ${postgresMajors.join(', ')}, not ${values.pg}`);
  const clients = list(values.clients).map((word) => wholeNumber('clients', word, 1, 100));
  if (clients.length === 0) throw new UsageError('--clients names no number');
  return {
    seconds: wholeNumber('seconds', values.seconds, 1, 3600),
    warmUpSeconds: wholeNumber('warm-up', values['warm-up'], 1, 3600),
    rounds: wholeNumber('rounds', values.rounds, 1, 1000),
    clients,
    scale: wholeNumber('scale', values.scale, 1, 10_000),
    ...selection(list(values.only)),
    sessions: wholeNumber('sessions', values.sessions, 1, 20_000),
    minutes: wholeNumber('minutes', values.minutes, 1, 10_000),
    major,
    port: wholeNumber('port', values.port, 1024, 65_000),
    table: values.table,
    output: values.json ? 'json' : values.markdown ? 'markdown' : 'text',
    profileFolder: values.profile,
  };
}
