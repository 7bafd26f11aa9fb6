// Audio thread: plays what the server answered, evened out by the jitter buffer, silence where
// there is nothing. Nothing but the server's sound comes in here.

import { JitterBuffer } from "./jitter.js";
import { Tape } from "./tape.js";

const REPORT_S = 0.25;

class Playback extends AudioWorkletProcessor {
  #jitter = new JitterBuffer(sampleRate);
  #origin = 0; // number of the sample, on this context's clock, that is position 0
  #anew = false;
  #reported = 0;
  #over = false;
  #tape = new Tape((samples, last) => this.port.postMessage({ samples, last }, [samples.buffer]));

  constructor() {
    super();
    this.port.onmessage = ({ data }) => {
      if (data.network) data.network.onmessage = ({ data: sound }) => this.#take(sound);
      if ("record" in data) this.#tape.record(data.record);
      if ("stop" in data) this.#tape.stop(data.stop);
      if (data.over) this.#over = true;
    };
  }

  /** A frame that came back; null: this stream is over, and fades out by itself. */
  #take(sound) {
    if (this.#anew && sound) this.#jitter.reset();
    this.#anew = !sound;
    if (!sound) return;
    this.#origin = sound.origin;
    this.#jitter.write(sound.position, sound.samples);
  }

  process(_inputs, [[out]]) {
    this.#jitter.read(out);
    this.#tape.feed(currentFrame, out);
    if (currentFrame - this.#reported >= REPORT_S * sampleRate) this.#report();
    return !this.#over;
  }

  /** `measured`: samples from the capturing worklet to this one, for what is heard right now. */
  #report() {
    this.#reported = currentFrame;
    const report = this.#jitter.report;
    const measured = report.playing ? currentFrame - this.#origin - this.#jitter.head : null;
    this.port.postMessage({ report: { ...report, measured } });
  }
}

registerProcessor("playback", Playback);
