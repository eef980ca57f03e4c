/**
 * Conversations spoilt at random: messages left out, doubled, in another order, of another type, with lengths that
 * lie, with bytes changed, and nonsense between them. The same seed spoils in the same way.
 */
import type { Prng } from '../../../src/lib/prng.ts';

const types = 'QPBDECSHXFdcfp\0\xffRZT!';

/** `messages`: each with its header of `headBytes`; 5 with a type, 4 without. */
export function spoilt(messages: readonly Uint8Array[], random: Prng, headBytes: 4 | 5): Buffer[] {
  const result: Buffer[] = messages.map((message) => Buffer.from(message));
  for (let count = 1 + random.below(4); count > 0 && result.length > 0; count--) {
    const index = random.below(result.length);
    const victim = result[index]!;
    switch (random.below(9)) {
      case 0:
        result.splice(index, 1);
        break;
      case 1:
        result.splice(index, 0, Buffer.from(victim));
        break;
      case 2:
        result.push(...result.splice(index, 1));
        break;
      case 3:
        if (headBytes === 5) victim[0] = types.charCodeAt(random.below(types.length));
        break;
      case 4:
        lie(victim, random, headBytes);
        break;
      case 5:
        result[index] = cutShort(victim, random, headBytes);
        break;
      case 6:
        result.splice(index, 0, noise(random, 1 + random.below(200)));
        break;
      default:
        for (let bytes = 1 + random.below(4); bytes > 0; bytes--) {
          if (victim.length > headBytes)
            victim[headBytes + random.below(victim.length - headBytes)] = random.below(256);
        }
    }
  }
  return result;
}

function lie(message: Buffer, random: Prng, headBytes: number): void {
  if (message.length < headBytes) return;
  const truth = message.length - headBytes + 4;
  const length = random.pick([
    0,
    3,
    4,
    truth - 1,
    truth + 1,
    truth + 1000,
    10_001,
    0x3fffffff,
    0x7fffffff,
    2 ** 32 - 1,
  ]);
  message.writeUInt32BE(Math.max(0, length), headBytes - 4);
}

/** The length says so. */
function cutShort(message: Buffer, random: Prng, headBytes: number): Buffer {
  const cut = Buffer.from(message.subarray(0, Math.max(headBytes, random.below(message.length + 1))));
  if (cut.length >= headBytes) cut.writeUInt32BE(cut.length - headBytes + 4, headBytes - 4);
  return cut;
}

export function noise(random: Prng, bytes: number): Buffer {
  return Buffer.from(Array.from({ length: bytes }, () => random.below(256)));
}

/** The same bytes in other pieces. */
export function pieces(bytes: Buffer, random: Prng): Buffer[] {
  const result: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = random.chance(0.3) ? 1 + random.below(7) : 1 + random.below(bytes.length);
    result.push(bytes.subarray(at, at + length));
    at += length;
  }
  return result;
}
