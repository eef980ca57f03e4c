/**
 * Conversations made up at random from a seed: statements of all kinds, in both protocols, one by one and in
 * pipelines.
 */
import { Prng } from '../../../src/lib/prng.ts';
import { serialize } from 'pg-protocol';
import { b, c, cp, cs, d, dp, ds, e, f, h, message, p, q, s, x } from '../../support/frontend-messages.ts';
import type { Step } from './wire-client.ts';

const stepsEach = 14;

const reads = [
  'SELECT * FROM t ORDER BY id',
  'SELECT count(*) FROM t',
  'SELECT 1/0',
  'SELECT nix FROM t',
  'SELEC',
  '',
  'SHOW transaction_isolation',
  'EXPLAIN (COSTS OFF) SELECT * FROM t',
  'SELECT v FROM t WHERE id = 1 FOR UPDATE',
];

const control = ['BEGIN', 'COMMIT', 'ROLLBACK', 'COMMIT AND CHAIN', 'ROLLBACK AND CHAIN'];
const points = ['SAVEPOINT a', 'ROLLBACK TO a', 'RELEASE a'];

function write(random: Prng): string {
  const id = random.below(12);
  return random.pick([
    `INSERT INTO t VALUES (${id}, 'i${id}')`,
    `INSERT INTO t VALUES (${id}, 'r${id}') RETURNING *`,
    `UPDATE t SET v = v || 'u' WHERE id = ${id}`,
    `DELETE FROM t WHERE id = ${id} RETURNING v`,
    `INSERT INTO t VALUES (${id}, 'c') ON CONFLICT DO NOTHING`,
    `INSERT INTO noisy VALUES (${id})`,
    `INSERT INTO deferred VALUES (${id}, ${random.below(9)})`,
    `WITH w AS (DELETE FROM t WHERE id = ${id} RETURNING id) SELECT count(*) FROM w`,
  ]);
}

function statement(random: Prng, withPoints: boolean): string {
  const choice = random.below(10);
  if (choice < 4) return write(random);
  if (choice < 7) return random.pick(reads);
  if (choice < 9) return random.pick(control);
  // A failed savepoint in a READ ONLY transaction keeps that mode AND CHAIN: the gateway cannot tell.
  return withPoints ? random.pick(points) : 'BEGIN READ ONLY';
}

function simple(random: Prng, withPoints: boolean): Step {
  const count = random.chance(0.6) ? 1 : 2 + random.below(4);
  const texts = Array.from({ length: count }, () => statement(random, withPoints));
  return { send: [q(texts.join('; '))] };
}

function extended(random: Prng, withPoints: boolean): Step {
  const groups = random.chance(0.7) ? 1 : 2 + random.below(2);
  const send: Uint8Array[] = [];
  for (let group = 0; group < groups; group++) {
    const executes = random.chance(0.6) ? 1 : 1 + random.below(4);
    for (let index = 0; index < executes; index++) send.push(...execution(random, withPoints));
    send.push(s());
  }
  return { send, count: groups };
}

function execution(random: Prng, withPoints: boolean): Uint8Array[] {
  const text = statement(random, withPoints);
  if (random.chance(0.6)) return [x(text)];
  const name = random.pick(['', 'n1', 'n2']);
  // What controls transactions is executed by the gateway: a portal of that name does not stay open.
  const isControl = control.includes(text) || text === 'BEGIN READ ONLY';
  const portal = isControl ? '' : random.pick(['', 'p1']);
  const parts: Uint8Array[] = [];
  if (name !== '' && random.chance(0.6)) parts.push(cs(name));
  if (random.chance(0.8)) parts.push(p(text, name));
  parts.push(b([], name, portal));
  if (random.chance(0.5)) parts.push(dp(portal));
  parts.push(e(random.chance(0.3) ? 1 : 0, portal));
  if (random.chance(0.2)) parts.push(e(0, portal));
  return parts;
}

function copy(random: Prng): Step {
  const rows = Array.from({ length: random.below(4) }, () => d(`${random.below(30)}\tcopied\n`));
  // It is ignored while the data come.
  const between = random.chance(0.5) ? [h()] : [];
  const end = random.pick([c(), c(), f('enough')]);
  switch (random.below(4)) {
    case 0:
      return { send: [q('COPY (SELECT id, v FROM t ORDER BY id) TO STDOUT')] };
    case 1:
      // Named, so that nobody executes it by mistake.
      return {
        send: [cs('cp'), p('COPY t FROM STDIN', 'cp'), b([], 'cp'), e(), ...rows, ...between, end, s()],
      };
    case 2:
      return {
        send: [
          q("INSERT INTO t VALUES (40, 'before'); COPY t FROM STDIN; SELECT count(*) FROM t"),
          ...rows,
          end,
        ],
      };
    default:
      return { send: [q('COPY t FROM STDIN'), ...rows, ...between, end] };
  }
}

/** FunctionCall (F): Int32 oid, formats of arguments, arguments, format of the result; abs and division, by oid. */
function call(random: Prng): Step {
  const int4 = (value: number): Buffer => {
    const bytes = Buffer.alloc(8);
    bytes.writeInt32BE(4, 0);
    bytes.writeInt32BE(value, 4);
    return bytes;
  };
  const head = (oid: number, args: number): Buffer => {
    const bytes = Buffer.alloc(10);
    bytes.writeInt32BE(oid, 0);
    bytes.writeInt16BE(1, 4); // one format for all arguments: binary
    bytes.writeInt16BE(1, 6);
    bytes.writeInt16BE(args, 8);
    return bytes;
  };
  const binary = Buffer.from([0, 1]);
  const abs = Buffer.concat([head(1397, 1), int4(-7), binary]);
  const divided = Buffer.concat([head(154, 2), int4(7), int4(random.below(2)), binary]);
  return { send: [message('F', random.pick([abs, divided, head(1, 0)]))] };
}

/** Results and parameters in binary, described as statement and as portal, in parts. */
function binary(random: Prng): Step {
  const text = random.pick([
    'SELECT id, v FROM t WHERE id < $1::int ORDER BY id',
    "UPDATE t SET v = v || 'b' WHERE id = $1::int RETURNING id, v",
    "INSERT INTO t VALUES ($1::int, 'binary') RETURNING id",
  ]);
  const value = Buffer.alloc(4);
  value.writeInt32BE(random.below(12));
  const bind = serialize.bind({ portal: 'pb', statement: 'sb', values: [value], binary: random.chance(0.5) });
  const send = [cs('sb'), p(text, 'sb'), ds('sb'), bind, dp('pb'), e(random.below(3), 'pb')];
  if (random.chance(0.5)) send.push(e(1, 'pb'));
  if (random.chance(0.5)) send.push(cp('pb'));
  if (random.chance(0.3)) send.splice(random.below(send.length), 0, h());
  return { send: [...send, s()] };
}

export function generated(seed: number): Step[] {
  const random = new Prng(seed);
  const withPoints = random.chance(0.5);
  return Array.from({ length: stepsEach }, () => {
    const choice = random.below(20);
    if (choice === 0) return copy(random);
    if (choice === 1) return call(random);
    if (choice < 4) return binary(random);
    return choice < 11 ? simple(random, withPoints) : extended(random, withPoints);
  });
}
