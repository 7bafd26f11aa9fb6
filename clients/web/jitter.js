// Playback of sound that arrives unevenly: as late as it must be, and no later. The twin of
// clients/jitter.py, which tells the laws; tests/golden/jitter/ holds traces that both follow.
//
// The clock is the reader's: the samples asked for so far. A packet whose first sample has position
// s and that is there at clock t arrives at t - s; the smallest such number of the last seconds is
// the base, what a packet has more is its lateness. Position p is played at p + base + delay.

export const SETTINGS = {
  first_ms: 20, // the target before anything is known
  most_ms: 400, // the target's limit
  margin_ms: 2.5, // added to the lateness that is to be borne
  quantile: 0.97, // of the arrivals shall be in time
  window_ms: 6000, // that arrivals are remembered
  slot_ms: 250, // between two looks at them
  decay: 0.9, // a falling target keeps this much of its excess from look to look
  stall_ms: 60, // what is later is a stall: skipped, not waited for
  resume_ms: 20, // an excess that is skipped where there is a hole anyhow
  leap_ms: 30, // a whole slot later than this: the stream itself has moved
  slack_ms: 1.5, // an excess that is left alone
  fade_ms: 5, // at holes and skips
  pull: 1, // part of the excess that is caught up in a second
  most_speed: 0.02, // by which the speed may differ from 1
};

const CAPACITY_S = 4; // of sound kept
const ARRIVALS = 2048; // remembered at most
const WAKE = 0.75; // of its distance in the stream: what follows sooner is in a late packet's wake

/** How late packets are: the base, and the delay that nearly all of them need. */
class Arrivals {
  base = 0;
  target;
  #kept;
  #when = new Float64Array(ARRIVALS);
  #late = new Float64Array(ARRIVALS);
  #sorted = new Float64Array(ARRIVALS);
  #first = 0;
  #count = 0;
  #lows = []; // [clock, smallest arrival], one for each slot
  #low = Infinity; // of the slot that runs
  #lookAt = 0;
  #last = [0, 0]; // clock and position of the last packet

  /** kept  the settings, times in samples */
  constructor(kept) {
    this.#kept = kept;
    this.target = kept.first;
  }

  begin(clock, position) {
    this.#lookAt = clock + this.#kept.slot;
    this.base = clock - position;
    this.#last = [clock - this.#kept.slot, position - 1];
  }

  /** A packet came; `starved`: after a hole. */
  note(now, position, starved) {
    const arrival = now - position;
    this.#low = Math.min(this.#low, arrival);
    this.base = Math.min(this.base, arrival);
    const late = arrival - this.base;
    const [then, before] = this.#last;
    if (now - then >= WAKE * (position - before)) this.#remember(now, late);
    this.#last = [now, position];
    if (starved && late <= this.#kept.stall)
      this.target = Math.max(this.target, late + this.#kept.margin);
    if (now >= this.#lookAt) {
      this.#lookAt = now + this.#kept.slot;
      this.#look(now);
    }
  }

  #remember(now, late) {
    const at = (this.#first + this.#count) % ARRIVALS;
    [this.#when[at], this.#late[at]] = [now, late];
    if (this.#count < ARRIVALS) this.#count += 1;
    else this.#first = (this.#first + 1) % ARRIVALS;
  }

  /** Forget what is old, then choose base and target. */
  #look(now) {
    const { leap, window, margin, quantile, most, decay } = this.#kept;
    this.#lows.push([now, this.#low]);
    if (this.#low - this.base > leap) {
      this.#lows = this.#lows.slice(-1); // the stream itself has moved
      this.#count = 0;
    }
    this.#low = Infinity;
    const oldest = now - window;
    this.#lows = this.#lows.filter(([clock]) => clock >= oldest);
    this.base = this.#lows.reduce((least, [, low]) => Math.min(least, low), Infinity);
    while (this.#count && this.#when[this.#first] < oldest) {
      [this.#first, this.#count] = [(this.#first + 1) % ARRIVALS, this.#count - 1];
    }
    const known = this.#sorted.subarray(0, this.#count);
    for (let i = 0; i < known.length; i++) known[i] = this.#late[(this.#first + i) % ARRIVALS];
    known.sort();
    const borne = known.length ? known[Math.floor(quantile * (known.length - 1))] : 0;
    const wanted = Math.min(margin + borne, most);
    this.target = Math.max(wanted, wanted + (this.target - wanted) * decay);
  }
}

/** Sound with stream positions in, a steady flow out. */
export class JitterBuffer {
  #rate;
  #kept;
  #fade;
  #mask; // `&` keeps the lowest bits, however far a position is
  #ring;
  #end; // position after the last sample written; -1: none yet
  #arrivals;
  #clock = 0;
  #head; // position to play next
  #speed;
  #catchingUp;
  #landing;
  #playing;
  #starved;
  #risen; // samples of the fade-in that were played
  #tailAt; // position that fades out
  #tailStep;
  #tailDone; // samples of it that were played
  #underruns = 0;
  #skips = 0;
  #skipped = 0;

  /**
   * rate      Hz
   * settings  what differs from `SETTINGS`
   */
  constructor(rate, settings = {}) {
    if (!(rate >= 1)) throw new RangeError(`the rate must be positive, got ${rate} Hz`);
    this.#rate = rate;
    const samples = ([name, value]) =>
      name.endsWith("_ms") ? [name.slice(0, -3), (value * rate) / 1000] : [name, value];
    this.#kept = Object.fromEntries(Object.entries({ ...SETTINGS, ...settings }).map(samples));
    this.#fade = Math.max(1, Math.floor(this.#kept.fade));
    this.#mask = 2 ** Math.ceil(Math.log2(CAPACITY_S * rate)) - 1;
    this.#ring = new Float32Array(this.#mask + 1);
    this.reset();
  }

  /** Forget the stream: silence until the next packet, which may have any position. */
  reset() {
    this.#ring.fill(0);
    this.#arrivals = new Arrivals(this.#kept);
    [this.#end, this.#head, this.#speed] = [-1, 0, 1];
    this.#catchingUp = this.#landing = this.#playing = this.#starved = false;
    [this.#risen, this.#tailAt, this.#tailStep, this.#tailDone] = [0, 0, 1, this.#fade];
  }

  /** How it does now: times in ms, counts since it was made. */
  get report() {
    const { base, target } = this.#arrivals;
    const ms = (samples) => (1000 * samples) / this.#rate;
    return {
      target_ms: ms(target),
      delay_ms: this.#end >= 0 ? ms(this.#clock - base - this.#head) : 0,
      speed: this.#speed,
      playing: this.#playing,
      underruns: this.#underruns,
      skips: this.#skips,
      skipped: this.#skipped,
    };
  }

  /** The stream position that is played next. */
  get head() {
    return this.#head;
  }

  /**
   * A packet arrived: `samples` from stream position `position` on. What lies before the end of the
   * last packet is ignored; a hole is filled with silence.
   */
  write(position, samples) {
    if (this.#end < 0) {
      this.#head = this.#end = position;
      this.#arrivals.begin(this.#clock, position);
    }
    const fresh = samples.subarray(Math.max(0, this.#end - position));
    const start = position + samples.length - fresh.length;
    if (!fresh.length) return;
    this.#arrivals.note(this.#clock, start, this.#starved);
    this.#starved = false;
    const size = this.#ring.length;
    for (let p = Math.max(this.#end, start - size); p < start; p++) this.#ring[p & this.#mask] = 0;
    for (let k = Math.max(0, fresh.length - size); k < fresh.length; k++) {
      this.#ring[(start + k) & this.#mask] = fresh[k];
    }
    this.#end = start + fresh.length;
  }

  /** Fill `out` with what is to be heard next. */
  read(out) {
    out.fill(0);
    if (this.#end >= 0) {
      this.#steer(out.length);
      if (this.#playing) this.#play(out);
      if (this.#tailDone < this.#fade) this.#playTail(out);
    }
    this.#clock += out.length;
  }

  /** Whether to play, from where, and how fast. */
  #steer(n) {
    const { stall, resume, slack, most_speed: most, pull } = this.#kept;
    const { base, target } = this.#arrivals;
    let excess = this.#clock - base - this.#head - target;
    if (!this.#playing) {
      if (excess < 0 || this.#room(n) < (excess > stall ? excess : 0)) return;
      [this.#playing, this.#risen] = [true, 0];
      if (excess > resume) excess -= this.#skip(excess, n);
    } else if (excess > stall && this.#room(n) > this.#fade) {
      [this.#tailAt, this.#tailStep, this.#tailDone] = [this.#head, 1, 0];
      excess -= this.#skip(excess, n);
      this.#risen = 0;
    }
    if (Math.abs(excess) > slack) this.#catchingUp = true;
    else if (Math.abs(excess) < 0.25 * slack) this.#catchingUp = false;
    const wanted = (pull * excess) / this.#rate;
    this.#speed = this.#catchingUp ? 1 + Math.max(-most, Math.min(most, wanted)) : 1;
    this.#landing = !this.#catchingUp && this.#head % 1 !== 0 && most * n >= 0.5;
    if (this.#landing) {
      // on a whole sample, from where sound passes unchanged
      this.#speed = (Math.floor(this.#head + n + 0.5) - this.#head) / n;
    }
  }

  /** How far the head could go ahead and still play a block. */
  #room(n) {
    return Math.floor(this.#end - n - 3 - this.#head);
  }

  #skip(excess, n) {
    const ahead = Math.max(0, Math.min(Math.floor(excess), this.#room(n)));
    if (ahead) {
      this.#head += ahead;
      this.#skips += 1;
      this.#skipped += ahead;
    }
    return ahead;
  }

  #play(out) {
    const n = out.length;
    const ready = Math.max(0, Math.min(n, Math.ceil((this.#end - 2 - this.#head) / this.#speed)));
    if (this.#speed === 1 && this.#head % 1 === 0 && this.#risen === this.#fade) {
      for (let k = 0; k < ready; k++) out[k] = this.#ring[(this.#head + k) & this.#mask];
    } else {
      for (let k = 0; k < ready; k++) {
        out[k] = this.#sound(this.#head + this.#speed * k) * this.#rise(this.#risen + k);
      }
    }
    this.#risen = Math.min(this.#fade, this.#risen + ready);
    this.#head += ready * this.#speed;
    if (this.#landing) this.#head = Math.floor(this.#head + 0.5);
    if (ready < n) {
      this.#underruns += 1;
      [this.#playing, this.#starved] = [false, true];
      [this.#tailAt, this.#tailStep, this.#tailDone] = [this.#head - 1, -1, -ready];
    }
  }

  /** Fade out: onwards where it skipped, backwards where there is no more. */
  #playTail(out) {
    const begin = Math.max(0, -this.#tailDone);
    const done = Math.max(0, this.#tailDone);
    const n = Math.min(out.length - begin, this.#fade - done);
    for (let k = 0; k < n; k++) {
      out[begin + k] += this.#sound(this.#tailAt + this.#tailStep * k) * (1 - this.#rise(done + k));
    }
    this.#tailAt += n * this.#tailStep;
    this.#tailDone = done + n;
  }

  /** 3 s² - 2 s³ at sample `done` of a fade; 1 once it is over. */
  #rise(done) {
    const s = Math.min(1, (done + 1) / (this.#fade + 1));
    return (3 - 2 * s) * s * s;
  }

  /** The sound at a position: cubic Hermite (Catmull-Rom) between four samples. */
  #sound(position) {
    const whole = Math.floor(position);
    const f = position - whole;
    const b = this.#ring[whole & this.#mask];
    if (f === 0) return b;
    const a = this.#ring[(whole - 1) & this.#mask];
    const c = this.#ring[(whole + 1) & this.#mask];
    const d = this.#ring[(whole + 2) & this.#mask];
    const c3 = (d - a) / 2 + 1.5 * (b - c);
    const c2 = a - 2.5 * b + 2 * c - d / 2;
    return ((c3 * f + c2) * f + (c - a) / 2) * f + b;
  }
}
