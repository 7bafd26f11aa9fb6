// Audio thread: takes the microphone's blocks, gives chunks to the thread with the socket. It has
// no output, so that nothing of the raw voice can be heard from here.

import { Chunker } from "./chunker.js";
import { Tape } from "./tape.js";

class Capture extends AudioWorkletProcessor {
  #network = null;
  #over = false;
  #tape = new Tape((samples, last) => this.port.postMessage({ samples, last }, [samples.buffer]));
  #chunker;
  #block = new Float32Array(128);

  constructor({ processorOptions: { chunk } }) {
    super();
    this.#chunker = new Chunker(chunk, (frame, samples) => {
      this.#network?.postMessage([frame, samples], [samples.buffer]);
    });
    this.port.onmessage = ({ data }) => {
      if (data.network) this.#network = data.network;
      if ("muted" in data) this.#chunker.muted = data.muted;
      if ("record" in data) this.#tape.record(data.record);
      if ("stop" in data) this.#tape.stop(data.stop);
      if (data.over) this.#over = true;
    };
  }

  process([input]) {
    const heard = input[0];
    if (heard) this.#block.set(heard);
    else this.#block.fill(0); // no microphone for the moment
    this.#chunker.feed(currentFrame, this.#block);
    this.#tape.feed(currentFrame, this.#block);
    return !this.#over;
  }
}

registerProcessor("capture", Capture);
