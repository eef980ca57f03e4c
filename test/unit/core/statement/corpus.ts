/** Reads corpus.txt: `## class` headings and one query string a line. */
import { readFileSync } from 'node:fs';

export interface CorpusLine {
  readonly expected: string;
  readonly text: string;
}

export function readCorpus(): readonly CorpusLine[] {
  const lines: CorpusLine[] = [];
  let expected = '';
  for (const line of readFileSync(new URL('corpus.txt', import.meta.url), 'utf8').split('\n')) {
    if (line.startsWith('## ')) expected = line.slice(3);
    else if (line !== '' && !line.startsWith('# ')) lines.push({ expected, text: line });
  }
  return lines;
}
