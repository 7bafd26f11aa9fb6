// A recording in the making: pieces of one or two tracks become one WAV file.

import { pcm16, wavHeader } from "./wav.js";

export class Recorder {
  frames = 0;
  #rate;
  #tracks;
  #waiting;
  #open;
  #parts = [];

  /** tracks  "input", "output", or both: the channels, in order */
  constructor(rate, tracks) {
    this.#rate = rate;
    this.#tracks = tracks;
    this.#waiting = tracks.map(() => []);
    this.#open = new Set(tracks);
  }

  get tracks() {
    return this.#tracks;
  }

  /** Length so far. */
  get seconds() {
    return this.frames / this.#rate;
  }

  /** The next piece of a track; returns whether the recording is complete. */
  add(track, samples, last) {
    this.#waiting[this.#tracks.indexOf(track)].push(samples);
    if (last) this.#open.delete(track);
    while (this.#waiting.every((pieces) => pieces.length)) {
      const pieces = this.#waiting.map((waiting) => waiting.shift());
      this.frames += Math.min(...pieces.map((piece) => piece.length));
      this.#parts.push(pcm16(...pieces));
    }
    return this.#open.size === 0;
  }

  /** The file. */
  blob() {
    const header = wavHeader(this.frames, this.#tracks.length, this.#rate);
    return new Blob([header, ...this.#parts], { type: "audio/wav" });
  }
}
