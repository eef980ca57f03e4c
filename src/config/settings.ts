/**
 * The settings as a list: what documents, environment, flags and SHOW need to know of each, read off the
 * schema.
 * Rule: nothing about a setting is written here; it all comes from schema.ts.
 */
import { z } from 'zod';
import type { FieldKind } from './fields.ts';
import { withoutRefereePassword } from './referee-address.ts';
import { fileSchema, type GatewayConfig } from './schema.ts';

export interface Setting {
  /** `listen.port`: the path in the file. */
  readonly name: string;
  readonly path: readonly string[];
  /** `MTM_LISTEN_PORT`. */
  readonly variable: string;
  /** `listen-port`, written --listen-port. */
  readonly flag: string;
  readonly kind: FieldKind;
  /** Undefined: it has no default. */
  readonly usual: unknown;
  readonly required: boolean;
  readonly description: string;
  /** The words allowed, when only some are. */
  readonly choices: readonly string[] | undefined;
  /** Live: a gateway that runs takes it over with RELOAD. */
  readonly reload: 'live' | 'restart';
}

interface SchemaNode {
  readonly kind?: FieldKind;
  readonly reload?: 'live';
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly string[];
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly required?: readonly string[];
}

/** The JSON schema of gateway.yaml (draft 2020-12). */
export function jsonSchema(): SchemaNode {
  return z.toJSONSchema(fileSchema, { io: 'input' }) as SchemaNode;
}

function collect(node: SchemaNode, path: readonly string[]): Setting[] {
  const settings: Setting[] = [];
  for (const [key, child] of Object.entries(node.properties ?? {})) {
    const here = [...path, key];
    if (child.kind === undefined) {
      settings.push(...collect(child, here));
      continue;
    }
    settings.push({
      name: here.join('.'),
      path: here,
      variable: `MTM_${here.join('_').toUpperCase()}`,
      flag: here.join('-').replaceAll('_', '-'),
      kind: child.kind,
      usual: child.default,
      required: node.required?.includes(key) === true && child.default === undefined,
      description: child.description ?? '',
      choices: child.enum,
      reload: child.reload ?? 'restart',
    });
  }
  return settings;
}

export const settings: readonly Setting[] = collect(jsonSchema(), []);

/** Never shown in an error or a table; in a SHOW only what is no secret of it. */
export function isSecret(name: string): boolean {
  return name === 'cluster_secret' || name === 'postgres.password' || name === 'referee_connstring';
}

function shownSize(bytes: number): string {
  for (const [unit, factor] of [
    ['GB', 1024 ** 3],
    ['MB', 1024 ** 2],
    ['kB', 1024],
  ] as const) {
    if (bytes > 0 && bytes % factor === 0) return `${bytes / factor}${unit}`;
  }
  return `${bytes}B`;
}

const camelNames: Readonly<Partial<Record<FieldKind, string>>> = { duration: 'Ms', size: 'Bytes' };

/** Where a setting that is in no group stands in GatewayConfig. */
export function keyOf(setting: Pick<Setting, 'name' | 'kind'>): string {
  const camel = setting.name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
  return camel + (camelNames[setting.kind] ?? '');
}

/**
 * What `SHOW multimaster.<name>` answers, for the settings that are not addresses or secrets; in
 * PostgreSQL's spelling.
 */
export function shownSettings(config: GatewayConfig): ReadonlyMap<string, string> {
  const shown = new Map<string, string>();
  for (const setting of settings) {
    if (setting.path.length > 1 || isSecret(setting.name) || setting.name === 'peers') continue;
    const value: unknown = Reflect.get(config, keyOf(setting));
    if (value === undefined) continue;
    shown.set(setting.name, shownValue(setting.kind, value));
  }
  shown.set('referee_connstring', withoutRefereePassword(config.refereeConnstring));
  return shown;
}

/** In PostgreSQL's spelling. */
export function shownValue(kind: FieldKind, value: unknown): string {
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  if (Array.isArray(value)) return value.join(', ');
  if (typeof value === 'number' && kind === 'duration') return value === 0 ? '0' : `${value}ms`;
  if (typeof value === 'number' && kind === 'size') return shownSize(value);
  return String(value);
}
