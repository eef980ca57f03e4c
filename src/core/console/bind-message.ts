/** Reads a Bind message of the console: names and counts; values are not kept, no command has parameters. */
import { cstringAt, cstringEnd, int32At } from '../wire/messages.ts';

export interface BindMessage {
  readonly portal: string;
  readonly statement: string;
  readonly parameters: number;
  /** Of the result: none for text, one for all, or one for each column. */
  readonly formats: readonly number[];
}

/** Undefined: the message is not what the manual says of it. Type byte at 0. */
export function readBind(bytes: Uint8Array): BindMessage | undefined {
  const size = bytes.length;
  const portalEnd = cstringEnd(bytes, 5, size);
  const statementEnd = cstringEnd(bytes, portalEnd + 1, size);
  let at = statementEnd + 1;
  const count = (): number => {
    at += 2;
    return at <= size ? (bytes[at - 2]! << 8) | bytes[at - 1]! : -1;
  };
  const codes = count();
  if (codes < 0) return undefined;
  at += codes * 2;
  const parameters = count();
  if (parameters < 0 || (codes > 1 && codes !== parameters)) return undefined;
  for (let index = 0; index < parameters; index++) {
    if (at + 4 > size) return undefined;
    const length = int32At(bytes, at);
    if (length < -1) return undefined;
    at += 4 + Math.max(length, 0);
  }
  const wanted = count();
  if (wanted < 0 || at + wanted * 2 !== size) return undefined;
  const formats = Array.from({ length: wanted }, count);
  const portal = cstringAt(bytes, 5, size);
  return { portal, statement: cstringAt(bytes, portalEnd + 1, size), parameters, formats };
}
