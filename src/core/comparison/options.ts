/**
 * What whoever compares wants, as it comes in JSON. Rule: nothing in it is believed before it is read here.
 */

export interface ComparisonOptions {
  /** Patterns; empty: all tables, and definitions and sequences too. */
  readonly tables: readonly string[];
  readonly exclude: readonly string[];
  /** Queries at once on each node. */
  readonly jobs: number;
  /** Rows that are shown of each table that differs. */
  readonly details: number;
  readonly maxTimeMs: number;
}

export const comparisonDefaults: ComparisonOptions = {
  tables: [],
  exclude: [],
  jobs: 2,
  details: 10,
  maxTimeMs: 24 * 3_600_000,
};

export const mostJobs = 16;
export const mostDetails = 1000;

/** What is wrong with them is the text of the answer. */
export function readOptions(given: unknown): ComparisonOptions | string {
  const { tables, exclude, jobs, details, maxTimeMs } = {
    ...comparisonDefaults,
    ...(given as Partial<ComparisonOptions> | null),
  };
  for (const list of [tables, exclude])
    if (!Array.isArray(list) || !list.every((each) => typeof each === 'string' && each !== ''))
      return 'tables and exclude are lists of names of tables';
  if (!isWithin(jobs, 1, mostJobs)) return `jobs is a number from 1 to ${mostJobs}`;
  if (!isWithin(details, 0, mostDetails)) return `details is a number from 0 to ${mostDetails}`;
  if (!isWithin(maxTimeMs, 1, 7 * 24 * 3_600_000)) return 'the time must be between 1 ms and a week';
  return { tables, exclude, jobs, details, maxTimeMs };
}

function isWithin(value: unknown, least: number, most: number): boolean {
  return Number.isInteger(value) && Number(value) >= least && Number(value) <= most;
}

/** `name`, `schema.name`, either with * for any characters; quotes stand for themselves in neither. */
export function matches(
  pattern: string,
  { schema, name }: { readonly schema: string; readonly name: string },
): boolean {
  const expression = new RegExp(`^${pattern.split('*').map(escaped).join('.*')}$`, 'su');
  return expression.test(name) || expression.test(`${schema}.${name}`);
}

function escaped(text: string): string {
  return text.replaceAll(/[\\^$.|?+(){}[\]/-]/g, (each) => `\\${each}`);
}
