/**
 * The settings that a client asks for in its startup packet, by themselves or in `options`, as far as the
 * gateway depends on them. Grammar of `options` (manual, "Server Configuration"): arguments cut at white
 * space, a backslash escapes; -c name=value, -cname=value or --name=value. What stands in the packet by
 * itself outranks them; names do not depend on case.
 */
import { settingRefusal, waitPeerCommits } from '../statement/refusal.ts';
import type { ErrorText } from '../wire/messages.ts';
import { booleanOf } from './read-only-wish.ts';

const readOnly = 'default_transaction_read_only';

export type StartupSettings = ReadonlyMap<string, string>;

export function startupSettings(parameters: ReadonlyMap<string, string>): StartupSettings {
  const settings = new Map<string, string>();
  const words = splitOptions(parameters.get('options') ?? '');
  for (let index = 0; index < words.length; index++) {
    const word = words[index]!;
    let assignment: string | undefined;
    if (word === '-c') assignment = words[++index];
    else if (word.startsWith('-c')) assignment = word.slice(2);
    else if (word.startsWith('--')) assignment = word.slice(2);
    const equals = assignment?.indexOf('=') ?? -1;
    if (assignment === undefined || equals < 0) continue;
    settings.set(
      assignment.slice(0, equals).replaceAll('-', '_').toLowerCase(),
      assignment.slice(equals + 1),
    );
  }
  for (const [name, value] of parameters) settings.set(name.toLowerCase(), value);
  return settings;
}

/** As pg_split_opts does. */
function splitOptions(options: string): string[] {
  const words: string[] = [];
  for (const match of options.matchAll(/(?:\\[^]|[^\s\\])+/g))
    words.push(match[0].replaceAll(/\\([^])/g, '$1'));
  return words;
}

/** What the client takes default_transaction_read_only for; undefined: role and database decide. */
export function readOnlyDefault(settings: StartupSettings): boolean | undefined {
  return booleanOf(settings.get(readOnly) ?? '');
}

/** Settings that would hide writes from the other nodes; undefined: there are none. */
export function startupRefusal(settings: StartupSettings): ErrorText | undefined {
  for (const [name, value] of settings) {
    const refusal = settingRefusal(name, value);
    if (refusal === undefined) continue;
    const { sqlstate, message, hint } = refusal;
    return { severity: 'FATAL', sqlstate, message, hint };
  }
  return undefined;
}

/**
 * The packet for the server of a supervised session. Settings in it outlive RESET ALL and DISCARD ALL; ours
 * stand once and last, however the client has written them. `shown`: settings `multimaster.*`.
 */
export function supervisedPacket(
  parameters: ReadonlyMap<string, string>,
  shown: ReadonlyMap<string, string>,
): Map<string, string> {
  const forced = new Map([
    // The sensor.
    [readOnly, 'on'],
  ]);
  for (const [name, value] of shown) forced.set(`multimaster.${name}`, value);
  const wished = startupSettings(parameters).get(waitPeerCommits);
  if (wished !== undefined) forced.set(waitPeerCommits, wished);
  // What is no boolean goes through: the server refuses the session in its own words.
  const asked = [...parameters].find(([name]) => name.toLowerCase() === readOnly)?.[1];
  if (asked !== undefined && booleanOf(asked) === undefined) forced.set(readOnly, asked);
  const packet = new Map<string, string>();
  for (const [name, value] of parameters) if (!forced.has(name.toLowerCase())) packet.set(name, value);
  for (const [name, value] of forced) packet.set(name, value);
  return packet;
}
