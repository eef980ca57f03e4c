/**
 * Can this Redis be a referee? A grant that it has answered must never be forgotten or given twice, so it has
 * to be one server that writes every command to disk before it answers, and throws nothing away.
 * Rule: what cannot be judged is refused. Pure: it is given what CONFIG GET and INFO said.
 */

/** Of CONFIG GET; undefined: the server does not tell. */
export type RedisSettings = Readonly<Record<string, string | undefined>>;

const wanted: Readonly<Record<string, readonly [value: string, why: string]>> = {
  appendonly: ['yes', 'a grant must survive a restart'],
  appendfsync: ['always', 'a grant must be on disk before it is answered'],
  'no-appendfsync-on-rewrite': ['no', 'a grant must be on disk before it is answered, at any time'],
  'maxmemory-policy': ['noeviction', 'a grant must not be evicted'],
};

export const judgedSettings: readonly string[] = Object.keys(wanted);

export function infoOf(text: string): ReadonlyMap<string, string> {
  const fields = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    const colon = line.indexOf(':');
    if (colon > 0 && !line.startsWith('#')) fields.set(line.slice(0, colon), line.slice(colon + 1));
  }
  return fields;
}

/** What is wrong with it: one clause that follows its name; undefined: it is suitable. */
export function redisObjection(
  settings: RedisSettings,
  info: ReadonlyMap<string, string>,
): string | undefined {
  for (const [name, [value, why]] of Object.entries(wanted)) {
    const has = settings[name];
    if (has === undefined) return `does not tell its ${name}, so it cannot be judged`;
    if (has !== value) return `has ${name} ${has} and needs ${value}: ${why}`;
  }
  const mode = info.get('redis_mode');
  if (mode !== 'standalone' || info.get('cluster_enabled') === '1')
    return `runs as ${mode ?? 'something unknown'} and must be a single server`;
  const role = info.get('role');
  if (role !== 'master') return `is a ${role ?? 'server of unknown role'} and must be the only server`;
  const replicas = info.get('connected_slaves');
  if (replicas !== '0')
    return `has ${replicas ?? 'an unknown number of'} replicas: a promoted one may not know of a grant`;
  if (info.get('aof_enabled') !== '1' || firstRewriteRuns(info))
    return 'is not writing its append-only file yet: a grant must survive a restart';
  const status = info.get('aof_last_write_status');
  if (status !== 'ok') return `cannot write its append-only file (${status ?? 'state unknown'})`;
  return undefined;
}

/** After CONFIG SET appendonly yes the file is complete only when its first rewrite has ended. */
function firstRewriteRuns(info: ReadonlyMap<string, string>): boolean {
  const base = Number(info.get('aof_base_size') ?? 0);
  return (
    base === 0 && (info.get('aof_rewrite_in_progress') === '1' || info.get('aof_rewrite_scheduled') === '1')
  );
}
