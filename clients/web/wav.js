// WAV files, 16 bits a sample.

import { int16 } from "./protocol.js";

const HEADER = 44; // bytes

/** The header of a WAV file of `frames` samples in each of `channels`, at `rate` Hz. */
export function wavHeader(frames, channels, rate) {
  const view = new DataView(new ArrayBuffer(HEADER));
  const bytes = 2 * channels * frames;
  const text = (at, word) => [...word].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, HEADER - 8 + bytes, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); // bytes of this part
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, channels, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * channels * rate, true);
  view.setUint16(32, 2 * channels, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, bytes, true);
  return view.buffer;
}

/** Samples -1..1 of one or two channels as 16 bits, interleaved, little endian. */
export function pcm16(...channels) {
  const frames = Math.min(...channels.map((channel) => channel.length));
  const view = new DataView(new ArrayBuffer(2 * frames * channels.length));
  channels.forEach((channel, c) => {
    for (let i = 0; i < frames; i++) {
      view.setInt16(2 * (i * channels.length + c), int16(channel[i]), true);
    }
  });
  return view.buffer;
}
