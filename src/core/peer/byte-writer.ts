/**
 * Puts numbers, texts and byte strings behind each other and hands them out as a list of segments, so that a
 * large payload is passed on by reference and many small frames share one segment.
 * Rule: bytes once handed out are never written again (the socket may still be sending them); a block is used
 * from its front to its end and then left to the garbage collector.
 */
import { assert } from '../../lib/assert.ts';

const blockBytes = 16 * 1024;
const referenceFromBytes = 4 * 1024;
const encoder = new TextEncoder();

export class ByteWriter {
  #block = new Uint8Array(0);
  #view = new DataView(this.#block.buffer);
  /** First byte of the block that is not in a segment yet. */
  #start = 0;
  #end = 0;
  #segments: Uint8Array[] = [];
  #segmentBytes = 0;

  /** Bytes written and not yet taken. */
  get pendingBytes(): number {
    return this.#segmentBytes + this.#end - this.#start;
  }

  u8(value: number): void {
    this.#reserve(1);
    this.#view.setUint8(this.#end, value);
    this.#end += 1;
  }

  u16(value: number): void {
    this.#reserve(2);
    this.#view.setUint16(this.#end, value);
    this.#end += 2;
  }

  u32(value: number): void {
    this.#reserve(4);
    this.#view.setUint32(this.#end, value);
    this.#end += 4;
  }

  /** A non-negative safe integer, in eight bytes. */
  u53(value: number): void {
    assert(Number.isSafeInteger(value) && value >= 0, `not a non-negative safe integer: ${value}`);
    this.u32(Math.floor(value / 0x1_0000_0000));
    this.u32(value % 0x1_0000_0000);
  }

  f64(value: number): void {
    this.#reserve(8);
    this.#view.setFloat64(this.#end, value);
    this.#end += 8;
  }

  /** `length:uint32` and the text in UTF-8. */
  text(value: string): void {
    // A UTF-16 unit takes at most three bytes.
    this.#reserve(4 + value.length * 3);
    const { written } = encoder.encodeInto(value, this.#block.subarray(this.#end + 4));
    this.#view.setUint32(this.#end, written);
    this.#end += 4 + written;
  }

  /** Starts a frame: a place for its length, which `endFrame` fills in. */
  beginFrame(): number {
    this.#reserve(4);
    const pending = this.#end - this.#start;
    this.#end += 4;
    return pending;
  }

  /**
   * Ends the frame that `beginFrame` gave the mark of; `payload` is its tail. A large payload is referenced,
   * not copied: it must not change before the segments are written out. Returns the frame's claimed length.
   */
  endFrame(mark: number, payload?: Uint8Array): number {
    const payloadBytes = payload?.length ?? 0;
    const claimed = this.#end - (this.#start + mark) - 4 + payloadBytes;
    this.#view.setUint32(this.#start + mark, claimed);
    if (payload === undefined || payloadBytes === 0) return claimed;
    if (payloadBytes < referenceFromBytes) {
      this.#reserve(payloadBytes);
      this.#block.set(payload, this.#end);
      this.#end += payloadBytes;
    } else {
      this.#seal();
      this.#segments.push(payload);
      this.#segmentBytes += payloadBytes;
    }
    return claimed;
  }

  /** All bytes since the last call, in order; empty when there are none. */
  take(): Uint8Array[] {
    this.#seal();
    const segments = this.#segments;
    this.#segments = [];
    this.#segmentBytes = 0;
    return segments;
  }

  #seal(): void {
    if (this.#end === this.#start) return;
    this.#segments.push(this.#block.subarray(this.#start, this.#end));
    this.#segmentBytes += this.#end - this.#start;
    this.#start = this.#end;
  }

  /** Makes room; the unsealed part (the frame being written is in it) moves along, sealed bytes stay put. */
  #reserve(bytes: number): void {
    if (this.#end + bytes <= this.#block.length) return;
    const unsealed = this.#block.subarray(this.#start, this.#end);
    const block = new Uint8Array(Math.max(blockBytes, (unsealed.length + bytes) * 2));
    block.set(unsealed);
    this.#block = block;
    this.#view = new DataView(block.buffer);
    this.#start = 0;
    this.#end = unsealed.length;
  }
}
