import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  removeRestoreSettings,
  withRestoreSettings,
  withoutRestoreSettings,
} from '../../../../src/io/recovery/restore-settings.ts';

test('what is put in is taken out, and nothing else', () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom('# note', "work_mem = '4MB'", "restore_command = 'cp %f %p'", '')),
      (lines) => {
        const text = lines.map((line) => `${line}\n`).join('');
        const changed = withRestoreSettings(text);
        expect(changed.startsWith(text)).toBe(true);
        expect(withRestoreSettings(changed)).toBe(changed); // once is enough
        expect(withoutRestoreSettings(changed)).toBe(text);
      },
    ),
  );
  expect(withRestoreSettings("a = '1'")).toMatch(/^a = '1'\n# mtm-gateway/);
});

test('the file keeps its owner and is only for him', () => {
  const folder = mkdtempSync(join(tmpdir(), 'mtm-restore-'));
  try {
    removeRestoreSettings(folder); // none there
    const file = join(folder, 'postgresql.auto.conf');
    writeFileSync(file, withRestoreSettings("a = '1'\n"), { mode: 0o600 });
    removeRestoreSettings(folder);
    expect(readFileSync(file, 'utf8')).toBe("a = '1'\n");
    expect(statSync(file).mode & 0o777).toBe(0o600);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
