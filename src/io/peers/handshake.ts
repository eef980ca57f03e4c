/**
 * Mutual authentication of two gateways, without sockets: bytes in, bytes and a result out.
 *
 *   dialler:   hello sent → challenge received, proof sent → verdict received → accepted | failed
 *   listener:  hello received, challenge sent → proof received, verdict sent → accepted | rejected
 *
 *     proof       = HMAC-SHA256(secret, "mtm dialler"  hello challenge)
 *     verdict.mac = HMAC-SHA256(secret, "mtm listener" hello challenge proof verdict)
 *
 * So both nonces, both ids with their `since`, both incarnations, the versions, the cluster names, the
 * purpose and the role are covered: nothing can be replayed, reflected or changed on the way.
 * Rule: before its proof a stranger gets the same 40 bytes as everybody; after a wrong one, a fixed answer.
 * It must never compare a mac but in constant time, nor say anything about this node to somebody unproved.
 * It authenticates the two ends of the connection at its beginning; the bytes behind it are protected by TLS,
 * where there is TLS (peer-encryption.ts), else by the network only.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { NodeId } from '../../core/identity.ts';
import {
  anyNode,
  challengeBytes,
  decodeHello,
  decodeVerdict,
  encodeChallenge,
  encodeHello,
  encodeVerdict,
  hasMagic,
  helloBytes,
  macBytes,
  nonceBytes,
  verdictBytes,
  type ConnectionPurpose,
  type Hello,
  type VersionRange,
} from './handshake-message.ts';
import {
  linkReason,
  otherNodeReason,
  rejectionReason,
  rejections,
  type LinkReason,
  type Rejection,
} from './link-reason.ts';
import type { PeerTlsMode } from './peer-encryption.ts';

/** Who this gateway is, in handshakes. */
export interface Identity {
  readonly clusterName: string;
  readonly secret: string;
  readonly nodeId: NodeId;
  readonly incarnation: number;
  /** The generation that added this node at run time; 0 for a node of the configuration files. */
  readonly since: number;
  readonly versions: VersionRange;
  /** Of the connections below. */
  readonly tls: PeerTlsMode;
}

/** Whom a dialler means to reach. */
export interface Target {
  /** `anyNode` for whoever listens there, with the purpose `copy` only. */
  readonly id: NodeId;
  /** Undefined when any node with this id will do. */
  readonly since: number | undefined;
}

export interface Accepted {
  readonly kind: 'accepted';
  readonly peer: NodeId;
  readonly incarnation: number;
  readonly since: number;
  readonly version: number;
  readonly purpose: ConnectionPurpose;
  /** What came behind the handshake in the same packet. */
  readonly rest: Buffer;
}

export interface Failed {
  readonly kind: 'failed';
  readonly reason: LinkReason;
  /**
   * The node that the other side claims to be; it has proved it unless the reason is wrong-secret. Undefined
   * also for a command (purpose `copy`): it is no peer, whatever its node id.
   */
  readonly claimed: NodeId | undefined;
}

/** `send` goes out in any case, before a failed connection is closed. */
export interface HandshakeStep {
  readonly send?: Buffer;
  readonly result?: Accepted | Failed;
}

/** Collects exactly the bytes that the next message has; what comes too early is a breach. */
class Inbox {
  #bytes: Buffer = Buffer.alloc(0);

  /** False as soon as the first bytes are not ours, however few they are. */
  push(chunk: Buffer): boolean {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    return hasMagic(this.#bytes);
  }

  append(chunk: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
  }

  take(bytes: number): Buffer | undefined {
    if (this.#bytes.length < bytes) return undefined;
    const taken = Buffer.from(this.#bytes.subarray(0, bytes));
    this.#bytes = this.#bytes.subarray(bytes);
    return taken;
  }

  get length(): number {
    return this.#bytes.length;
  }

  rest(): Buffer {
    return this.#bytes;
  }
}

export class DialerHandshake {
  readonly #identity: Identity;
  readonly #target: Target;
  readonly #purpose: ConnectionPurpose;
  readonly #inbox = new Inbox();
  /** The bytes sent first. */
  readonly hello: Buffer;
  #transcript: Buffer | undefined;

  constructor(identity: Identity, target: Target, purpose: ConnectionPurpose = 'link') {
    this.#identity = identity;
    this.#target = target;
    this.#purpose = purpose;
    const { clusterName, incarnation, since, versions, nodeId } = identity;
    const nonce = randomBytes(nonceBytes);
    this.hello = encodeHello({
      versions,
      from: nodeId,
      to: target.id,
      purpose,
      incarnation,
      since,
      nonce,
      clusterName,
    });
  }

  /** From now on the listener may have accepted this side. */
  get proofSent(): boolean {
    return this.#transcript !== undefined;
  }

  push(chunk: Buffer): HandshakeStep {
    if (!this.#inbox.push(chunk)) return this.#fail('not-a-peer', this.#notAPeer());
    if (this.#transcript === undefined) {
      const challenge = this.#inbox.take(challengeBytes);
      if (challenge === undefined) return {};
      if (this.#inbox.length > 0) return this.#fail('not-a-peer', this.#notAPeer());
      const proof = mac(this.#identity.secret, 'mtm dialler', this.hello, challenge);
      this.#transcript = Buffer.concat([this.hello, challenge, proof]);
      return { send: proof };
    }
    const bytes = this.#inbox.take(verdictBytes);
    return bytes === undefined ? {} : this.#verdict(bytes, this.#transcript);
  }

  #verdict(bytes: Buffer, transcript: Buffer): HandshakeStep {
    const verdict = decodeVerdict(bytes);
    const name = verdict === undefined ? undefined : rejections[verdict.code];
    if (verdict === undefined || name === undefined) return this.#fail('not-a-peer', this.#notAPeer());
    const body = bytes.subarray(0, verdictBytes - macBytes);
    const expected = mac(this.#identity.secret, 'mtm listener', transcript, body);
    if (name === 'wrong-secret' || !timingSafeEqual(expected, bytes.subarray(verdictBytes - macBytes))) {
      return this.#reject('wrong-secret', this.#target.id, '', { min: 0, max: 0 });
    }
    if (name !== 'accepted') return this.#reject(name, verdict.node, verdict.clusterName, verdict.versions);
    const { node, incarnation, since, version } = verdict;
    const target = this.#target;
    if (target.id !== anyNode && node !== target.id)
      return this.#reject('wrong-node', node, '', verdict.versions);
    if (target.since !== undefined && since !== target.since) {
      const reason = otherNodeReason(this.#identity.nodeId, { id: node, since: target.since }, since);
      return { result: { kind: 'failed', reason, claimed: node } };
    }
    const rest = this.#inbox.rest();
    return {
      result: { kind: 'accepted', peer: node, incarnation, since, version, purpose: this.#purpose, rest },
    };
  }

  #reject(rejection: Rejection, node: NodeId, cluster: string, versions: VersionRange): HandshakeStep {
    const { nodeId, clusterName, incarnation } = this.#identity;
    const own = { node: nodeId, cluster: clusterName, versions: range(this.#identity.versions), incarnation };
    const listener = { node, cluster, versions: range(versions) };
    const reason = rejectionReason(rejection, { dialer: own, listener, target: this.#target.id });
    return { result: { kind: 'failed', reason, claimed: node === anyNode ? undefined : node } };
  }

  #fail(kind: 'not-a-peer', text: string): HandshakeStep {
    return { result: { kind: 'failed', reason: linkReason(kind, text), claimed: undefined } };
  }

  #notAPeer(): string {
    const { id } = this.#target;
    const whose = id === anyNode ? 'the peer address that was called' : `node ${id}'s peer address`;
    return `what listens at ${whose} is not a gateway`;
  }
}

/** What the listener checks after the proof; undefined when the peer is welcome. */
export type Admission = (hello: {
  readonly from: NodeId;
  readonly incarnation: number;
  readonly since: number;
  readonly purpose: ConnectionPurpose;
}) => Rejection | undefined;

export class ListenerHandshake {
  readonly #identity: Identity;
  readonly #admit: Admission;
  readonly #inbox = new Inbox();
  #hello: { readonly bytes: Buffer; readonly value: Hello; readonly challenge: Buffer } | undefined;

  /** `admit` is asked about peers that have proved themselves and name this cluster and node. */
  constructor(identity: Identity, admit: Admission) {
    this.#identity = identity;
    this.#admit = admit;
  }

  push(chunk: Buffer): HandshakeStep {
    if (this.#hello === undefined) {
      if (!this.#inbox.push(chunk)) return stranger();
      const bytes = this.#inbox.take(helloBytes);
      if (bytes === undefined) return {};
      const value = decodeHello(bytes);
      if (value === undefined || this.#inbox.length > 0) return stranger();
      const challenge = encodeChallenge(randomBytes(nonceBytes));
      this.#hello = { bytes, value, challenge };
      return { send: challenge };
    }
    this.#inbox.append(chunk);
    const proof = this.#inbox.take(macBytes);
    return proof === undefined ? {} : this.#judge(this.#hello, proof);
  }

  #judge(hello: { bytes: Buffer; value: Hello; challenge: Buffer }, proof: Buffer): HandshakeStep {
    const { secret } = this.#identity;
    const proved = timingSafeEqual(mac(secret, 'mtm dialler', hello.bytes, hello.challenge), proof);
    const rejection = proved ? this.#rejection(hello.value) : 'wrong-secret';
    const version = rejection === undefined ? this.#commonVersion(hello.value) : 0;
    const send = proved ? this.#verdict(hello, proof, rejection, version) : refusalOfStranger();
    if (rejection !== undefined) return { send, result: this.#failed(rejection, hello.value) };
    const { from, incarnation, since, purpose } = hello.value;
    const rest = this.#inbox.rest();
    return { send, result: { kind: 'accepted', peer: from, incarnation, since, version, purpose, rest } };
  }

  /** Only for somebody who knows the secret. The order matters: the first thing wrong explains the others. */
  #rejection(hello: Hello): Rejection | undefined {
    const { nodeId, clusterName } = this.#identity;
    if (this.#commonVersion(hello) === 0) return 'wrong-version';
    if (hello.clusterName !== clusterName) return 'wrong-cluster';
    if (hello.from === nodeId) return 'own-id';
    if (hello.to !== nodeId && hello.to !== anyNode) return 'wrong-node';
    return this.#admit(hello);
  }

  /** The highest version that both speak; 0 when there is none. */
  #commonVersion(hello: Hello): number {
    const highest = Math.min(hello.versions.max, this.#identity.versions.max);
    return highest >= Math.max(hello.versions.min, this.#identity.versions.min) ? highest : 0;
  }

  #verdict(
    hello: { bytes: Buffer; challenge: Buffer },
    proof: Buffer,
    rejection: Rejection | undefined,
    version: number,
  ): Buffer {
    const { nodeId, incarnation, since, clusterName, versions, secret } = this.#identity;
    const code = rejections.indexOf(rejection ?? 'accepted');
    const body = encodeVerdict({ code, node: nodeId, incarnation, since, version, versions, clusterName });
    return Buffer.concat([body, mac(secret, 'mtm listener', hello.bytes, hello.challenge, proof, body)]);
  }

  #failed(rejection: Rejection, hello: Hello): Failed {
    const { nodeId, clusterName, versions } = this.#identity;
    const { from, incarnation } = hello;
    const reason = rejectionReason(rejection, {
      dialer: { node: from, cluster: hello.clusterName, versions: range(hello.versions), incarnation },
      listener: { node: nodeId, cluster: clusterName, versions: range(versions) },
      target: hello.to,
    });
    return { kind: 'failed', reason, claimed: hello.purpose === 'copy' ? undefined : from };
  }
}

function stranger(): HandshakeStep {
  const reason = linkReason('not-a-peer', 'something that is not a gateway called the peer port');
  return { result: { kind: 'failed', reason, claimed: undefined } };
}

/** The same bytes for every wrong proof: it says that the proof was wrong and nothing about this node. */
function refusalOfStranger(): Buffer {
  const code = rejections.indexOf('wrong-secret');
  const body = encodeVerdict({
    code,
    node: 0,
    incarnation: 0,
    since: 0,
    version: 0,
    versions: { min: 0, max: 0 },
    clusterName: '',
  });
  return Buffer.concat([body, Buffer.alloc(macBytes)]);
}

function mac(secret: string, role: string, ...parts: readonly Buffer[]): Buffer {
  const hmac = createHmac('sha256', secret).update(role);
  for (const part of parts) hmac.update(part);
  return hmac.digest();
}

function range(versions: VersionRange): string {
  return versions.min === versions.max ? `${versions.min}` : `${versions.min} to ${versions.max}`;
}
