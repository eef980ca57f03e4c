/** What a comparison has found, in sentences. Rule: the same words for the same thing; a name is never cut. */
import type { ComparisonNews, Version } from '../core/comparison/news.ts';

/** Undefined: there is nothing to say about it. */
export function newsText(news: ComparisonNews, verbose: boolean): string | undefined {
  switch (news.kind) {
    case 'begun': {
      const away = news.away.length === 0 ? '' : `; away and not compared: ${nodesText(news.away)}`;
      return `comparing ${counted(news.tables, 'table')} on ${nodesText(news.members)}${away}`;
    }
    case 'left-out':
      return `left out: ${news.table}: ${news.reason}`;
    case 'remark':
      return `note: ${news.text}`;
    case 'definition':
      return `DEFINITION only on ${nodesText(news.nodes)}: ${news.line}`;
    case 'sequence':
      return `SEQUENCE ${news.text}`;
    case 'table':
      return news.equal ? equalText(news, verbose) : differentText(news);
    case 'row':
      return `    ${rowName(news)}: ${versionsText(news)}`;
    case 'more-rows':
      return `    more rows of ${news.table} differ (--details N shows more)`;
    case 'not-compared':
      return `NOT COMPARED: ${news.what}: ${news.reason}`;
    case 'lost':
      return `LOST: node ${news.node} takes no further part: ${news.reason}`;
    case 'end':
      return undefined;
  }
}

/** The last line. */
export function verdictText(
  end: Extract<ComparisonNews, { kind: 'end' }>,
  differing: readonly string[],
): string {
  const seconds = `${(end.ms / 1000).toFixed(1)} s`;
  const whole = end.whole ? '' : '; not everything was compared, see above';
  if (end.equal && !end.whole) return `no difference was found (${seconds})${whole}`;
  if (end.equal) return `the nodes agree (${seconds})`;
  const tables = differing.length === 0 ? '' : ` in ${differing.join(', ')}`;
  return `the nodes DIFFER${tables} (${seconds})${whole}`;
}

function equalText(news: Extract<ComparisonNews, { kind: 'table' }>, verbose: boolean): string | undefined {
  const [rows] = Object.values(news.rows);
  return verbose ? `equal: ${news.table}, ${counted(Number(rows ?? 0), 'row')}` : undefined;
}

function differentText({ table, rows }: Extract<ComparisonNews, { kind: 'table' }>): string {
  const counts = [...new Set(Object.values(rows))];
  const text =
    counts.length === 1
      ? `${counted(Number(counts[0]), 'row')} on each node, not the same`
      : Object.entries(rows)
          .map(([node, count]) => `${count} on node ${node}`)
          .join(', ');
  return `DIFFERENT: ${table}: ${text}`;
}

function rowName({ key, keyed }: Extract<ComparisonNews, { kind: 'row' }>): string {
  return keyed ? `key (${key.map(shown).join(', ')})` : `row ${key[0] ?? ''}`;
}

function shown(value: string | null): string {
  if (value === null) return 'NULL';
  return /^-?[0-9.]+$/.test(value) ? value : `'${value.replaceAll("'", "''")}'`;
}

function versionsText({ versions, columns, keyed }: Extract<ComparisonNews, { kind: 'row' }>): string {
  const there = versions.filter(({ rows }) => rows > 0);
  const missing = versions.filter(({ rows }) => rows === 0).flatMap(({ nodes }) => nodes);
  const parts: string[] = [];
  if (missing.length > 0) parts.push(`missing on ${nodesText(missing)}`);
  if (there.length > 1 && keyed) {
    const groups = there.map(({ nodes }) => nodesText(nodes)).join(' against ');
    const where = columns.length === 0 ? '' : ` in ${columns.join(', ')}`;
    parts.push(`${groups} differ${where}`);
  }
  if (!keyed || there.some(({ rows }) => rows > 1)) parts.push(there.map(timesText).join(', '));
  return parts.join('; ');
}

function timesText({ nodes, rows }: Version): string {
  return `${rows === 1 ? 'once' : `${rows} times`} on ${nodesText(nodes)}`;
}

export function nodesText(nodes: readonly number[]): string {
  return `node${nodes.length === 1 ? '' : 's'} ${nodes.join(', ')}`;
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}
