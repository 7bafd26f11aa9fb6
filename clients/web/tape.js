// Records inside an audio worklet, from one sample on to another. Law: two tapes told the same
// numbers hold the same stretch of time, to the sample.

const PIECE = 4800; // samples that go to the page at once

export class Tape {
  #from = Infinity;
  #until = Infinity;
  #piece = new Float32Array(PIECE);
  #filled = 0;
  #send;

  /** send  called with (samples, last): the next piece, and whether it is the last one */
  constructor(send) {
    this.#send = send;
  }

  /** Record from sample number `from` on. */
  record(from) {
    [this.#from, this.#until] = [from, Infinity];
    this.#filled = 0;
  }

  /** Record no further than the sample before number `until`. */
  stop(until) {
    this.#until = until;
  }

  /** A block whose first sample is number `frame`. */
  feed(frame, block) {
    const begin = Math.max(0, Math.min(block.length, this.#from - frame));
    const end = Math.max(begin, Math.min(block.length, this.#until - frame));
    for (let i = begin; i < end; i++) {
      this.#piece[this.#filled++] = block[i];
      if (this.#filled === PIECE) this.#give(false);
    }
    if (frame + block.length >= this.#until && this.#from < Infinity) {
      this.#give(true);
      this.#from = Infinity;
    }
  }

  #give(last) {
    this.#send(this.#piece.slice(0, this.#filled), last);
    this.#filled = 0;
  }
}
