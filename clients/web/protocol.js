// The wire protocol, version 1: audio frames as bytes. server/PROTOCOL.md tells it, and
// tests/golden/frame_*.bin holds frames that this and the server's own code both read.

export const VERSION = 1;
export const SUBPROTOCOL = "timbral.v1";
export const PATH = "v1/stream";
export const RATES = [8000, 16000, 22050, 24000, 32000, 44100, 48000]; // Hz
export const CONCEALED = 1; // silence in place of audio that was late, lost, or failed to convert
export const SILENCE = 2; // every sample is zero
export const GAP = 4; // first frame after a jump of the position

const HEADER = 16; // bytes
const KIND_AUDIO = 1;
const KNOWN = CONCEALED | SILENCE | GAP;
const FULL_SCALE = 32768;

/** A sample -1..1 as a 16-bit number. */
export const int16 = (x) =>
  Math.max(-FULL_SCALE, Math.min(FULL_SCALE - 1, Math.round(x * FULL_SCALE)));

/** A frame as sent: `seq` counts frames, `position` samples; `samples` are floats, -1..1. */
export function packFrame(seq, position, samples) {
  const data = new ArrayBuffer(HEADER + 2 * samples.length);
  const view = new DataView(data);
  view.setUint8(0, KIND_AUDIO);
  view.setUint32(4, seq, true);
  view.setBigUint64(8, BigInt(position), true);
  for (let i = 0; i < samples.length; i++) {
    view.setInt16(HEADER + 2 * i, int16(samples[i]), true);
  }
  return data;
}

/**
 * Read a frame: {seq, position, flags, samples}, the samples as floats.
 *
 * encoding  "s16le" or "f32le"
 *
 * Throws for bytes that are no frame of this protocol.
 */
export function unpackFrame(data, encoding = "s16le") {
  const size = encoding === "f32le" ? 4 : 2;
  const count = (data.byteLength - HEADER) / size;
  if (!(count >= 1) || !Number.isInteger(count)) {
    throw new Error(`${data.byteLength} bytes are no audio frame`);
  }
  const view = new DataView(data);
  const [kind, flags, reserved] = [view.getUint8(0), view.getUint8(1), view.getUint16(2, true)];
  if (kind !== KIND_AUDIO || reserved !== 0 || flags & ~KNOWN) {
    throw new Error(`a frame of kind ${kind} with flags ${flags} is unknown`);
  }
  const samples = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    samples[i] =
      size === 4
        ? view.getFloat32(HEADER + 4 * i, true)
        : view.getInt16(HEADER + 2 * i, true) / FULL_SCALE;
  }
  const position = Number(view.getBigUint64(8, true)); // exact up to 2^53: 6000 years at 48 kHz
  return { seq: view.getUint32(4, true), position, flags, samples };
}
