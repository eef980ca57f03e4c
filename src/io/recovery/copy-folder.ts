/**
 * The data directory that a copy is written into. Until it is complete it has a marker and no pg_control, so
 * that no server starts on a part of it, and the next attempt knows that it may clear it.
 *
 *     absent, empty, or an earlier copy unfinished → *filling* (marker) → finished | abandoned (as before)
 *
 * Rules: nothing is called finished that is not on the disk: every file and every folder is synced. What is
 * not ours is never touched: a directory with anything else in it is refused.
 */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { chmod, chown, mkdir, open, readdir, rename, rm, writeFile, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { GatewayError } from '../../lib/gateway-error.ts';
import { restoreSignal, settingsFile, withRestoreSettings } from './restore-settings.ts';
import type { TarEntry, TarPart } from './tar-reader.ts';

/** Whose the files are; undefined: whoever runs this. */
export interface FileOwner {
  readonly uid: number;
  readonly gid: number;
}

const marker = 'mtm-copy.unfinished';
const controlFile = 'global/pg_control';
const hiddenControlFile = 'global/pg_control.unfinished';
/** Files that are synced at the same time. */
const syncing = 16;

export class CopyFolder {
  readonly path: string;
  readonly #owner: FileOwner | undefined;
  /** It was not there: an abandoned copy leaves nothing at all. */
  readonly #made: boolean;
  #root = '';
  #file: FileHandle | undefined;
  readonly #folders: string[] = [];
  readonly #syncs = new Set<Promise<void>>();
  #syncFailure: Error | undefined;

  private constructor(path: string, owner: FileOwner | undefined, made: boolean) {
    this.path = path;
    this.#owner = owner;
    this.#made = made;
  }

  /** Throws launcher-failed when something else is in it, or it cannot be made. */
  static async begin(path: string, owner?: FileOwner): Promise<CopyFolder> {
    requireUsable(path);
    try {
      const made = (await mkdir(path, { recursive: true, mode: 0o700 })) !== undefined;
      const folder = new CopyFolder(path, owner, made);
      await folder.#clear();
      await folder.#own(path, 0o700);
      await writeFile(join(path, marker), 'A copy of a node is being written here. It is of no use yet.\n');
      await folder.#own(join(path, marker), 0o600);
      return folder;
    } catch (cause) {
      const text = `the directory ${path} cannot be written: ${(cause as Error).message}`;
      throw new GatewayError('copy-failed', text, { cause, hint: 'check its owner and its permissions' });
    }
  }

  /** What comes next belongs into this folder of the data directory ('' for itself). */
  async archive(location: string): Promise<void> {
    if (location.startsWith('/') || location.split('/').includes('..')) {
      throw new Error(`the copy has a part outside of the data directory: ${location}`);
    }
    this.#root = location;
    if (location !== '') await this.#makeFolder(location);
  }

  /** One part after the other. */
  async write(part: TarPart): Promise<void> {
    if (part.kind === 'entry') await this.#entry(part.entry);
    else if (part.kind === 'end') this.#endFile();
    else if (this.#file !== undefined) await writeAll(this.#file, part.bytes);
    if (this.#syncFailure !== undefined) throw this.#syncFailure;
    while (this.#syncs.size >= syncing) await Promise.race(this.#syncs);
  }

  async #entry({ kind, path, target }: TarEntry): Promise<void> {
    const place = join(this.#root, path);
    if (kind === 'folder') return place === '.' ? undefined : this.#makeFolder(place);
    if (kind === 'link') throw new Error(`the copy has a symbolic link: ${place} → ${target}`);
    const name = join(this.path, place === controlFile ? hiddenControlFile : place);
    this.#file = await open(name, 'wx', 0o600);
    if (this.#owner !== undefined) await this.#file.chown(this.#owner.uid, this.#owner.gid);
  }

  async #makeFolder(place: string): Promise<void> {
    const name = join(this.path, place);
    await mkdir(name, { recursive: true, mode: 0o700 });
    await this.#own(name, 0o700);
    this.#folders.push(name);
  }

  #endFile(): void {
    const file = this.#file;
    if (file === undefined) return;
    this.#file = undefined;
    const synced: Promise<void> = syncAndClose(file)
      .catch((error: Error) => void (this.#syncFailure ??= error))
      .finally(() => this.#syncs.delete(synced));
    this.#syncs.add(synced);
  }

  /** Everything is on the disk, with what makes the server end its recovery where the copy ends. */
  async finish(): Promise<void> {
    await Promise.all(this.#syncs);
    if (this.#syncFailure !== undefined) throw this.#syncFailure;
    const settings = join(this.path, settingsFile);
    await this.#writeFile(settings, withRestoreSettings(await readIfThere(settings)));
    await this.#writeFile(join(this.path, restoreSignal), '');
    for (const folder of [...this.#folders].reverse()) await syncFolder(folder);
    await syncFolder(this.path);
    await rename(join(this.path, hiddenControlFile), join(this.path, controlFile));
    await syncFolder(dirname(join(this.path, controlFile)));
    await rm(join(this.path, marker));
    await syncFolder(this.path);
    await syncFolder(dirname(this.path));
  }

  /** Leaves the place as it was. */
  async abandon(): Promise<void> {
    await this.#file?.close();
    this.#file = undefined;
    await Promise.all(this.#syncs);
    await this.#clear();
    if (this.#made) await rm(this.path, { recursive: true, force: true });
  }

  /** The marker goes last: what is left over by a crash in here is still known as ours. */
  async #clear(): Promise<void> {
    const names = (await readdir(this.path)).filter((name) => name !== marker);
    for (const name of names) await rm(join(this.path, name), { recursive: true, force: true });
    await rm(join(this.path, marker), { force: true });
  }

  async #writeFile(name: string, text: string): Promise<void> {
    const file = await open(name, 'w', 0o600);
    try {
      await file.writeFile(text);
      if (this.#owner !== undefined) await file.chown(this.#owner.uid, this.#owner.gid);
      await file.sync();
    } finally {
      await file.close();
    }
  }

  async #own(name: string, mode: number): Promise<void> {
    await chmod(name, mode);
    if (this.#owner !== undefined) await chown(name, this.#owner.uid, this.#owner.gid);
  }
}

/** Throws when a copy must not be written there. */
export function requireUsable(path: string): void {
  if (!existsSync(path)) return;
  if (!statSync(path).isDirectory()) {
    throw new GatewayError('copy-failed', `${path} is not a directory`, { hint: 'name another place' });
  }
  const names = readdirSync(path);
  if (names.length === 0 || names.includes(marker)) return;
  throw new GatewayError('copy-failed', `the directory ${path} is not empty`, {
    hint: 'remove what is in it, or name another place',
  });
}

async function syncAndClose(file: FileHandle): Promise<void> {
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

async function syncFolder(path: string): Promise<void> {
  await syncAndClose(await open(path, 'r'));
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at);
    at += bytesWritten;
  }
}

async function readIfThere(name: string): Promise<string> {
  if (!existsSync(name)) return '';
  const file = await open(name, 'r');
  try {
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}
