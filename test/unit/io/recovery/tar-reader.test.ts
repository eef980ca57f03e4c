/** Archives as PostgreSQL writes them, cut anywhere; and what must never be unpacked. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { TarReader, type TarPart } from '../../../../src/io/recovery/tar-reader.ts';

/** The header that PostgreSQL's tarCreateHeader writes. */
function header(name: string, size: number, flag: string, target = ''): Buffer {
  const bytes = Buffer.alloc(512);
  bytes.write(name, 0, 'latin1');
  bytes.write('0000600\0', 100);
  if (size < 0o77777777777) bytes.write(size.toString(8).padStart(11, '0'), 124);
  else {
    bytes.writeUInt8(0x80, 124);
    bytes.writeBigUInt64BE(BigInt(size), 128);
  }
  bytes.write('        ', 148);
  bytes.write(flag, 156);
  bytes.write(target, 157, 'latin1');
  bytes.write('ustar\u000000', 257, 'latin1');
  let sum = 0;
  for (const byte of bytes) sum += byte;
  bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return bytes;
}

const padded = (content: Buffer) =>
  Buffer.concat([content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
const file = (name: string, content: Buffer) =>
  Buffer.concat([header(name, content.length, '0'), padded(content)]);
const end = Buffer.alloc(1024);

/** What is in the archive, as text, however its bytes were cut. */
function contents(chunks: readonly Uint8Array[]): string[] {
  const reader = new TarReader();
  const found: string[] = [];
  let open: Uint8Array[] = [];
  for (const chunk of chunks) {
    for (const part of reader.push(chunk) as Iterable<TarPart>) {
      if (part.kind === 'entry') found.push(`${part.entry.kind} ${part.entry.path} ${part.entry.size}`);
      else if (part.kind === 'data') open.push(part.bytes);
      else {
        found.push(Buffer.concat(open).toString('latin1'));
        open = [];
      }
    }
  }
  expect(reader.complete).toBe(true);
  return found;
}

function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = [0, ...places.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return at.slice(1).map((to, index) => bytes.subarray(at[index], to));
}

test('any split of the bytes gives the same contents', () => {
  const archive = Buffer.concat([
    file('backup_label', Buffer.from('START WAL LOCATION')),
    header('base/', 0, '5'),
    header('./pg_notify', 0, '5'),
    file('empty', Buffer.alloc(0)),
    file('base/1/1249', Buffer.alloc(8192, 'x')),
    file('exactly', Buffer.alloc(512, 'y')),
    end,
  ]);
  const whole = contents([archive]);
  expect(whole).toEqual([
    'file backup_label 18',
    'START WAL LOCATION',
    'folder base 0',
    'folder pg_notify 0',
    'file empty 0',
    '',
    'file base/1/1249 8192',
    'x'.repeat(8192),
    'file exactly 512',
    'y'.repeat(512),
  ]);
  fc.assert(
    fc.property(fc.array(fc.nat(), { maxLength: 12 }), (places) => {
      expect(contents(cut(archive, places))).toEqual(whole);
    }),
  );
});

test('an archive of the system program', () => {
  const folder = mkdtempSync(join(tmpdir(), 'mtm-tar-'));
  try {
    mkdirSync(join(folder, 'global'));
    writeFileSync(join(folder, 'global/pg_control'), 'control');
    symlinkSync('/elsewhere', join(folder, 'link'));
    const tar = spawnSync('tar', ['--format=ustar', '-cf', '-', 'global', 'link'], { cwd: folder });
    expect(contents([tar.stdout])).toEqual([
      'folder global 0',
      'file global/pg_control 7',
      'control',
      'link link 0',
    ]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a size beyond eight octal gigabytes', () => {
  const size = 9 * 1024 ** 3;
  const [part] = [...new TarReader().push(header('huge', size, '0'))];
  expect(part).toMatchObject({ entry: { path: 'huge', size } });
});

const damaged = header('name', 0, '0');
damaged.writeUInt8(0x41, 3);
test.each([
  [
    'a path above the archive',
    header('../../etc/passwd', 0, '0'),
    'names a place outside of it: ../../etc/passwd',
  ],
  ['an absolute path', header('/etc/passwd', 0, '0'), 'names a place outside of it: /etc/passwd'],
  ['a device', header('sda', 0, '4'), 'an entry of unknown kind 52: sda'],
  ['a damaged header', damaged, 'a damaged header'],
  ['something else', Buffer.alloc(512, 'x'), 'no ustar header'],
])('%s is refused', (_, bytes, sentence) => {
  expect(() => [...new TarReader().push(bytes)]).toThrow(sentence);
});

test('an archive that ends in the middle of a file is not complete', () => {
  const reader = new TarReader();
  const bytes = file('name', Buffer.alloc(600, 'x'));
  for (const _part of reader.push(bytes.subarray(0, 1100)));
  expect(reader.complete).toBe(false);
});
