/**
 * The packages that a user of mtm-gateway installs, with their licences: what npm's lock file says of all that is not
 * for development alone. `npm run build` writes the list beside the program. Rule: a licence that is not known to be
 * permissive, or none, is an error and never just a line of the list.
 */
import { z } from 'zod';

const lockSchema = z.object({
  packages: z.record(
    z.string(),
    z.object({
      name: z.string().optional(),
      version: z.string().default(''),
      license: z.string().default('none'),
      dev: z.boolean().default(false),
      optional: z.boolean().default(false),
    }),
  ),
});

export interface ThirdParty {
  readonly name: string;
  readonly version: string;
  /** An SPDX expression, or `none`. */
  readonly licence: string;
  /** `mtm-gateway serve` runs without it. */
  readonly optional: boolean;
}

const permissive = new Set([
  ...['0BSD', 'Apache-2.0', 'BlueOak-1.0.0', 'BSD-2-Clause', 'BSD-3-Clause', 'CC0-1.0', 'ISC', 'MIT'],
  ...['PostgreSQL', 'Unlicense', 'Zlib'],
]);

/** True: may be used and passed on with no more than its notice. */
export function isPermissive(licence: string): boolean {
  const plain = licence.replace(/^\(([^()]*)\)$/, '$1');
  return plain
    .split(' OR ')
    .some((choice) => choice.split(' AND ').every((name) => permissive.has(name.trim())));
}

/** What is installed with the package whose package-lock.json this is, by name. */
export function thirdParties(lockFile: string): ThirdParty[] {
  const { packages } = lockSchema.parse(JSON.parse(lockFile));
  const own = Object.entries(packages).flatMap(([place, { name, version, license, dev, optional }]) =>
    place === '' || dev
      ? []
      : [{ name: name ?? place.replace(/^.*node_modules\//, ''), version, licence: license, optional }],
  );
  const unique = new Map(own.map((one) => [`${one.name} ${one.version}`, one]));
  return [...unique].toSorted(([one], [other]) => (one < other ? -1 : 1)).map(([, entry]) => entry);
}

const remark = `Node.js and PostgreSQL are programs with parts of many owners. \`LICENSE\` in the package \`node-…\` has all notices of
Node.js. PostgreSQL is under the PostgreSQL License; the libraries that its packages bring (OpenSSL, ICU, libxml2, libxslt,
liblzma, OSSP uuid, zlib) are under permissive licences of their own.`;

/** The list as Markdown. Throws with the names of those that may not be in it. */
export function licenceList(lockFile: string): string {
  const all = thirdParties(lockFile);
  const wrong = all.filter(({ licence }) => !isPermissive(licence));
  if (wrong.length > 0) {
    const named = wrong.map(({ name, version, licence }) => `${name} ${version} (${licence})`).join(', ');
    throw new Error(`not known to be permissive: ${named}; see config/tool/licences.ts`);
  }
  const table = (rows: readonly ThirdParty[]): string =>
    ['| package | version | licence |', '| --- | --- | --- |']
      .concat(rows.map(({ name, version, licence }) => `| ${name} | ${version} | ${licence} |`))
      .join('\n');
  return [
    '# Packages that mtm-gateway uses\n\nMade from package-lock.json by `npm run build`.\n',
    `${table(all.filter(({ optional }) => !optional))}\n`,
    `Optional: the embedded servers of \`mtm-gateway dev\`, Node.js itself, what packages do without:\n`,
    `${table(all.filter(({ optional }) => optional))}\n`,
    `${remark}\n`,
  ].join('\n');
}
