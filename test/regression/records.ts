/**
 * The differences that are known: `differences.yaml` has the reason for each file, `<suite>/<file>.diff` the lines.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { z } from 'zod';
import type { SuiteName } from './suite.ts';

const folder = fileURLToPath(new URL('./', import.meta.url));

const entry = z.strictObject({
  /** design: a documented rule; gap: it is not built; server: PostgreSQL's own doing, the gateway is not asked. */
  by: z.enum(['design', 'gap', 'server']),
  reason: z.string(),
  /** The lines are not the same in every run. */
  varies: z.boolean().optional(),
});

const shape = z.strictObject({
  regress: z.record(z.string(), entry),
  isolation: z.record(z.string(), entry),
  /** Files that differ besides only because a cluster's sequences draw 1, 4, 7. */
  spread: z.array(z.string()),
});

export type Entry = z.output<typeof entry>;

export function knownDifferences(): z.output<typeof shape> {
  return shape.parse(parse(readFileSync(join(folder, 'differences.yaml'), 'utf8')));
}

function fileOf(suite: SuiteName, name: string): string {
  return join(folder, suite, `${name}.diff`);
}

/** Undefined: none is recorded. */
export function recorded(suite: SuiteName, name: string): string | undefined {
  const file = fileOf(suite, name);
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
}

/** Lines that vary are not kept. */
export function record(suite: SuiteName, name: string, difference: string): void {
  const file = fileOf(suite, name);
  if (difference === '' || knownDifferences()[suite][name]?.varies === true)
    return rmSync(file, { force: true });
  mkdirSync(join(folder, suite), { recursive: true });
  writeFileSync(file, difference);
}
