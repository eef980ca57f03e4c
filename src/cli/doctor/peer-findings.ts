/**
 * The other nodes, as far as one machine can see them: whether their gateways answer and belong to the same
 * cluster, and, where `conninfo` of peers tells how clients reach them, whether their servers are alike.
 * Rule: the handshake is that of a command (purpose `copy`), which changes nothing at the peer.
 */
import { connect } from 'node:net';
import { Client } from 'pg';
import type { GatewayConfig, PeerConfig } from '../../config/schema.ts';
import type { NodeId } from '../../core/identity.ts';
import { dialCopy } from '../../io/peers/peer-stream.ts';
import type { ServerFinding } from '../../io/postgres-check.ts';

/** How far the clocks of two nodes may be apart, beside half of the time that asking takes, ms. */
const clockLimitMs = 500;

function finding(
  name: string,
  ok: boolean,
  must: boolean,
  has: string,
  needs: string,
  advice: string,
  fix?: string,
): ServerFinding {
  return { name, ok, must, has, needs, effect: 'now', advice: ok ? '' : advice, fix: ok ? undefined : fix };
}

/** Undefined: something listens there. */
function unreachable(host: string, port: number, limitMs: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: limitMs });
    const end = (reason: string | undefined): void => {
      socket.destroy();
      resolve(reason);
    };
    socket.once('connect', () => end(undefined));
    socket.once('timeout', () => end(`no answer within ${limitMs} ms`));
    socket.once('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
  });
}

async function gatewayFinding(config: GatewayConfig, peer: PeerConfig): Promise<ServerFinding> {
  const { host, port } = peer;
  const name = `node ${peer.id} at ${host}:${port}`;
  const needs = 'a gateway of this cluster';
  const silent = await unreachable(host, port, config.connectTimeoutMs);
  if (silent !== undefined) {
    const text =
      'start its gateway; else look at host and port in peers here, at its peer_listen and at firewalls';
    return finding(name, false, false, silent, needs, text, `nc -vz ${host} ${port}`);
  }
  const { clusterName, clusterSecret: secret, peerTls: tls, nodeId } = config;
  try {
    const caller = { clusterName, secret, tls, nodeId: nodeId as NodeId };
    const { socket } = await dialCopy(caller, { host, port, id: peer.id as NodeId }, config.connectTimeoutMs);
    socket.destroy();
    return finding(name, true, true, 'reached, same cluster and secret', needs, '');
  } catch (error) {
    const text = 'correct node_id, cluster_name, cluster_secret, peer_tls or peers, here or there';
    return finding(name, false, true, (error as Error).message, needs, text);
  }
}

export interface ServerFacts {
  readonly clock_ms: number;
  readonly major: number;
  readonly collation: string;
}

export const serverFactsQuery = `
  SELECT extract(epoch FROM clock_timestamp())::float8 * 1000 AS clock_ms,
         current_setting('server_version_num')::int / 10000 AS major,
         (SELECT format('%s %s %s', pg_encoding_to_char(encoding), datcollate, datctype)
            FROM pg_database WHERE datname = current_database()) AS collation`;

/** What the servers of two nodes must have in common, through the gateway of the other one. */
async function serverFindings(
  config: GatewayConfig,
  peer: PeerConfig,
  own: ServerFacts,
): Promise<ServerFinding[]> {
  const { conninfo } = peer;
  const name = `server of node ${peer.id}`;
  if (conninfo === undefined || !/^postgres(ql)?:\/\//.test(conninfo)) {
    const why = 'not looked at: peers has no conninfo for it that is a URL';
    return [finding(name, true, false, why, '', '')];
  }
  const { user, password } = config.postgres;
  const client = new Client({
    user,
    ...(password === undefined ? {} : { password }),
    ...(config.clientTls.certFile === undefined ? {} : { ssl: { rejectUnauthorized: false } }),
    connectionString: conninfo,
    application_name: 'mtm_admin',
    connectionTimeoutMillis: config.connectTimeoutMs,
  });
  client.on('error', () => undefined); // the query tells
  try {
    await client.connect();
    const asked = Date.now();
    const { rows } = await client.query<ServerFacts>(serverFactsQuery);
    return compared(name, own, rows[0]!, asked, Date.now());
  } catch (error) {
    const text = 'it was not compared: see that its gateway runs and lets this user in';
    return [finding(name, false, false, (error as Error).message, 'an answer', text)];
  } finally {
    await client.end().catch(() => undefined); // it may never have opened
  }
}

function compared(
  name: string,
  own: ServerFacts,
  its: ServerFacts,
  asked: number,
  answered: number,
): ServerFinding[] {
  const tookMs = answered - asked;
  const apartMs = Math.round(Math.abs(its.clock_ms - (asked + tookMs / 2)));
  const limit = clockLimitMs + tookMs / 2;
  const clock = 'a node with a slow clock wins every conflict: synchronise both';
  const collation = 'texts would be sorted and compared differently: create one of the databases anew';
  return [
    finding(
      `clock of ${name}`,
      apartMs <= limit,
      false,
      `${apartMs} ms from here`,
      `${clockLimitMs} ms`,
      clock,
      'chronyc tracking',
    ),
    finding(
      `collation of ${name}`,
      its.collation === own.collation,
      false,
      its.collation,
      own.collation,
      collation,
    ),
    finding(`version of ${name}`, true, false, `PostgreSQL ${its.major}, here ${own.major}`, '', ''),
  ];
}

/** `own`: undefined when the server of this node does not answer. */
export async function peerFindings(
  config: GatewayConfig,
  own: ServerFacts | undefined,
): Promise<ServerFinding[]> {
  const each = config.peers.map(async (peer) => {
    const gateway = await gatewayFinding(config, peer);
    if (!gateway.ok || own === undefined) return [gateway];
    return [gateway, ...(await serverFindings(config, peer, own))];
  });
  return (await Promise.all(each)).flat();
}
