/**
 * RELOAD, SIGHUP and `mtm-gateway reload`: the settings are read again and those that need no restart are
 * applied, without a session's noticing.
 * Rule: everything that can fail is done before anything is changed.
 */
import type { Logger } from 'pino';
import { configsByDatabase } from '../config/databases.ts';
import type { LoadedSettings } from '../config/loading.ts';
import { applyLive, changesBetween } from '../config/reload.ts';
import type { GatewayConfig } from '../config/schema.ts';
import { ClientEncryption } from '../io/clients/client-encryption.ts';
import { GatewayError } from '../lib/gateway-error.ts';
import type { LogLevel } from '../telemetry/log-level.ts';
import type { NodeKeeper } from './node-keeper.ts';

export interface ReloadTargets {
  readonly keepers: ReadonlyMap<string, NodeKeeper>;
  readonly log: Logger;
  readonly logLevel: LogLevel;
  /** Clients that come from now on see this. */
  readonly encrypt: (encryption: ClientEncryption | undefined) => void;
}

export class Reloader {
  readonly #read: () => LoadedSettings;
  readonly #targets: ReloadTargets;
  #running: LoadedSettings;
  /** One after the other. */
  #last: Promise<unknown> = Promise.resolve();

  /** `running.config` is the object that the gateway works with: it is changed in place. */
  constructor(running: LoadedSettings, read: () => LoadedSettings, targets: ReloadTargets) {
    this.#running = running;
    this.#read = read;
    this.#targets = targets;
  }

  get running(): LoadedSettings {
    return this.#running;
  }

  /** Names of the settings that have changed. Rejects with a GatewayError, and has changed nothing then. */
  reload(): Promise<readonly string[]> {
    const mine = this.#last.then(() => this.#reload());
    this.#last = mine.catch(() => undefined); // whoever asked for it hears of it
    return mine;
  }

  async #reload(): Promise<readonly string[]> {
    const { log } = this.#targets;
    try {
      const next = this.#read();
      const changed = await this.#take(next);
      log.info({ changed }, 'the settings were read again');
      return changed;
    } catch (error) {
      log.error({ err: error }, 'the settings were read again and are not used: nothing was changed');
      throw error;
    }
  }

  async #take(next: LoadedSettings): Promise<readonly string[]> {
    const { live, restart } = changesBetween(this.#running, next);
    if (restart.length > 0) {
      const hint = 'Restart the gateway, or put the former values back and RELOAD the others.';
      const text = `nothing was changed, because a restart is needed for ${restart.join(', ')}`;
      throw new GatewayError('config-invalid', text, { hint, sqlstate: '55P02' });
    }
    const { log, keepers, encrypt, logLevel } = this.#targets;
    const { config } = next;
    const renewed = live.some((name) => name.startsWith('tls.') || name === 'authentication_timeout');
    const encryption = renewed
      ? ClientEncryption.of(config.clientTls, log, config.authenticationTimeoutMs)
      : undefined;
    if (live.includes('admin_role')) {
      await this.#writeAdminRole(config.adminRole);
    }
    this.#apply(config);
    this.#running = { config: this.#running.config, file: next.file };
    if (renewed) encrypt(encryption);
    logLevel.set(config.logLevel);
    for (const keeper of keepers.values()) keeper.reconfigured();
    return live;
  }

  /** In all databases or, when one of them does not take it, in none. */
  async #writeAdminRole(adminRole: string): Promise<void> {
    const before = this.#running.config.adminRole;
    const written: NodeKeeper[] = [];
    try {
      for (const keeper of this.#targets.keepers.values()) {
        await keeper.writeAdminRole(adminRole);
        written.push(keeper);
      }
    } catch (error) {
      // Where that fails too, the next start writes it.
      for (const keeper of written) await keeper.writeAdminRole(before).catch(() => undefined);
      throw error;
    }
  }

  #apply(next: GatewayConfig): void {
    applyLive(this.#running.config, next);
    const each = configsByDatabase(next);
    for (const [index, keeper] of [...this.#targets.keepers.values()].entries())
      applyLive(keeper.config, each[index] ?? next);
  }
}
