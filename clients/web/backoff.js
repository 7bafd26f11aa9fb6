// How long to wait before trying again: longer each time, never the same for all clients.

const FIRST = 0.5; // s
const MOST = 15; // s

export class Backoff {
  #tries = 0;
  #random;

  /** random  a function that gives a number 0..1 */
  constructor(random = Math.random) {
    this.#random = random;
  }

  /** Seconds until the next try: half of it fixed, half by chance. */
  next() {
    const whole = Math.min(MOST, FIRST * 2 ** this.#tries);
    this.#tries += 1;
    return whole / 2 + (whole / 2) * this.#random();
  }

  /** It worked. */
  reset() {
    this.#tries = 0;
  }
}
