/**
 * What changes when settings are read again, and how the live ones get into a gateway that runs.
 * Rule: all or nothing. A change that needs a restart refuses the whole, so that the running gateway never
 * has half of a file. A live setting is asked for where it is used, each time; whoever keeps a copy of one is
 * told (node/reloader.ts).
 */
import type { LoadedSettings } from './loading.ts';
import type { GatewayConfig } from './schema.ts';
import { keyOf, settings, type Setting } from './settings.ts';

export interface Changes {
  /** Names of settings. */
  readonly live: readonly string[];
  readonly restart: readonly string[];
}

export function valueIn(file: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (value, key) => (typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined),
    file,
  );
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** Nodes come and go by add-node and drop-node; RELOAD only tells where they are. */
function isLive(setting: Setting, running: GatewayConfig, next: GatewayConfig): boolean {
  const ids = ({ peers }: GatewayConfig): number[] => peers.map(({ id }) => id).sort((a, b) => a - b);
  if (setting.name === 'peers') return same(ids(running), ids(next));
  return setting.reload === 'live';
}

export function changesBetween(running: LoadedSettings, next: LoadedSettings): Changes {
  const changed = settings.filter(
    ({ path }) => !same(valueIn(running.file, path) ?? null, valueIn(next.file, path) ?? null),
  );
  const live = changed.filter((setting) => isLive(setting, running.config, next.config));
  const restart = changed.filter((setting) => !live.includes(setting)).map(({ name }) => name);
  // The same file may have another content.
  const secrets = [
    ['cluster_secret_file', running.config.clusterSecret, next.config.clusterSecret],
    ['postgres.password_file', running.config.postgres.password, next.config.postgres.password],
    ['referee_password_file', running.config.referee?.password, next.config.referee?.password],
  ] as const;
  for (const [name, before, now] of secrets) {
    const covered = restart.some((each) => each === name || each === name.replace(/_file$/, ''));
    if (before !== now && !covered && !restart.includes('referee_connstring')) restart.push(name);
  }
  return { live: live.map(({ name }) => name), restart };
}

/** Groups whose settings are live, as GatewayConfig calls them. */
const groups: Readonly<Record<string, string>> = { tls: 'clientTls' };

/** Keys of GatewayConfig that live settings stand behind. */
export const liveKeys: readonly string[] = [
  ...new Set(
    settings
      .filter(({ reload }) => reload === 'live')
      .map((setting) => (setting.path.length === 1 ? keyOf(setting) : (groups[setting.path[0] ?? ''] ?? ''))),
  ),
];

/** The live settings of `running` become those of `next`; the object stays the same. */
export function applyLive(running: GatewayConfig, next: GatewayConfig): void {
  for (const key of liveKeys) Reflect.set(running, key, Reflect.get(next, key));
}
