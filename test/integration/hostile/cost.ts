/**
 * What an attack costs the gateway: memory that has grown, sockets that stay, the time of a client of good manners
 * meanwhile. Printed at the end; test/README.md has the figures of one run.
 */
import { readdirSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { Client } from 'pg';
import { expect } from 'vitest';
import { embeddedDatabase, embeddedHost } from '../../../src/io/launcher/node-layout.ts';
import type { Cluster } from '../../support/cluster.ts';
import { settled } from '../../support/polling.ts';

/** Sockets that come and go by themselves: links and connections of the gateway's own that are renewed. */
const ownSockets = 12;
const megabyte = 1024 * 1024;

export interface Limits {
  /** How much the gateway's memory may grow meanwhile. It is what the limits add up to and what a collector leaves. */
  readonly megabytes: number;
}

export class CostSheet {
  readonly #cluster: Cluster;
  readonly #lines: string[] = [];

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  sockets(node: number): number {
    return readdirSync(`/proc/${this.#cluster.gatewayPid(node)}/fd`).length;
  }

  /** Runs the attack; afterwards its sockets must be gone and a good client be served. */
  async of(
    name: string,
    node: number,
    { megabytes }: Limits,
    attack: () => Promise<string | void>,
  ): Promise<void> {
    const cluster = this.#cluster;
    const pid = cluster.gatewayPid(node);
    const before = { memory: cluster.gatewayMemory(node), sockets: this.sockets(node) };
    let peak = { memory: before.memory, sockets: before.sockets };
    const look = (): void => {
      peak = {
        memory: Math.max(peak.memory, cluster.gatewayMemory(node)),
        sockets: Math.max(peak.sockets, this.sockets(node)),
      };
    };
    const sampler = setInterval(look, 20);
    const begun = performance.now();
    const good = new GoodClient(cluster.node(node).gatewayPort);
    let note: string | void;
    try {
      await good.begin();
      note = await attack();
      look();
    } finally {
      clearInterval(sampler);
      await good.end();
    }
    const seconds = (performance.now() - begun) / 1000;
    const left = await settled(
      async () => this.sockets(node),
      (count) => count <= before.sockets + ownSockets,
    );
    const grown = (peak.memory - before.memory) / megabyte;
    this.#lines.push(
      `${name}: ${seconds.toFixed(1)} s, memory +${Math.max(0, grown).toFixed(1)} MB, sockets +` +
        `${peak.sockets - before.sockets}, then +${Math.max(0, left - before.sockets)}; ${good.summary}` +
        (note === undefined ? '' : `; ${note}`),
    );
    expect(cluster.gatewayPid(node), 'the same process').toBe(pid);
    expect(left, `${name}: sockets that stay`).toBeLessThanOrEqual(before.sockets + ownSockets);
    expect(grown, `${name}: memory`).toBeLessThan(megabytes);
    expect(good.failure, `${name}: what a good client met`).toBeUndefined();
    expect(good.answers, `${name}: answers to a good client`).toBeGreaterThan(0);
  }

  print(): void {
    process.stdout.write(`\n${this.#lines.map((line) => `  ${line}`).join('\n')}\n`);
  }
}

/** Reads in a session that was there before the attack, and must be answered all the time. */
class GoodClient {
  readonly #client: Client;
  readonly #times: number[] = [];
  #loop: Promise<void> | undefined;
  #on = true;
  failure: Error | undefined;

  constructor(port: number) {
    this.#client = new Client({
      ssl: false,
      host: embeddedHost,
      port,
      user: 'postgres',
      database: embeddedDatabase,
    });
    this.#client.on('error', (error) => (this.failure ??= error));
  }

  async begin(): Promise<void> {
    await this.#client.connect();
    this.#loop = this.#work();
  }

  get answers(): number {
    return this.#times.length;
  }

  /** Its longest wait, and the one that 99 of 100 were below. */
  get summary(): string {
    const sorted = this.#times.toSorted((one, other) => one - other);
    const p99 = sorted[Math.floor(sorted.length * 0.99)] ?? 0;
    return `others: p99 ${p99.toFixed(1)} ms, longest ${(sorted.at(-1) ?? 0).toFixed(0)} ms`;
  }

  async #work(): Promise<void> {
    try {
      while (this.#on) {
        const begun = performance.now();
        await this.#client.query('SELECT 1');
        this.#times.push(performance.now() - begun);
        await pause(5);
      }
    } catch (error) {
      this.failure ??= error as Error;
    }
  }

  async end(): Promise<void> {
    this.#on = false;
    await this.#loop;
    await this.#client.end().catch(() => undefined);
  }
}
