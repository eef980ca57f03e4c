/** What a pipeline has written, one frontend message after the other. */
import type { StatementPipeline } from '../../../../src/core/apply/statement-pipeline.ts';
import { int32At } from '../../../../src/core/wire/messages.ts';

/** Type letter, and the body as text. */
export function sentMessages(
  pipeline: StatementPipeline,
): { readonly type: string; readonly body: string }[] {
  const bytes = pipeline.take();
  const messages: { type: string; body: string }[] = [];
  for (let at = 0; at < bytes.length; at += 1 + int32At(bytes, at + 1)) {
    const body = new TextDecoder().decode(bytes.subarray(at + 5, at + 1 + int32At(bytes, at + 1)));
    messages.push({ type: String.fromCharCode(bytes[at]!), body });
  }
  return messages;
}
