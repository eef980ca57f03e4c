/**
 * What the HTTP port says of a gateway: all its databases together. Rule: made when somebody asks, and not
 * anew for everybody who asks at the same time.
 */
import type { GatewaySource } from '../admin/status-report.ts';
import type { GatewayConfig } from '../config/schema.ts';
import { gatewayVersion } from '../config/version.ts';
import { EventLoopDelay } from '../telemetry/event-loop.ts';
import type { RefusalTally } from '../telemetry/refusal-tally.ts';
import type { NodeKeeper } from './node-keeper.ts';

const sampleMs = 1000;
/** An answer is as old as this at most. */
const freshMs = 250;

export class GatewayReport {
  readonly #config: GatewayConfig;
  readonly #keepers: ReadonlyMap<string, NodeKeeper>;
  readonly #version = gatewayVersion();
  readonly #loop = new EventLoopDelay();
  readonly #refused: RefusalTally;
  readonly #strangers: () => number;
  #timer: NodeJS.Timeout | undefined;
  #source: GatewaySource | undefined;
  #madeAt = -Infinity;

  constructor(
    config: GatewayConfig,
    keepers: ReadonlyMap<string, NodeKeeper>,
    refused: RefusalTally,
    strangers: () => number,
  ) {
    this.#config = config;
    this.#keepers = keepers;
    this.#refused = refused;
    this.#strangers = strangers;
  }

  start(): void {
    this.#loop.start();
    this.#timer = setInterval(() => this.#sample(), sampleMs).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#loop.stop();
  }

  get source(): GatewaySource {
    const now = performance.now();
    if (this.#source !== undefined && now - this.#madeAt < freshMs) return this.#source;
    this.#madeAt = now;
    this.#source = this.#make();
    return this.#source;
  }

  #sample(): void {
    const now = performance.now();
    this.#loop.sample();
    for (const { telemetry } of this.#keepers.values()) telemetry.sample(now);
  }

  #make(): GatewaySource {
    const { nodeId, clusterName } = this.#config;
    return {
      node: nodeId,
      cluster: clusterName,
      version: this.#version,
      uptimeSeconds: process.uptime(),
      loopDelay: this.#loop.recent,
      refusedClients: Object.fromEntries(this.#refused.counts),
      strangers: this.#strangers(),
      databases: [...this.#keepers].map(([database, { node, telemetry }]) => ({
        database,
        telemetry,
        report: node?.view.report,
      })),
    };
  }
}
