/** Frontend messages, short to write. Grammar: manual, "Message Formats". */
import { serialize } from 'pg-protocol';

export const q = (text: string): Uint8Array => serialize.query(text);
export const p = (text: string, name = ''): Uint8Array => serialize.parse({ text, name });
export const b = (values: (string | null)[] = [], statement = '', portal = ''): Uint8Array =>
  serialize.bind({ portal, statement, values });
export const e = (rows = 0, portal = ''): Uint8Array => serialize.execute({ portal, rows });
export const dp = (name = ''): Uint8Array => serialize.describe({ type: 'P', name });
export const ds = (name = ''): Uint8Array => serialize.describe({ type: 'S', name });
export const cs = (name = ''): Uint8Array => serialize.close({ type: 'S', name });
export const cp = (name = ''): Uint8Array => serialize.close({ type: 'P', name });
export const s = (): Uint8Array => serialize.sync();
export const h = (): Uint8Array => serialize.flush();
export const d = (text: string): Uint8Array => serialize.copyData(Buffer.from(text));
export const c = (): Uint8Array => serialize.copyDone();
export const f = (why: string): Uint8Array => serialize.copyFail(why);

/** A statement by the extended protocol, up to but without Sync. */
export const x = (text: string, ...values: (string | null)[]): Uint8Array =>
  Buffer.concat([p(text), b(values), dp(), e()]);

/** Any bytes of a type. */
export function message(type: string, body: Uint8Array | string = ''): Uint8Array {
  const content = Buffer.from(body);
  const head = Buffer.alloc(5);
  head.write(type, 0, 'latin1');
  head.writeInt32BE(content.length + 4, 1);
  return Buffer.concat([head, content]);
}
