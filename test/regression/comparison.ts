/**
 * What a file of the tests printed through the gateway, beside what it printed on one server alone a moment before.
 * Rule: nothing is left out but what psql's \d says of every table of a cluster, and that is counted.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Compared {
  /** The lines that differ, without their numbers; empty: none. */
  readonly difference: string;
  /** \d names the publication of the gateways, or the replica identity that they gave a table. */
  readonly describes: boolean;
}

/** The gateways' publication has all tables, and tables without a key get REPLICA IDENTITY FULL. */
export function withoutDescriptions(text: string): string {
  return text
    .replaceAll(/^Publications:\n {4}"mtm"\n(?! {4}")/gm, '')
    .replaceAll(/^( {4}"mtm"\n)/gm, '')
    .replaceAll(/^Replica Identity: FULL\n/gm, '');
}

/** Numbers that no two runs have in common: OIDs, ports, places in files. */
function withoutNumbers(text: string, folders: readonly string[], ports: readonly number[]): string {
  let result = text;
  for (const folder of folders) result = result.replaceAll(folder, 'FOLDER');
  for (const port of ports) result = result.replaceAll(String(port), 'PORT');
  return result;
}

/** A line may be as long as a table of psql is wide, and a file as long as the list of all tables. */
const shownColumns = 160;
const shownLines = 300;

function shown(line: string): string {
  if (line.startsWith('@@')) return '@@';
  const plain = line
    .replaceAll(/\b[1-9]\d{4,9}\b/g, 'N')
    .replaceAll(/ {3,}/g, '  ')
    .replaceAll(/-{4,}/g, '---');
  return plain.length > shownColumns ? `${plain.slice(0, shownColumns)}…` : plain;
}

function diff(a: string, b: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'mtm-diff-'));
  try {
    writeFileSync(join(folder, 'a'), a);
    writeFileSync(join(folder, 'b'), b);
    const done = spawnSync('diff', ['-a', '-U0', 'a', 'b'], {
      cwd: folder,
      encoding: 'utf8',
      maxBuffer: 1 << 28,
    });
    const lines = done.stdout.split('\n').slice(2, -1).map(shown);
    if (lines.length > shownLines)
      lines.splice(shownLines, Infinity, `… and ${lines.length - shownLines} lines more`);
    return lines.map((line) => `${line}\n`).join('');
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export interface Side {
  readonly text: string;
  readonly folder: string;
  readonly port: number;
}

export function compare(direct: Side, gateway: Side): Compared {
  const sides = [direct, gateway];
  const [a = '', b = ''] = sides.map(({ text }) =>
    withoutNumbers(
      text,
      sides.map(({ folder }) => folder),
      sides.map(({ port }) => port),
    ),
  );
  if (a === b) return { difference: '', describes: false };
  const [plainA, plainB] = [withoutDescriptions(a), withoutDescriptions(b)];
  const describes = plainA !== a || plainB !== b;
  return { difference: plainA === plainB ? '' : diff(plainA, plainB), describes };
}
