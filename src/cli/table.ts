/**
 * Answers of the cluster as people read them: a table, or names and values below each other; --json for
 * programs.
 */
import type { Answer } from '../io/cluster-client.ts';

function shown(value: unknown): string {
  if (value === null || value === undefined) return '';
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value)) return value.join(',');
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  return typeof value === 'object' ? JSON.stringify(value) : String(value as string | number | bigint);
}

/** One line for each row; numbers stand at the right. */
export function tableText({ columns, rows }: Answer): string {
  const cells = rows.map((row) => row.map(shown));
  const widths = columns.map((name, index) =>
    Math.max(name.length, ...cells.map((row) => row[index]?.length ?? 0)),
  );
  const numeric = columns.map((_, index) => cells.every((row) => /^[0-9]*$/.test(row[index] ?? '')));
  const line = (row: readonly string[]) =>
    row
      .map((cell, index) => {
        const width = widths[index] ?? 0;
        return numeric[index] === true ? cell.padStart(width) : cell.padEnd(width);
      })
      .join('  ')
      .trimEnd();
  return [line(columns), ...cells.map(line)].join('\n');
}

/** One line for each column of a single row. */
export function listText({ columns, rows }: Answer): string {
  const width = Math.max(...columns.map((name) => name.length));
  return columns
    .map((name, index) => `${name.padEnd(width)}  ${shown(rows[0]?.[index])}`.trimEnd())
    .join('\n');
}

/** Each row an object. */
export function objectsOf({ columns, rows }: Answer): Record<string, unknown>[] {
  return rows.map((row) => Object.fromEntries(columns.map((name, index) => [name, row[index]])));
}
