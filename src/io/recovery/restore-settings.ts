/**
 * What makes a server that starts on a copy end its recovery exactly where the copy ends and become a server
 * of its own (manual of multimaster, F.31.4.3), in postgresql.auto.conf, which is always in the data
 * directory.
 * Rule: these lines come last, so that they outrank what the copied server had; they are taken out as lines,
 * so that nothing else in the file changes.
 */
import { existsSync, readFileSync, renameSync, statSync, chownSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export const settingsFile = 'postgresql.auto.conf';
export const restoreSignal = 'recovery.signal';

const lines = [
  '# mtm-gateway join: until this server has been promoted',
  "restore_command = 'false'",
  "recovery_target = 'immediate'",
  "recovery_target_action = 'promote'",
];

/** The file's text with the settings at its end. */
export function withRestoreSettings(text: string): string {
  const before = withoutRestoreSettings(text);
  const separator = before === '' || before.endsWith('\n') ? '' : '\n';
  return `${before}${separator}${lines.join('\n')}\n`;
}

/** The file's text without them. */
export function withoutRestoreSettings(text: string): string {
  const ours = new Set(lines);
  return text
    .split('\n')
    .filter((line) => !ours.has(line.trim()))
    .join('\n');
}

/** Takes the settings out of a promoted server's file. Nothing to take out is no failure. */
export function removeRestoreSettings(dataFolder: string): void {
  const file = join(dataFolder, settingsFile);
  if (!existsSync(file)) return;
  const text = readFileSync(file, 'utf8');
  const cleaned = withoutRestoreSettings(text);
  if (cleaned === text) return;
  const { uid, gid } = statSync(file);
  writeFileSync(`${file}.new`, cleaned, { mode: 0o600, flush: true });
  chownSync(`${file}.new`, uid, gid);
  renameSync(`${file}.new`, file);
}
