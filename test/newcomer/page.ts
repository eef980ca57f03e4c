/** What the status page of a gateway shows of a node: its report, and the page itself in a browser where there is one. */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { chromium } from 'playwright-core';
import type { StatusReport } from '../../src/admin/status-report.ts';

/** The Chromium of this machine; undefined: it has none. */
export function findBrowser(): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  const names = ['chromium', 'chromium-browser', 'google-chrome'];
  return names
    .flatMap((name) => folders.map((folder) => join(folder, name)))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/** /status.json of the gateway at `origin`: how it sees that node. */
export async function reportedState(origin: string, node: number): Promise<string | undefined> {
  const answer = await fetch(`${origin}/status.json`);
  const { databases } = (await answer.json()) as StatusReport;
  return databases[0]?.nodes.find(({ id }) => id === node)?.state;
}

/** The page in a browser: its words for that node. Rejects when they do not come to match. */
export async function readPage(
  browser: string,
  origin: string,
  node: number,
  words: RegExp,
): Promise<string> {
  const opened = await chromium.launch({ executablePath: browser, args: ['--no-sandbox'] });
  try {
    const page = await opened.newPage();
    const wrong: string[] = [];
    page.on('pageerror', (error) => wrong.push(error.message));
    await page.goto(`${origin}/`);
    const entry = page
      .locator('#nodes > li')
      .filter({ hasText: `Node ${node}` })
      .filter({ hasText: words });
    await entry.waitFor({ timeout: 60_000 });
    if (wrong.length > 0) throw new Error(`the page has errors: ${wrong.join('; ')}`);
    return await entry.innerText();
  } finally {
    await opened.close();
  }
}
