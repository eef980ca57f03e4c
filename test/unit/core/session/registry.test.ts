import { describe, expect, test } from 'vitest';
import { Registry } from '../../../../src/core/session/registry.ts';
import type { Prepared } from '../../../../src/core/session/registry.ts';
import type { StatementClass } from '../../../../src/core/statement/statement-class.ts';

const commit: StatementClass = { kind: 'commit', chain: false };
const read: StatementClass = { kind: 'read' };

function prepared(kind: StatementClass, text = 'x'): Prepared {
  return { class: kind, text, message: Uint8Array.of(1), replaced: undefined, standard: true };
}

function parsed(registry: Registry, name: string, statement: Prepared): void {
  registry.parse(name, statement);
  registry.messageRead();
  registry.parseCompleted();
  registry.messageAnswered();
}

describe('Registry', () => {
  test('a statement counts inside its group at once, outside only when confirmed', () => {
    const registry = new Registry();
    registry.parse('a', prepared(commit));
    registry.bind('', 'a');
    expect(registry.portalClass('')).toEqual(commit);
    registry.groupEnded(true);
    expect(registry.statement('a')).toBeUndefined();
  });

  test('a Close that the server skipped after an error loses nothing', () => {
    const registry = new Registry();
    parsed(registry, 'a', prepared(commit));
    registry.groupEnded(false);
    registry.closeStatement('a');
    registry.groupEnded(true);
    registry.bind('p', 'a');
    expect(registry.portalClass('p')).toEqual(commit);
    registry.closeStatement('a');
    registry.closeCompleted();
    expect(registry.statement('a')).toBeUndefined();
  });

  test('what was prepared behind DISCARD ALL in the same group stays', () => {
    const registry = new Registry();
    parsed(registry, 'old', prepared(read));
    registry.parse('new', prepared(commit));
    registry.clear();
    registry.parseCompleted();
    expect(registry.statement('old')).toBeUndefined();
    expect(registry.statement('new')?.class).toEqual(commit);
  });

  test('a failed Parse takes the unnamed statement of before with it, a skipped one does not', () => {
    const registry = new Registry();
    parsed(registry, '', prepared(read, 'first'));
    registry.groupEnded(false);
    registry.messageRead(); // a Bind that fails
    registry.parse('', prepared(read, 'skipped'));
    registry.messageRead();
    registry.groupEnded(true);
    expect(registry.statement('')?.text).toBe('first');
    registry.parse('', prepared(read, 'failed'));
    registry.messageRead();
    registry.groupEnded(true);
    expect(registry.statement('')).toBeUndefined();
  });

  test('a repeat finds what stood there when its journal began', () => {
    const registry = new Registry();
    parsed(registry, 'closed', prepared(read, 'closed'));
    registry.groupEnded(false);
    registry.beginJournal();
    parsed(registry, 'made', prepared(read, 'made'));
    registry.closeStatement('closed');
    registry.closeCompleted();
    registry.groupEnded(false);
    const journal = registry.restore();
    expect([...journal.keys()]).toEqual(['made', 'closed']);
    expect(registry.statement('made')).toBeUndefined();
    expect(registry.statement('closed')?.text).toBe('closed');
  });

  test('the unnamed statement: dropped by a simple Query of ours it is only lost, by one of the client it is gone', () => {
    const registry = new Registry();
    parsed(registry, '', prepared(read));
    registry.simpleQuerySent(false);
    expect(registry.unnamedDropped).toBe(true);
    expect(registry.statement('')).toBeDefined();
    registry.simpleQuerySent(true);
    expect(registry.unnamedDropped).toBe(false);
    expect(registry.statement('')).toBeUndefined();
  });

  test('statements that the server has yet to confirm count as memory, once', () => {
    const registry = new Registry();
    const large = prepared(read, 'x'.repeat(10_000));
    registry.parse('', large);
    registry.parse('', large);
    registry.parse('other', large);
    expect(registry.bytes).toBeGreaterThan(30_000);
    registry.parseCompleted();
    registry.parseCompleted();
    expect(registry.bytes).toBeGreaterThan(20_000);
    expect(registry.bytes).toBeLessThan(25_000);
    registry.beginJournal();
    registry.parse('again', large);
    registry.restore();
    expect(registry.bytes).toBeLessThan(25_000);
    registry.groupEnded(true);
    expect(registry.bytes).toBeLessThan(15_000);
    registry.clear();
    expect(registry.bytes).toBe(0);
  });

  test('a portal that the gateway has executed cannot be run again; portals end with their transaction', () => {
    const registry = new Registry();
    parsed(registry, 'b', prepared({ kind: 'begin', tag: 'BEGIN', modes: noModes }));
    registry.bind('p', 'b');
    registry.portalRan('p');
    expect(registry.portalClass('p')).toMatchObject({ kind: 'refused', sqlstate: '55000' });
    registry.transactionEnded();
    expect(registry.portalClass('p')).toMatchObject({ kind: 'write', certain: false });
  });
});

const noModes = { isolation: undefined, readOnly: undefined, deferrable: undefined };
