// Blocks of a microphone become chunks for the network. Law: what comes out is what went in, in
// its place, whatever the sizes; while muted, it is silence, reached and left by a short ramp.

const RAMP = 240; // samples from loud to silent: 5 ms at 48 kHz, so that muting does not click

export class Chunker {
  muted = false;
  #size;
  #chunk;
  #filled = 0;
  #gain = 1;
  #send;

  /**
   * size  samples a chunk
   * send  called with (frame, samples): where the chunk begins, and a buffer to keep
   */
  constructor(size, send) {
    this.#size = size;
    this.#chunk = new Float32Array(size);
    this.#send = send;
  }

  /** A block whose first sample is number `frame`; it is muted in place. */
  feed(frame, block) {
    this.#mute(block);
    for (let done = 0; done < block.length;) {
      const count = Math.min(block.length - done, this.#size - this.#filled);
      this.#chunk.set(block.subarray(done, done + count), this.#filled);
      this.#filled += count;
      done += count;
      if (this.#filled === this.#size) {
        this.#send(frame + done - this.#size, this.#chunk);
        this.#chunk = new Float32Array(this.#size); // the other may be in another thread by now
        this.#filled = 0;
      }
    }
  }

  #mute(block) {
    const goal = this.muted ? 0 : 1;
    if (this.#gain === 1 && goal === 1) return;
    for (let i = 0; i < block.length; i++) {
      const step = goal - this.#gain;
      this.#gain += Math.max(-1 / RAMP, Math.min(1 / RAMP, step));
      block[i] *= this.#gain;
    }
  }
}
