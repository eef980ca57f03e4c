/** The version of this program, from package.json. */
import { readFileSync } from 'node:fs';

export function gatewayVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return String((JSON.parse(text) as { version: unknown }).version);
}
