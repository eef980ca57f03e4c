// Who may import whom: main → cli → node → io → core → lib. A type-only import counts.
// The pure part (core, lib) imports nothing but itself: no npm package, no node:* module.
const forbid = (name, comment, from, to) => ({ name, comment, severity: 'error', from, to });

export default {
  forbidden: [
    forbid(
      'pure-core',
      'core and lib import only core and lib',
      { path: '^src/(core|lib)/' },
      { pathNot: '^src/(core|lib)/' },
    ),
    forbid('lib-is-a-leaf', 'lib imports only lib', { path: '^src/lib/' }, { pathNot: '^src/lib/' }),
    forbid(
      'codecs-without-machines',
      'wire, pgoutput and peer import no machine',
      { path: '^src/core/(wire|pgoutput|peer)/' },
      { path: '^src/core/[^/]+/', pathNot: '^src/core/((wire|pgoutput|peer)/|generation/record[.]ts$)' },
    ),
    forbid(
      'io-below',
      'io imports core, lib, telemetry, config and npm',
      { path: '^src/io/' },
      { path: '^src/', pathNot: '^src/(io|core|lib|telemetry|config)/' },
    ),
    forbid(
      'io-siblings',
      'adapters meet only in node; io/postgres and io/wire are their common helpers',
      { path: '^src/io/([^/]+)' },
      { path: '^src/io/', pathNot: ['^src/io/$1', '^src/io/(postgres|wire)/'] },
    ),
    forbid(
      'telemetry-and-config-below',
      'telemetry and config import core and lib',
      { path: '^src/(telemetry|config)/' },
      { path: '^src/', pathNot: '^src/(telemetry|config|core|lib)/' },
    ),
    forbid(
      'admin-below',
      'admin is used by node and cli and imports neither',
      { path: '^src/admin/' },
      { path: '^src/(node|cli|main)' },
    ),
    forbid(
      'node-below',
      'node imports neither cli nor main',
      { path: '^src/node/' },
      { path: '^src/(cli/|main)' },
    ),
    forbid('cli-below', 'cli does not import main', { path: '^src/cli/' }, { path: '^src/main' }),
    forbid('src-without-tests', 'the program imports no test', { path: '^src/' }, { path: '^test/' }),
    forbid('resolvable', 'an import that leads nowhere', { path: '^src/' }, { couldNotResolve: true }),
  ],
  options: {
    // TypeScript 7 has no compiler API for tools: without this parser nothing at all would be seen.
    parser: 'swc',
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default'] },
  },
};
