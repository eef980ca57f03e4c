/**
 * Who changes definitions on which node, and the end of one of them by an administrator's word
 * (sql/ddl-activity.sql).
 * Rule: a node that gives no answer is named, not left out; nothing here ends what the nodes decide about.
 */
import type { NodeId } from '../core/identity.ts';
import type { Answerer, PeerQuestions } from './peer-questions.ts';
import { RequestError, type RequestHandler } from './request-desk.ts';
import type { VerbNode } from './verbs.ts';

const verbs = { look: 'local-ddl', release: 'local-release' } as const;

/** A peer answers within, ms. */
const peerAnswerMs = 5000;

type Row = Readonly<Record<string, unknown>>;

/** For functions of the server. */
export function ddlHandlers(node: VerbNode, peers: PeerQuestions): Record<string, RequestHandler> {
  const self = node.parts.config.nodeId;
  const ask = (to: NodeId, verb: string, args: object): Promise<unknown> =>
    to === self ? answer(node, verb, args) : peers.ask(to, verb, args, peerAnswerMs);
  const rowsOf = async (at: NodeId): Promise<Row[]> => {
    try {
      const rows = (await ask(at, verbs.look, {})) as Row[];
      return rows.map((row) => ({ ...row, node: at }));
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      return [{ node: at, kind: 'unreachable', waits_for: error.message }];
    }
  };
  return {
    'ddl-activity': async () => {
      const rows = await Promise.all(node.machine.configuration.configured.map(rowsOf));
      return { rows: rows.flat() };
    },
    'release-ddl': async (args) => {
      const { node: at, pid } = args as { readonly node: NodeId; readonly pid: number };
      if (!node.machine.configuration.configured.includes(at))
        throw new RequestError('22023', `[multimaster] the cluster has no node ${at}`);
      return { released: await ask(at, verbs.release, { pid }) };
    },
  };
}

/** For other gateways. */
export function ddlAnswerers(node: VerbNode): Record<string, Answerer> {
  return {
    [verbs.look]: (args) => answer(node, verbs.look, args),
    [verbs.release]: (args) => answer(node, verbs.release, args),
  };
}

async function answer({ parts }: VerbNode, verb: string, args: unknown): Promise<unknown> {
  const { client } = parts.observer;
  if (verb === verbs.look) {
    const { rows } = await client.query<{ rows: Row[] }>('SELECT mtm.local_ddl() AS rows');
    return rows[0]!.rows;
  }
  const { pid } = args as { readonly pid: number };
  const { rows } = await client.query<{ released: boolean }>('SELECT mtm.local_release($1) AS released', [
    pid,
  ]);
  const { released } = rows[0]!;
  parts.log.warn({ pid, released }, 'an administrator has ended what was in the way of DDL');
  return released;
}
