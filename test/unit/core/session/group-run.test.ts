import { expect, test } from 'vitest';
import { newRun, noteRun } from '../../../../src/core/session/group-run.ts';
import type { StatementClass } from '../../../../src/core/statement/statement-class.ts';

test('of what a group has run little is kept, however large it was', () => {
  const run = newRun();
  const large = `DEALLOCATE a ${' '.repeat(100_000)}`;
  const write: StatementClass = {
    kind: 'write',
    certain: true,
    temporary: false,
    copyIn: false,
    instead: large,
  };
  noteRun(run, [{ kind: 'read' }], [large]);
  expect(run.unsure).toBe(false);
  noteRun(run, [write, { kind: 'session' }], [large, large]);
  expect(run.unsure).toBe(true);
  expect(run.classes.map((each) => each.kind)).toEqual(['read', 'write', 'session']);
  expect(run.texts.map((text) => text.trim())).toEqual(['', '', 'DEALLOCATE a']);
  expect(JSON.stringify([run.classes, run.texts]).length).toBeLessThan(2000);
});
