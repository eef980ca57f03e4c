/** The files of the status page, read once. Rule: what is not listed here is not served. */
import { readFileSync } from 'node:fs';

export interface PageFile {
  readonly type: string;
  readonly body: string;
}

function file(name: string, type: string): PageFile {
  return { type: `${type}; charset=utf-8`, body: readFileSync(new URL(name, import.meta.url), 'utf8') };
}

export const pageFiles: ReadonlyMap<string, PageFile> = new Map([
  ['/', file('page.html', 'text/html')],
  ['/page.css', file('page.css', 'text/css')],
  ['/page.js', file('page.js', 'text/javascript')],
]);
