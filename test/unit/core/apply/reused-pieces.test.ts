/** Pieces whose memory is used again once they are left behind: what is sent must not depend on it. */
import fc from 'fast-check';
import { afterEach, expect, test, vi } from 'vitest';
import type { PlanStore } from '../../../../src/core/apply/plan-store.ts';
import { RelationPlan } from '../../../../src/core/apply/relation-plan.ts';
import { StatementPipeline } from '../../../../src/core/apply/statement-pipeline.ts';
import { TransactionWriter } from '../../../../src/core/apply/transaction-writer.ts';
import { PieceWriter } from '../../../../src/core/pgoutput/piece-writer.ts';
import { pieceMemory } from '../../../../src/lib/byte-pool.ts';
import { relation } from '../pgoutput/client-messages.ts';
import { childKey, describeRelation, tupleBytes, type ColumnWish } from './facts-builder.ts';
import { sentMessages } from './sent-messages.ts';

afterEach(() => void vi.restoreAllMocks());

const columns: readonly ColumnWish[] = [{ name: 'id', key: true }, { name: 'c' }, { name: 't' }];

const kinds = {
  plain: {},
  referring: { foreignKeys: [childKey] },
  // Its rows are gathered, and written by a function of its owner's.
  guarded: { foreignCode: true },
};

function planOf(kind: keyof typeof kinds): RelationPlan {
  const { message, facts } = describeRelation(columns, kinds[kind]);
  return RelationPlan.bind(message, facts) as RelationPlan;
}

/** The frontend messages for these pieces; each is overwritten when it is given back. */
function sentFor(pieces: readonly Uint8Array[], plan: RelationPlan, reusable: boolean): object[] {
  vi.spyOn(pieceMemory, 'giveBack').mockImplementation(
    ({ buffer }) => void new Uint8Array(buffer).fill(0x7a),
  );
  const store: PlanStore = { epoch: 0, find: () => plan, store: () => undefined };
  const pipeline = new StatementPipeline();
  const writer = new TransactionWriter(pipeline, store, 'mtm:1:1:1:1', 'h', 4);
  const sent: object[] = [];
  for (const piece of pieces) {
    writer.push(piece.slice(), reusable);
    expect(writer.step().kind).toBe('hungry');
    sent.push(...sentMessages(pipeline));
  }
  if (writer.finish().kind === 'waiting') {
    writer.answer(['mtm-barrier:']);
    writer.finish();
  }
  return [...sent, ...sentMessages(pipeline)];
}

const value = fc.oneof(fc.string({ maxLength: 6 }), fc.constant(null));
const change = fc.record({
  type: fc.constantFrom('I', 'I', 'I', 'U', 'D'),
  row: fc.tuple(fc.integer({ min: 0, max: 20 }).map(String), value, value),
});

function bytesOf({ type, row }: { type: string; row: readonly (string | null)[] }): Uint8Array {
  const letter = type === 'D' ? 'K' : 'N';
  const head = [type.charCodeAt(0), 0, 0, 0, 99, letter.charCodeAt(0)];
  return Uint8Array.from([...head, ...tupleBytes(...(type === 'D' ? [row[0]!, null, null] : row))]);
}

test.each(['plain', 'referring', 'guarded'] as const)('any changes in any pieces: a %s table', (kind) => {
  const plan = planOf(kind);
  fc.assert(
    fc.property(fc.array(fc.array(change, { minLength: 1, maxLength: 30 }), { maxLength: 6 }), (wishes) => {
      const described = relation(99, 'public', 'T"x', ['id', 'c', 't']);
      const pieces = wishes.map((changes, index) => {
        const writer = new PieceWriter();
        if (index === 0) writer.message(described, 0, described.length);
        for (const one of changes.map(bytesOf)) writer.message(one, 0, one.length);
        return writer.take();
      });
      expect(sentFor(pieces, plan, true)).toEqual(sentFor(pieces, plan, false));
    }),
  );
});

test('rows that are all copied at once leave their memory to the next piece', () => {
  const given: ArrayBufferLike[] = [];
  vi.spyOn(pieceMemory, 'giveBack').mockImplementation(({ buffer }) => void given.push(buffer));
  const store: PlanStore = { epoch: 0, find: () => planOf('plain'), store: () => undefined };
  const writer = new TransactionWriter(new StatementPipeline(), store, 'mtm:1:1:1:1', 'h', 4);
  const piecesOf = (...messages: Uint8Array[]): Uint8Array => {
    const pieces = new PieceWriter();
    for (const message of messages) pieces.message(message, 0, message.length);
    return pieces.take();
  };
  const rows = Array.from({ length: 9 }, (_, n) => bytesOf({ type: 'I', row: [String(n), 'a', 'b'] }));
  const described = relation(99, 'public', 'T"x', ['id', 'c', 't']);
  // With the first rows comes the table's plan.
  const pieces = [piecesOf(described, ...rows), piecesOf(...rows), piecesOf(...rows)];
  for (const piece of pieces) {
    writer.push(piece, true);
    writer.step();
  }
  expect(given).toEqual([pieces[1]!.buffer, pieces[2]!.buffer]);
});
