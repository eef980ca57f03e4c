/** `mtm-gateway check`, the doctor: does the file make sense, and does the server suit? */
import type { CommandModule } from 'yargs';
import { checkServer, connectForCheck, type ServerFinding } from '../io/postgres-check.ts';
import { configOf, withConfigOptions } from './config-options.ts';

function verdict(finding: ServerFinding): string {
  if (finding.ok) return 'ok';
  return finding.must ? 'CHANGE' : 'advice';
}

/** One line for each finding, and one more for what to do. */
export function findingsText(findings: readonly ServerFinding[]): string {
  const width = Math.max(...findings.map((finding) => finding.name.length));
  return findings
    .map((finding) => {
      const line = `${verdict(finding).padEnd(6)}  ${finding.name.padEnd(width)}  ${finding.has}`;
      return finding.ok
        ? line
        : `${line} (needs ${finding.needs})\n${' '.repeat(width + 10)}${finding.advice}`;
    })
    .join('\n');
}

export const checkCommand: CommandModule<object, { config: string | undefined; json: boolean }> = {
  command: 'check',
  aliases: ['doctor'],
  describe: 'Check the settings and the server: what has to change before it can be a node',
  builder: (command) =>
    withConfigOptions(command)
      .option('json', { type: 'boolean', default: false, describe: 'The result as JSON' })
      .example('$0 check --config gateway.yaml', 'exit code 0: nothing has to change')
      .example('$0 check --config gateway.yaml --json', ''),
  handler: async (args) => {
    const config = configOf(args);
    const client = await connectForCheck(config.postgres, config.connectTimeoutMs);
    let findings: ServerFinding[];
    try {
      findings = await checkServer(client, {
        ...config,
        nodes: config.peers.length + 1,
        databases: config.moreDatabases.length + 1,
      });
    } finally {
      await client.end();
    }
    const ok = findings.every((finding) => finding.ok || !finding.must);
    const text = args.json ? JSON.stringify({ ok, findings }, null, 2) : findingsText(findings);
    process.stdout.write(`${text}\n`);
    process.exitCode = ok ? 0 : 1;
  },
};
