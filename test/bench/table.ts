/** A table of texts for a terminal or as Markdown; the first row is the head, the first column is left-aligned. */

export function formatTable(rows: readonly (readonly string[])[], markdown: boolean): string {
  const columns = rows[0]?.length ?? 0;
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (row: readonly string[]) => {
    const padded = widths.map((width, column) =>
      column === 0 ? (row[column] ?? '').padEnd(width) : (row[column] ?? '').padStart(width),
    );
    return markdown ? `| ${padded.join(' | ')} |` : padded.join('   ').trimEnd();
  };
  const rule = widths.map(
    (width, column) => '-'.repeat(column === 0 ? width : width - 1) + (column === 0 ? '' : ':'),
  );
  const separator = markdown
    ? `| ${rule.join(' | ')} |`
    : widths.map((width) => '-'.repeat(width)).join('   ');
  const [head, ...body] = rows.map(line);
  return [head, separator, ...body].join('\n');
}
