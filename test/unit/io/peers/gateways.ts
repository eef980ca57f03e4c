/**
 * Gateways' peer sides on loopback for tests of links. Rule: a test waits for what somebody hears, never for a
 * time; whoever uses it calls `cleanUp` after each test.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { Server } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { PeerMessage } from '../../../../src/core/peer/message.ts';
import { acknowledgeDelayMs, type LinkSettings } from '../../../../src/io/peers/link-settings.ts';
import {
  PeerLinks,
  type PeerLinksHandler,
  type PeerLinksOptions,
} from '../../../../src/io/peers/peer-links.ts';
import { freePort } from '../../../support/free-port.ts';

/** Everything that a handler heard, as text, and a way to wait for a text. */
export class Ear implements PeerLinksHandler {
  readonly heard: string[] = [];
  readonly messages: PeerMessage[] = [];
  /** Called within the handler, to see what a handler may do there. */
  onNote: (line: string) => void = () => undefined;
  #waiting: { readonly pattern: RegExp; readonly count: number; readonly resolve: () => void }[] = [];

  onMessage(from: number, message: PeerMessage): void {
    this.messages.push(message);
    this.#note(`message from ${from}: ${message.kind}`);
  }
  onLinkUp(to: number): void {
    this.#note(`up ${to}`);
  }
  onLinkDown(to: number, { kind }: { kind: string }): void {
    this.#note(`down ${to}: ${kind}`);
  }
  onPeerIncarnation(from: number, incarnation: number): void {
    this.#note(`incarnation of ${from}: ${incarnation}`);
  }
  onPeerStopped(from: number): void {
    this.#note(`stopped ${from}`);
  }
  onDrained(to: number): void {
    this.#note(`drained ${to}`);
  }

  async hears(pattern: RegExp, count = 1): Promise<void> {
    if (this.#count(pattern) >= count) return;
    await new Promise<void>((resolve) => this.#waiting.push({ pattern, count, resolve }));
  }

  #count(pattern: RegExp): number {
    return this.heard.filter((line) => pattern.test(line)).length;
  }

  #note(line: string): void {
    this.heard.push(line);
    this.onNote(line);
    for (const { pattern, count, resolve } of this.#waiting) if (this.#count(pattern) >= count) resolve();
  }
}

export const cleanups: (() => Promise<unknown>)[] = [];

export async function cleanUp(): Promise<void> {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
}

const log = { info: () => undefined, warn: () => undefined };

export function portOf(server: Server): number {
  const address = server.address();
  return address === null || typeof address === 'string' ? 0 : address.port;
}

export async function gateway(
  nodeId: number,
  ports: Readonly<Record<number, number>>,
  more: Partial<Omit<PeerLinksOptions, 'settings'>> & { settings?: Partial<LinkSettings> } = {},
): Promise<{ links: PeerLinks; ear: Ear }> {
  const ear = new Ear();
  const peers = Object.entries(ports)
    .map(([id, port]) => ({ id: Number(id), since: 0, host: '127.0.0.1', port }))
    .filter(({ id }) => id !== nodeId);
  const links = new PeerLinks({
    clusterName: 'shop',
    secret: 's3cret',
    nodeId,
    incarnation: 1,
    listen: { host: '127.0.0.1', port: ports[nodeId] ?? 0 },
    peers,
    log,
    handler: ear,
    random: () => 0.5,
    now: () => performance.now(),
    ...more,
  });
  await links.start();
  cleanups.push(() => links.stop());
  return { links, ear };
}

export async function twoPorts(): Promise<Record<number, number>> {
  return { 1: await freePort(), 2: await freePort() };
}

export const finished = (gid: string): PeerMessage => ({ kind: 'finished', gid });

/**
 * Node 2 as a process of its own, known to node 1 and talking to it, is killed with a message unread on the one link and
 * an acknowledgement unread on the other.
 */
export async function killPeer(
  a: { readonly links: PeerLinks; readonly ear: Ear },
  ports: Readonly<Record<number, number>>,
  ...more: readonly string[]
): Promise<void> {
  const program = fileURLToPath(new URL('gateway-process.ts', import.meta.url));
  const args = [program, String(ports[2]), String(ports[1]), ...more];
  const child = spawn(process.execPath, args, { stdio: 'inherit' });
  cleanups.push(async () => void child.kill('SIGKILL'));
  await watchedBy(a.links, 2);
  await a.ear.hears(/message from 2/);
  child.kill('SIGSTOP');
  assert.ok(a.links.send(2, finished('unread')));
  await new Promise((resolve) => setTimeout(resolve, 2 * acknowledgeDelayMs));
  child.kill('SIGKILL');
}

/** Resolves when the end of the peer's process would be noticed. */
export async function watchedBy(links: PeerLinks, node: number): Promise<void> {
  while (links.linkStatus().find((link) => link.node === node)?.watched !== true) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
