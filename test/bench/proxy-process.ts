/** A proxy of another maker as a process of its own: its files, its account (never root), its end. */
import { accessSync, chmodSync, chownSync, constants, mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { delimiter, join } from 'node:path';
import { embeddedHost } from '../../src/io/launcher/node-layout.ts';
import { serverAccount } from '../../src/io/launcher/account.ts';
import { endedEarly, spawnLogged, stopByPidFile, waitUntil } from '../../src/io/launcher/process-control.ts';

const startLimitMs = 15_000;
const stopLimitMs = 5_000;

export interface ProxyOrder {
  readonly title: string;
  readonly program: string;
  /** Given its folder. */
  readonly args: (folder: string) => readonly string[];
  readonly folder: string;
  readonly port: number;
  /** Names and contents of its files. */
  readonly files: Readonly<Record<string, string>>;
  /** In this order until it has ended. */
  readonly stopSignals: readonly NodeJS.Signals[];
}

/** The program's path, also from the folders of administrators' programs, which are not on everybody's PATH. */
export function findProgram(name: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  return folders
    .map((folder) => join(folder, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false; // Not there: the question's answer.
      }
    });
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: embeddedHost, port });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

export class ProxyProcess {
  readonly #order: ProxyOrder;
  readonly #pidFile: string;
  #pid = 0;

  constructor(order: ProxyOrder) {
    this.#order = order;
    this.#pidFile = join(order.folder, 'process.pid');
  }

  get pid(): number {
    return this.#pid;
  }

  /** Resolves when it listens; throws with the end of its log when it does not. */
  async start(): Promise<void> {
    const { title, program, folder, port } = this.#order;
    const account = serverAccount();
    mkdirSync(folder, { recursive: true });
    chmodSync(folder, 0o755);
    if (account !== undefined) chownSync(folder, account.uid, account.gid);
    for (const [name, text] of Object.entries(this.#order.files)) writeFileSync(join(folder, name), text);
    const running = await spawnLogged({
      title,
      command: program,
      args: this.#order.args(folder),
      logFile: join(folder, 'process.log'),
      pidFile: this.#pidFile,
      account,
    });
    this.#pid = running.pid;
    let end: string | undefined;
    void running.ended.then((reason) => (end = reason));
    const listens = await waitUntil(async () => end !== undefined || (await accepts(port)), startLimitMs);
    if (!listens || end !== undefined) throw endedEarly(running, end ?? 'is not listening');
  }

  async stop(): Promise<void> {
    const { title, folder, stopSignals } = this.#order;
    await stopByPidFile({
      title,
      pidFile: this.#pidFile,
      mark: folder,
      signals: [...stopSignals, 'SIGKILL'],
      limitMs: stopLimitMs,
    });
    this.#endGroup();
  }

  /** Children of a process that had to be killed; they are in the group that it was started with. */
  #endGroup(): void {
    if (this.#pid === 0) return;
    try {
      process.kill(-this.#pid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
    this.#pid = 0;
  }
}
