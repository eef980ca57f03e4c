/**
 * Plays a dialogue with the liveness machine. Lines that begin with `>` are events, the lines that follow
 * each are the effects that the machine gave; `#` lines and blank lines are kept. Grammar of an event, times
 * in ms:
 *
 *     cluster SELF of NODE… members NODE…      (first line; send timeout 200, recv timeout 2000; the node is
 *                                              online in generation 1)
 *     > NOW tick [wall MS]                     (wall: how far the wall clock is ahead of the usual)
 *     > NOW heartbeat FROM [generation N] [offline] [unhealthy REASON]
 *     > NOW standing none | online N | recovering N [voted N]
 *     > NOW stopped FROM REASON
 *     > NOW answer FROM SENT [voted N]
 *     > NOW link-up TO · > NOW link-down TO REASON · > NOW introduced FROM INCARNATION
 *     > NOW healthy · > NOW unhealthy STATUS REASON
 *     > NOW query
 */
import { HybridClock } from '../../../../src/core/generation/hybrid-clock.ts';
import { Liveness } from '../../../../src/core/generation/liveness.ts';
import type {
  LivenessEffect,
  LivenessEvent,
  Standing,
} from '../../../../src/core/generation/liveness-event.ts';

const wallAtZero = 1_000_000;

export function play(script: string): string {
  let machine: Liveness | undefined;
  const output: string[] = [];
  for (const line of script.split('\n')) {
    if (line.startsWith('cluster ')) machine = fromCluster(line);
    if (line === '' || line.startsWith('#') || line.startsWith('cluster ')) output.push(line);
    if (!line.startsWith('> ')) continue;
    if (machine === undefined) throw new Error('a script begins with its cluster');
    output.push(line);
    const words = line.slice(2).split(' ');
    if (words[1] === 'query') output.push(...query(machine, Number(words[0])));
    else output.push(...machine.step(parse(words)).map((effect) => `  ${describeEffect(effect)}`));
  }
  return output.join('\n');
}

function fromCluster(line: string): Liveness {
  const match = /^cluster (\d+) of ([\d ]+) members ([\d ]+)$/.exec(line);
  if (match === null) throw new Error(`not a cluster: ${line}`);
  const ids = (text: string | undefined) => (text ?? '').split(' ').map(Number);
  self = Number(match[1]);
  configured = ids(match[2]);
  members = ids(match[3]);
  const machine = new Liveness({
    self: Number(match[1]),
    configured,
    sendTimeoutMs: 200,
    recvTimeoutMs: 2000,
    clock: new HybridClock(),
    now: 0,
  });
  machine.step({ kind: 'standing-changed', now: 0, standing: standing('online', 1, 1) });
  return machine;
}

let self = 0;
let configured: readonly number[] = [];
let members: readonly number[] = [];

function standing(word: string, number: number, maxVoted: number): Standing {
  const generation = word === 'none' ? undefined : { number, members, configured };
  return { generation, maxVoted, lastOnline: number, online: word === 'online', level: false };
}

function parse(words: readonly string[]): LivenessEvent {
  const [nowText, kind, first, second, ...rest] = words;
  const now = Number(nowText);
  const after = (word: string) => {
    const at = words.indexOf(word);
    return at < 0 ? undefined : words.slice(at + 1);
  };
  const number = (word: string, otherwise: number) => Number(after(word)?.[0] ?? otherwise);
  const text = [second, ...rest].join(' ');
  switch (kind) {
    case 'tick':
      return { kind: 'ticked', now, wallMs: wallAtZero + now + number('wall', 0) };
    case 'heartbeat': {
      const reason = after('unhealthy')?.join(' ');
      const generation = number('generation', 1);
      const health = { healthy: reason === undefined, reason: reason ?? '' };
      const onlineIn = reason !== undefined || words.includes('offline') ? 0 : generation;
      const fixed = {
        kind: 'heartbeat',
        sentAt: now,
        maxVoted: generation,
        lastOnline: generation,
        onlineIn,
        level: false,
        connected: [],
        clock: 5,
      } as const;
      return {
        kind: 'heartbeat-received',
        now,
        from: Number(first),
        message: { ...fixed, generation, ...health },
      };
    }
    case 'answer': {
      const message = {
        kind: 'heartbeat-answer',
        sentAt: Number(second),
        maxVoted: number('voted', 1),
        withheld: words.includes('withheld'),
        clock: 5,
      } as const;
      return { kind: 'heartbeat-answer-received', now, from: Number(first), message };
    }
    case 'standing': {
      const generation = Number(second ?? 0);
      return {
        kind: 'standing-changed',
        now,
        standing: standing(first ?? 'none', generation, number('voted', generation)),
      };
    }
    case 'stopped':
      return { kind: 'peer-stopped', now, from: Number(first), reason: text };
    case 'link-up':
      return { kind: 'link-up', now, to: Number(first) };
    case 'link-down':
      return { kind: 'link-down', now, to: Number(first), reason: text };
    case 'introduced':
      return { kind: 'peer-introduced', now, from: Number(first), incarnation: Number(second) };
    case 'healthy':
      return { kind: 'local-health-changed', now, health: { healthy: true } };
    case 'unhealthy':
      return {
        kind: 'local-health-changed',
        now,
        health: { healthy: false, status: first as 'recovery' | 'catchup' | 'disabled', reason: text },
      };
    default:
      throw new Error(`not an event: ${words.join(' ')}`);
  }
}

function describeEffect(effect: LivenessEffect): string {
  switch (effect.kind) {
    case 'send':
      return effect.message.kind === 'heartbeat'
        ? `to ${effect.to}: heartbeat sent ${effect.message.sentAt}, ` +
            `connected ${effect.message.connected.join(' ')}, online in ${effect.message.onlineIn}, ` +
            (effect.message.healthy ? 'healthy' : `unhealthy: ${effect.message.reason}`)
        : `to ${effect.to}: answer to ${effect.message.sentAt}, voted ${effect.message.maxVoted}` +
            (effect.message.withheld ? ', withheld' : '');
    case 'member-lost':
      return `lost ${effect.node}: ${effect.reason}`;
    case 'member-back':
      return `back ${effect.node}`;
  }
}

function query(machine: Liveness, now: number): string[] {
  const missing = machine.unreachableMembers(now).map(({ node, kind }) => `${node} ${kind}`);
  const connected = machine.connected(now).join(' ');
  return [
    `  lease ${machine.hasLease(now)}, connected ${connected}`,
    `  members reachable ${machine.membersReachable(now)}${missing.map((text) => `, ${text}`).join('')}`,
    `  may be left out: ${configured.filter((node) => free(machine, node, now)).join(' ')}`,
  ];
}

function free(machine: Liveness, node: number, now: number): boolean {
  return node !== self && machine.exclusion.blockedBy([node], now) === undefined;
}
