/**
 * The documents that are made from the schema: the table in config/README.md, config/gateway.schema.json and
 * the annotated config/gateway.yaml; and the table of metrics, from their definitions. Run directly (`node
 * src/config/documents.ts`) it writes them; a test compares.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { runbookText } from './runbook.ts';
import { metricDefinitions } from '../telemetry/metric-definitions.ts';
import { jsonSchema, settings, type Setting } from './settings.ts';

const folder = new URL('../../config/', import.meta.url);
const tableStart = '<!-- settings: made by src/config/documents.ts -->';
const tableEnd = '<!-- end of settings -->';
const runbookStart = '<!-- runbook: made by src/config/documents.ts -->';
const runbookEnd = '<!-- end of runbook -->';
const metricsStart = '<!-- metrics: made by src/config/documents.ts -->';
const metricsEnd = '<!-- end of metrics -->';

function usualText(setting: Setting): string {
  if (setting.required) return '';
  if (setting.usual === undefined) return '';
  return typeof setting.usual === 'string' ? setting.usual : JSON.stringify(setting.usual);
}

function settingsTable(): string {
  const rows = settings.map((setting) => {
    const usual = usualText(setting);
    const kind = setting.choices === undefined ? setting.kind : setting.choices.join(', ');
    const shown = setting.required ? '**required**' : usual === '' ? '' : `\`${usual}\``;
    return `| \`${setting.name}\` | ${kind} | ${shown} | ${setting.reload} | ${setting.description} |`;
  });
  return ['| setting | kind | default | change | meaning |', '|---|---|---|---|---|', ...rows].join('\n');
}

function metricsTable(): string {
  const rows = Object.entries(metricDefinitions).map(([name, { kind, labels, help }]) => {
    const shown = labels.map((label) => `\`${label}\``).join(', ');
    return `| \`${name}\` | ${kind} | ${shown} | ${help} |`;
  });
  return ['| metric | kind | labels | meaning |', '|---|---|---|---|', ...rows].join('\n');
}

/** `readme` with its tables renewed, each between its two marks. */
export function withTables(readme: string): string {
  const settled = withTable(readme, tableStart, tableEnd, settingsTable());
  const measured = withTable(settled, metricsStart, metricsEnd, metricsTable());
  return withTable(measured, runbookStart, runbookEnd, runbookText());
}

function withTable(readme: string, from: string, to: string, table: string): string {
  const start = readme.indexOf(from);
  const end = readme.indexOf(to);
  if (start < 0 || end < start) throw new Error(`config/README.md has lost its marks ${from} and ${to}`);
  return `${readme.slice(0, start + from.length)}\n\n${table}\n\n${readme.slice(end)}`;
}

export function schemaDocument(): string {
  const { $schema: draft, ...rest } = jsonSchema() as Record<string, unknown>;
  return `${JSON.stringify({ $schema: draft, title: 'gateway.yaml of mtm-gateway', ...rest }, null, 2)}\n`;
}

/** Values of the sample for what has no default. */
const sampleValues: Readonly<Record<string, string>> = {
  node_id: '1',
  cluster_secret_file: 'cluster.secret',
  'postgres.database': 'app',
};

function sampleLine(setting: Setting): string[] {
  const depth = '  '.repeat(setting.path.length - 1);
  const key = setting.path.at(-1) ?? '';
  const choices = setting.choices === undefined ? '' : ` (${setting.choices.join(', ')})`;
  const comment = `${depth}# ${setting.description}${choices}`;
  if (setting.name === 'peers') {
    return [
      comment,
      'peers:',
      ...[2, 3].flatMap((id) => [
        `  - id: ${id}`,
        `    host: node${id}.example`,
        '    port: 7301',
        `    # conninfo: postgresql://node${id}.example:7001/app`,
      ]),
    ];
  }
  const sample = sampleValues[setting.name];
  if (sample !== undefined) return [comment, `${depth}${key}: ${sample}`];
  const usual = usualText(setting);
  return [comment, `${depth}# ${key}:${usual === '' ? '' : ` ${usual}`}`];
}

/** gateway.yaml with every setting; what has a default is a comment. */
export function sampleFile(): string {
  const lines = [
    '# yaml-language-server: $schema=gateway.schema.json',
    '# One gateway in front of one PostgreSQL: mtm-gateway serve --config gateway.yaml',
    '# A line that is commented out shows the default.',
    '# Made by src/config/documents.ts from src/config/schema.ts.',
    '',
  ];
  let group = '';
  for (const setting of settings) {
    const first = setting.path[0] ?? '';
    if (setting.path.length > 1 && first !== group)
      lines.push(first === 'postgres' ? 'postgres:' : `${first}:`);
    group = first;
    lines.push(...sampleLine(setting));
  }
  return `${lines.join('\n')}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const readme = new URL('README.md', folder);
  writeFileSync(readme, withTables(readFileSync(readme, 'utf8')));
  writeFileSync(new URL('gateway.schema.json', folder), schemaDocument());
  writeFileSync(new URL('gateway.yaml', folder), sampleFile());
}
