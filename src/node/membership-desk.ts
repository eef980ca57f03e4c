/**
 * mtm.add_node, mtm.join_node and mtm.drop_node (manual §F.31.4.3 and §F.31.4.4): what a person asks for
 * becomes a wish of the node machine, and he waits until the elections have made it true.
 *
 * Rules: one wish at a time. Asked again, each does nothing that is done already. A node is dropped only when
 * nobody hears it: a living one would go on serving what it has.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { GatewayConfig } from '../config/schema.ts';
import {
  highestAddedId,
  isFulfilled,
  nodesOf,
  obstacleTo,
  smallestFreeId,
  type ConfigurationWish,
} from '../core/generation/configuration.ts';
import type { Configuration } from '../core/generation/record.ts';
import type { NodeId } from '../core/identity.ts';
import type { NodeMachine } from '../core/node/node-machine.ts';
import { formatLsn, parseLsn } from '../io/postgres/lsn-text.ts';
import type { Seed } from '../io/store/seed.ts';
import type { Happening } from './drain.ts';
import { parseNodeAddress, type NodeAddress } from './node-address.ts';
import { peerAddresses } from './peer-addresses.ts';
import { RequestError } from './request-desk.ts';

const lookMs = 20;
/** An election takes milliseconds; longer than this it does not come about, ms. */
const wishLimitMs = 30_000;
/** A new node may have much to catch up with, ms. */
const joinLimitMs = 3_600_000;
const peerAnswerMs = 2_000;

type Machine = Pick<NodeMachine, 'configuration' | 'generation' | 'liveness' | 'status'>;

export interface MembershipNode {
  readonly config: GatewayConfig;
  readonly machine: Machine;
  event(event: Happening): void;
  /** A question to another gateway. */
  ask(to: NodeId, verb: string, args: unknown, timeoutMs: number): Promise<unknown>;
}

/** The answer to the question `copy-end` of another gateway. */
export function copyEnd(seed: Seed | undefined): object {
  return { copyEnd: seed === undefined ? null : formatLsn(seed.copyEnd) };
}

export class MembershipDesk {
  readonly #node: MembershipNode;
  #last: Promise<unknown> = Promise.resolve();

  constructor(node: MembershipNode) {
    this.#node = node;
  }

  /** `args`: {conninfo}. */
  async add(args: unknown): Promise<{ readonly id: NodeId }> {
    const { config, machine } = this.#node;
    this.#refuseReferee();
    const offset = config.peerListen.port - config.listen.port;
    const address = parseNodeAddress(String((args as { conninfo?: unknown } | null)?.conninfo), offset);
    if (typeof address === 'string') throw new RequestError('22023', `[multimaster] ${address}`);
    return this.#alone(async () => {
      for (;;) {
        this.#refuseFirst(address);
        const known = knownAt(machine.configuration, address);
        if (known !== undefined) return { id: known };
        const id = smallestFree(machine.configuration);
        const wish: ConfigurationWish = { kind: 'add', node: { id, ...address } };
        // Another node may have given the id away meanwhile: then there is a next one.
        await this.#come(wish, `node ${id} could not be added`);
      }
    });
  }

  #refuseReferee(): void {
    if (this.#node.config.referee === undefined) return;
    const hint = 'Take referee_connstring out of both configurations first, with both nodes online.';
    throw new RequestError('0A000', '[multimaster] with a referee a cluster has exactly two nodes', hint);
  }

  /** One of the first nodes is there already, and was not added. */
  #refuseFirst({ host, port }: NodeAddress): void {
    const { config, machine } = this.#node;
    const first = peerAddresses(config, machine.configuration).known.find(
      (peer) => peer.since === 0 && peer.host === host && peer.port === port,
    );
    const taken = first?.id ?? (isOwn(config, host, port) ? config.nodeId : undefined);
    if (taken === undefined) return;
    throw new RequestError('42710', `[multimaster] at ${host}:${port} there is node ${taken} already`);
  }

  /** `args`: {id}. */
  async drop(args: unknown): Promise<{ readonly dropped: boolean }> {
    const { config, machine } = this.#node;
    this.#refuseReferee();
    const id = idOf(args);
    if (id === config.nodeId)
      throw new RequestError('22023', `[multimaster] node ${id} cannot drop itself: call it on another node`);
    return this.#alone(async () => {
      const wish: ConfigurationWish = { kind: 'drop', node: id };
      if (isFulfilled(wish, machine.configuration)) return { dropped: false };
      const connected = machine.liveness.contacts(performance.now()).find(({ node }) => node === id);
      if (connected?.healthy === true) {
        const hint = `Stop the gateway of node ${id} first (manual F.31.4.4).`;
        throw new RequestError('55006', `[multimaster] node ${id} is connected`, hint);
      }
      await this.#come(wish, `node ${id} could not be dropped`);
      return { dropped: true };
    });
  }

  /** `args`: {id, lsn}. Resolves when the node is online. */
  async join(args: unknown): Promise<object> {
    const id = idOf(args);
    const text = (args as { lsn?: unknown }).lsn;
    const until = performance.now() + joinLimitMs;
    let checked = false;
    while (!this.#isOnline(id)) {
      const { machine } = this.#node;
      if (!nodesOf(machine.configuration).includes(id)) {
        const hint = 'mtm.add_node adds one and returns its id.';
        throw new RequestError('22023', `[multimaster] the cluster has no node ${id}`, hint);
      }
      if (!checked && typeof text === 'string') checked = await this.#checkCopy(id, parseLsn(text));
      if (performance.now() > until) {
        const hint = `Look at mtm.status() and the log of node ${id}; the call may be repeated.`;
        throw new RequestError('57014', `[multimaster] node ${id} is not online after an hour`, hint);
      }
      await pause(10 * lookMs);
    }
    return {};
  }

  #isOnline(id: NodeId): boolean {
    const { generation, liveness } = this.#node.machine;
    if (generation?.members.includes(id) !== true) return false;
    const contacts = liveness.contacts(performance.now());
    return contacts.some(({ node, onlineIn }) => node === id && onlineIn === generation.number);
  }

  /** True when the node could be asked where its copy ends, and it is there. */
  async #checkCopy(id: NodeId, expected: bigint): Promise<boolean> {
    let answer: { readonly copyEnd: string | null };
    try {
      answer = (await this.#node.ask(id, 'copy-end', {}, peerAnswerMs)) as { copyEnd: string | null };
    } catch {
      return false; // it is not there yet
    }
    if (answer.copyEnd === null || parseLsn(answer.copyEnd) === expected) return true;
    throw new RequestError(
      '22023',
      `[multimaster] the copy of node ${id} ends at ${answer.copyEnd}, not at ${formatLsn(expected)}`,
      'It is started with recovery_target = immediate, and this is the end of the backup it was made of.',
    );
  }

  /** Resolves when the wish is true, or has become impossible by somebody else's. */
  async #come(wish: ConfigurationWish, failure: string): Promise<void> {
    const { machine } = this.#node;
    const until = performance.now() + wishLimitMs;
    const open = (): boolean =>
      !isFulfilled(wish, machine.configuration) && obstacleTo(wish, machine.configuration) === undefined;
    if (!open() && !isFulfilled(wish, machine.configuration)) {
      const reason = obstacleTo(wish, machine.configuration) ?? '';
      throw new RequestError('55000', `[multimaster] ${failure}: ${reason}`);
    }
    this.#node.event((now) => ({ kind: 'configuration-wished', now, wish }));
    try {
      while (open()) {
        if (performance.now() > until) {
          const { status, reason } = machine.status(performance.now());
          const why = `this node is ${status}${reason === '' ? '' : `: ${reason}`}`;
          throw new RequestError('57P03', `[multimaster] ${failure}: no election has come about; ${why}`);
        }
        await pause(lookMs);
      }
    } finally {
      this.#node.event((now) => ({ kind: 'configuration-wished', now, wish: undefined }));
    }
  }

  /** One after the other: a machine has one wish. */
  async #alone<Result>(work: () => Promise<Result>): Promise<Result> {
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => undefined); // its caller hears of it
    return turn;
  }
}

function knownAt({ added }: Configuration, { host, port }: NodeAddress): NodeId | undefined {
  return added.find((node) => node.host === host && node.port === port)?.id;
}

function isOwn({ peerListen }: GatewayConfig, host: string, port: number): boolean {
  return peerListen.host === host && peerListen.port === port;
}

function smallestFree(configuration: Configuration): NodeId {
  const id = smallestFreeId(nodesOf(configuration));
  if (id !== undefined) return id;
  throw new RequestError('54000', `[multimaster] a cluster has at most ${highestAddedId} nodes`);
}

function idOf(args: unknown): NodeId {
  const id = Number((args as { id?: unknown } | null)?.id);
  if (Number.isInteger(id) && id >= 1) return id;
  throw new RequestError('22023', '[multimaster] node_id must be the number of a node');
}
