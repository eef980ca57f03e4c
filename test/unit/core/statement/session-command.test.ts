/** The BEGIN that the server gets always says its access mode. */
import { expect, test } from 'vitest';
import { beginText } from '../../../../src/core/statement/session-command.ts';
import type { TransactionModes } from '../../../../src/core/statement/statement-class.ts';

const none: TransactionModes = { isolation: undefined, readOnly: undefined, deferrable: undefined };

test.each([
  ['BEGIN', none, false, 'BEGIN READ WRITE'],
  ['BEGIN', none, true, 'BEGIN READ ONLY'],
  ['BEGIN', { ...none, readOnly: true }, false, 'BEGIN READ ONLY'],
  ['BEGIN', { ...none, readOnly: false }, true, 'BEGIN READ WRITE'],
  [
    'START TRANSACTION',
    { ...none, isolation: 'repeatable read' },
    false,
    'START TRANSACTION ISOLATION LEVEL REPEATABLE READ READ WRITE',
  ],
  [
    'BEGIN',
    { isolation: 'serializable', readOnly: true, deferrable: true },
    false,
    'BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE',
  ],
  ['BEGIN', { ...none, deferrable: false }, false, 'BEGIN READ WRITE NOT DEFERRABLE'],
] as const)('%s %j, default read only %s', (tag, modes, defaultReadOnly, text) => {
  expect(beginText(tag, modes, defaultReadOnly)).toBe(text);
});
