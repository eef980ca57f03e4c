/**
 * Where a node that is to be added is, as mtm.add_node is told: what libpq takes (`host=… port=…`), and
 * `peer=host:port` for the port at which its gateway listens for the others.
 * Rule: a word that is not known is an error, but for those with which libpq says who connects: they are
 * everybody's own.
 */

export interface NodeAddress {
  /** Of the gateway's peer port. */
  readonly host: string;
  readonly port: number;
  /** How clients reach it. */
  readonly conninfo: string;
}

const usualClientPort = 5432;
const others = new Set(['dbname', 'user', 'application_name', 'connect_timeout', 'sslmode', 'hostaddr']);
const pair = /\s*([a-z_]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)*))(?=\s|$)/gy;

/** `peerOffset`: added to the client port where no `peer` is given. An answer as text says what is wrong. */
export function parseNodeAddress(text: string, peerOffset: number): NodeAddress | string {
  const words = readWords(text.trim());
  if (words === undefined) return `"${text}" is not of the form host=… port=… [peer=host:port]`;
  if (words.has('password')) return 'a password is of no use here, and everybody could read it: leave it out';
  for (const word of words.keys()) {
    if (!['host', 'port', 'peer'].includes(word) && !others.has(word)) return `"${word}" is not known here`;
  }
  const host = words.get('host') ?? '';
  if (host === '' || host.startsWith('/') || /[\s,]/.test(host))
    return 'host must name the host of the new gateway';
  const port = portOf(words.get('port') ?? String(usualClientPort));
  if (port === undefined) return 'port must be a number from 1 to 65535';
  const peer = /^(?:(.+):)?([0-9]+)$/.exec(words.get('peer') ?? String(port + peerOffset));
  const peerPort = portOf(peer?.[2] ?? '');
  if (peerPort === undefined) return 'peer must be host:port, where the new gateway listens for the others';
  words.delete('peer');
  const conninfo = [...words].map(([word, value]) => `${word}=${quoted(value)}`).join(' ');
  return { host: (peer?.[1] ?? host).replace(/^\[(.*)\]$/, '$1'), port: peerPort, conninfo };
}

function readWords(text: string): Map<string, string> | undefined {
  const url = /^postgres(?:ql)?:\/\//.test(text) ? wordsOfUrl(text) : undefined;
  if (url !== undefined) return url;
  const words = new Map<string, string>();
  pair.lastIndex = 0;
  while (pair.lastIndex < text.length) {
    const match = pair.exec(text);
    if (match === null) return undefined;
    words.set(match[1] ?? '', (match[2] ?? match[3] ?? '').replace(/\\(.)/g, '$1'));
  }
  return words.size === 0 ? undefined : words;
}

function wordsOfUrl(text: string): Map<string, string> | undefined {
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  const words = new Map([['host', url.hostname.replace(/^\[(.*)\]$/, '$1')]]);
  if (url.port !== '') words.set('port', url.port);
  if (url.password !== '') words.set('password', '');
  if (url.pathname.length > 1) words.set('dbname', decodeURIComponent(url.pathname.slice(1)));
  for (const [word, value] of url.searchParams) words.set(word, value);
  return words;
}

function portOf(text: string): number | undefined {
  const port = /^[0-9]{1,5}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65_535 ? port : undefined;
}

function quoted(value: string): string {
  return /^[^\s'\\]+$/.test(value) ? value : `'${value.replace(/(['\\])/g, '\\$1')}'`;
}
