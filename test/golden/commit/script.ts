/**
 * Dialogues with the commit machine as text. A line is one of
 *
 *   # a remark                      kept as it is
 *   machine self=1 members=[1,2,3]  a new machine (again: a restart)
 *   > kind key=value …              an event
 *   > from 2: kind key=value …      a message of node 2
 *   < kind key=value …              an effect of the event above
 *   < to 2: kind key=value …        a message that it sends
 *   ?                               asks what a vote would tell; the answer follows as
 *   = quiet prepared=[…] committed=[…] settled=… answersOwed=…
 *
 * 1/2/3 is the gid of node 1, incarnation 2, counter 3. Data are their own text; a refusal is its SQLSTATE.
 */
import { blockingSize } from '../../../src/core/generation/quorum.ts';
import type { CommitEffect, CommitEvent } from '../../../src/core/commit/event.ts';
import { CommitMachine } from '../../../src/core/commit/machine.ts';
import { lowestFloor, OutcomeMemory } from '../../../src/core/commit/outcome-memory.ts';
import type { Gid, NodeId } from '../../../src/core/identity.ts';

type Fields = Record<string, unknown>;

/** Runs the events of a script; returns it with the effects that the machine gives now. */
export function replay(script: string): string {
  let machine: CommitMachine | undefined;
  const lines: string[] = [];
  for (const line of script.split('\n')) {
    if (line.startsWith('<') || line.startsWith('=')) continue;
    lines.push(line);
    if (line.startsWith('machine ')) machine = newMachine(parseFields(line.slice(8)));
    if (line === '?') lines.push(`= ${formatState(machine!)}`);
    if (!line.startsWith('>')) continue;
    if (machine === undefined) throw new Error('an event before the first machine');
    for (const effect of machine.step(parseEvent(line.slice(2)))) lines.push(`< ${formatEffect(effect)}`);
  }
  return lines.join('\n');
}

function newMachine(fields: Fields): CommitMachine {
  const members = fields['members'] as NodeId[];
  return new CommitMachine({
    self: fields['self'] as NodeId,
    generation: 1,
    members,
    blockingSize: blockingSize(members.length),
    waitPeerCommits: fields['waitPeerCommits'] !== false,
    retainBytes: (fields['retainBytes'] as number | undefined) ?? 1000,
    deadlockPrevention: 'smart',
    blockerTimeoutMs: 1000,
  });
}

function formatState(machine: CommitMachine): string {
  const { quiet, settled, answersOwed } = machine;
  const holdings = quiet || settled ? formatFields({ kind: 'quiet', ...machine.holdings() }) : 'busy';
  return `${holdings} settled=${settled} answersOwed=${answersOwed}`;
}

function parseEvent(text: string): CommitEvent {
  const message = /^from (\d+): (\S+) ?(.*)$/.exec(text);
  if (message !== null) {
    const fields = { refusal: undefined, ...parseFields(message[3]!) };
    return {
      kind: 'message-received',
      from: Number(message[1]),
      message: { kind: message[2], ...fields },
    } as unknown as CommitEvent;
  }
  const [kind, ...rest] = text.split(' ');
  return { kind, ...parseFields(rest.join(' ')) } as unknown as CommitEvent;
}

function parseFields(text: string): Fields {
  const fields: Fields = {};
  for (const [, key, value] of text.matchAll(/(\w+)=("[^"]*"|\{[^}]*\}|\[[^\]]*\]|\S+)/g)) {
    fields[key!] = parseValue(key!, value!);
  }
  return fields;
}

function parseValue(key: string, text: string): unknown {
  if (key === 'data') return new TextEncoder().encode(text.replaceAll('"', ''));
  if (key === 'commits') return new Set(parseValue('', text) as Gid[]);
  if (key === 'committed') return new OutcomeMemory(lowestFloor, parseValue('', text) as Gid[]);
  if (key === 'refusal') return { sqlstate: text, message: 'refused', node: 2, retryable: true };
  if (text.startsWith('[')) {
    const inner = text.slice(1, -1);
    return inner === '' ? [] : inner.split(',').map((item) => parseValue('', item));
  }
  if (text.startsWith('{')) return parseFields(text.slice(1, -1));
  const gid = /^(\d+)\/(\d+)\/(\d+)$/.exec(text);
  if (gid !== null) return `mtm:${gid[1]}:1:${gid[2]}:${gid[3]}`;
  if (text === 'true' || text === 'false') return text === 'true';
  return /^\d+$/.test(text) ? Number(text) : text.replaceAll('"', '');
}

function formatEffect(effect: CommitEffect): string {
  if (effect.kind !== 'send') return formatFields(effect);
  return `to ${effect.to}: ${formatFields(effect.message)}`;
}

function formatFields({ kind, ...fields }: { readonly kind: string }): string {
  const parts = Object.entries(fields as Fields).map(([key, value]) => {
    return value === undefined ? '' : ` ${key}=${formatValue(value)}`;
  });
  return kind + parts.join('');
}

function formatValue(value: unknown): string {
  if (value instanceof Uint8Array) return JSON.stringify(new TextDecoder().decode(value));
  if (Array.isArray(value)) return `[${value.map(formatValue).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    if ('sqlstate' in value) return String(value.sqlstate);
    return `{${formatFields(value as { kind: string })}}`;
  }
  const gid = /^mtm:(\d+):\d+:(\d+):(\d+)$/.exec(String(value));
  if (gid !== null) return `${gid[1]}/${gid[2]}/${gid[3]}`;
  return /\s/.test(String(value)) ? JSON.stringify(value) : String(value);
}
