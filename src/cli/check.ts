/**
 * `mtm-gateway check`, the doctor: everything that a gateway needs, looked at from its machine, and for each
 * thing that is not right what to change, with the command or the line.
 * Rule: it changes nothing; what cannot be looked at is said, and does not keep it from looking at the rest.
 */
import { dirname, resolve } from 'node:path';
import type { CommandModule } from 'yargs';
import type { LoadedSettings } from '../config/loading.ts';
import { configsByDatabase } from '../config/databases.ts';
import type { PostgresConfig } from '../config/schema.ts';
import { accessFindings, databaseFindings } from './doctor/database-findings.ts';
import { diskFindings, fileFindings, portFindings, type SecretFile } from './doctor/machine-findings.ts';
import { peerFindings, serverFactsQuery, type ServerFacts } from './doctor/peer-findings.ts';
import { checkServer, connectForCheck, type Queryable, type ServerFinding } from '../io/postgres-check.ts';
import { GatewayError } from '../lib/gateway-error.ts';
import { configFile, settingsOf, withConfigOptions } from './config-options.ts';
import { say } from './output.ts';

export interface Section {
  readonly title: string;
  readonly findings: readonly ServerFinding[];
}

function verdict(finding: ServerFinding): string {
  if (finding.ok) return 'ok';
  return finding.must ? 'CHANGE' : 'advice';
}

/** One line for each finding, and below it what to do. */
export function findingsText(findings: readonly ServerFinding[]): string {
  const width = Math.max(...findings.map((finding) => finding.name.length), 0);
  return findings
    .map((finding) => {
      const line = `${verdict(finding).padEnd(6)}  ${finding.name.padEnd(width)}  ${finding.has}`;
      if (finding.ok) return line;
      const more = [finding.advice, finding.fix ?? ''].filter((text) => text !== '');
      const needs = finding.needs === '' ? '' : ` (needs ${finding.needs})`;
      return [`${line}${needs}`, ...more.map((text) => `${' '.repeat(width + 10)}${text}`)].join('\n');
    })
    .join('\n');
}

/** All sections, and one line that sums them up. */
function reportText(sections: readonly Section[]): string {
  const all = sections.flatMap(({ findings }) => findings);
  const must = all.filter(({ ok, must: isMust }) => !ok && isMust).length;
  const advised = all.filter(({ ok, must: isMust }) => !ok && !isMust).length;
  const sum =
    must === 0
      ? `nothing has to change${advised === 0 ? '' : `; ${advised} x advice`}`
      : `${must} to CHANGE before the gateway can work; ${advised} x advice`;
  const parts = sections.filter(({ findings }) => findings.length > 0);
  return [...parts.map(({ title, findings }) => `${title}\n${findingsText(findings)}`), sum].join('\n\n');
}

/** Files of the settings that hold a secret; the configuration file itself when one stands in it. */
function secretFiles({ file }: LoadedSettings, path: string | undefined): SecretFile[] {
  const base = path === undefined ? '.' : dirname(path);
  const named = [
    ['cluster_secret_file', file.cluster_secret_file],
    ['postgres.password_file', file.postgres.password_file],
    ['referee_password_file', file.referee_password_file],
    ['tls.key_file', file.tls.key_file],
  ] as const;
  const files = named.flatMap(([setting, name]) =>
    name === undefined ? [] : [{ setting, path: resolve(base, name) }],
  );
  const withPassword = /:\/\/[^/@]*:[^/@]*@/.test(file.referee_connstring);
  const inline = withPassword || file.cluster_secret !== undefined || file.postgres.password !== undefined;
  return inline && path !== undefined ? [{ setting: 'the configuration file', path }, ...files] : files;
}

interface ServerReport {
  readonly sections: readonly Section[];
  readonly facts: ServerFacts | undefined;
}

async function serverReport({ config }: LoadedSettings): Promise<ServerReport> {
  const configs = configsByDatabase(config);
  const sections: Section[] = [];
  let facts: ServerFacts | undefined;
  for (const [index, { postgres }] of configs.entries()) {
    const title = `database ${postgres.database}`;
    const section = await connected(title, postgres, config.connectTimeoutMs, async (client) => {
      if (index > 0) return [{ title, findings: await databaseFindings(client, config.peers.length + 1) }];
      const needs = { ...config, nodes: config.peers.length + 1, databases: configs.length };
      const server = await checkServer(client, needs);
      facts = (await client.query(serverFactsQuery)).rows[0] as unknown as ServerFacts;
      const { rows } = await client.query("SELECT current_setting('data_directory') AS folder");
      const names = configs.map((each) => each.postgres.database);
      const access = await accessFindings(client, names);
      const disk = diskFindings(config, String(rows[0]?.['folder']));
      return [
        { title: 'server', findings: [...server, ...disk, ...access] },
        { title, findings: await databaseFindings(client, needs.nodes) },
      ];
    });
    sections.push(...section);
  }
  return { sections, facts };
}

async function connected(
  title: string,
  address: PostgresConfig,
  limitMs: number,
  look: (client: Queryable) => Promise<Section[]>,
): Promise<Section[]> {
  try {
    const client = await connectForCheck(address, limitMs);
    try {
      return await look(client);
    } finally {
      await client.end();
    }
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    const { message, hint } = error;
    const missing = { name: 'connection', ok: false, must: true, has: message, needs: '', advice: hint };
    return [{ title, findings: [{ ...missing, effect: 'now' }] }];
  }
}

async function examined(settings: LoadedSettings, path: string | undefined): Promise<Section[]> {
  const { config } = settings;
  const server = await serverReport(settings);
  return [
    {
      title: 'machine',
      findings: [...fileFindings(secretFiles(settings, path)), ...(await portFindings(config))],
    },
    ...server.sections,
    { title: 'other nodes', findings: await peerFindings(config, server.facts) },
  ];
}

export const checkCommand: CommandModule<object, { config: string | undefined; json: boolean }> = {
  command: 'check',
  aliases: ['doctor'],
  describe: 'The doctor: what has to change before this can be a node, and what had better',
  builder: (command) =>
    withConfigOptions(command)
      .option('json', { type: 'boolean', default: false, describe: 'The result as JSON' })
      .example('$0 check --config gateway.yaml', 'exit code 0: nothing has to change')
      .example(`$0 check --config gateway.yaml --json | jq '.findings[] | select(.ok | not)'`, '')
      .epilogue(
        'Exit codes: 0 nothing has to change, 1 something has to, 2 the configuration file is wrong.',
      ),
  handler: async (args) => {
    const settings = settingsOf(args);
    const sections = await examined(settings, configFile(args));
    const findings = sections.flatMap(({ title, findings: of }) =>
      of.map((each) => ({ area: title, ...each })),
    );
    const ok = findings.every((finding) => finding.ok || !finding.must);
    const text = args.json ? JSON.stringify({ ok, findings }, null, 2) : reportText(sections);
    say(text);
    process.exitCode = ok ? 0 : 1;
  },
};
