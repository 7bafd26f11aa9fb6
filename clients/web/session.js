// The sound's way through the page: microphone, capturing worklet, thread with the socket, playing
// worklet, output. Only sound from the server reaches the output.

import { Output, Trouble, checkBrowser, openMicrophone } from "./devices.js";
import { RATES } from "./protocol.js";
import { Recorder } from "./recorder.js";
import { streamAddress } from "./link.js";

export const CHUNK = 256; // samples that are sent at once: 5 ms
const RATE = 48_000; // Hz, asked of the browser
const LEAD_S = 0.05; // from asking for a recording to its first sample
const beside = (name) => new URL(name, import.meta.url);

export class Session {
  #tell;
  #context = null;
  #stream = null;
  #source = null;
  #capture = null;
  #playback = null;
  #output = null;
  #worker = null;
  #recorder = null;
  #finished = null;
  #awake = null; // keeps the screen on
  heard = null; // analysers of the microphone and of the output
  spoken = null;

  /** tell  called with the thread's events, and `{type: "report"|"microphone", …}` */
  constructor(tell) {
    this.#tell = tell;
  }

  /** The microphone that is open, or undefined. */
  get microphone() {
    return this.#stream?.getAudioTracks()[0];
  }

  get running() {
    return this.#context !== null;
  }

  get rate() {
    return this.#context?.sampleRate ?? RATE;
  }

  /** What the devices say of their own delay, in seconds; 0 where they do not know. */
  get delays() {
    const { outputLatency = 0, baseLatency = 0 } = this.#context ?? {};
    return {
      input: this.microphone?.getSettings().latency ?? 0,
      output: outputLatency || baseLatency,
    };
  }

  /**
   * Open everything. Throws `Trouble`; then nothing is left open.
   *
   * setup  what `openMicrophone` takes, and {output, start, bypass, muted}; `start` is the
   *        protocol's, without the rate
   */
  async start(setup) {
    checkBrowser();
    try {
      await this.#open(setup);
    } catch (error) {
      this.stop();
      throw error instanceof Trouble ? error : new Trouble("old", String(error));
    }
  }

  async #open(setup) {
    this.#context = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
    this.#stream = await openMicrophone(setup);
    this.#source = await this.#listen();
    const context = this.#context;
    await Promise.all(
      ["capture", "playback"].map((n) => context.audioWorklet.addModule(beside(`${n}.worklet.js`))),
    );
    this.#build(context);
    this.#watch();
    this.mute(setup.muted);
    await this.useOutput(setup.output).catch(() => this.#tell({ type: "output", lost: true }));
    await context.resume();
    context.onstatechange = () => this.#resume();
    document.addEventListener("visibilitychange", this.#seen);
    await this.#seen();
    this.reopen(setup.start, setup.bypass);
  }

  /** After a phone call, or the machine's sleep, the browser may have stopped the sound. */
  #resume() {
    if (this.#context && !["running", "closed"].includes(this.#context.state)) {
      this.#context.resume().catch(() => {}); // not yet; the next change of state asks again
    }
  }

  /** A screen that goes dark ends the microphone on phones: it stays on while this is seen. */
  #seen = async () => {
    if (document.visibilityState !== "visible") return;
    this.#resume();
    if (!matchMedia("(pointer: coarse)").matches) return;
    this.#awake = await navigator.wakeLock?.request("screen").catch(() => null);
  };

  /** The microphone as a node. Some browsers want the context to run at the microphone's rate. */
  async #listen() {
    try {
      return this.#context.createMediaStreamSource(this.#stream);
    } catch {
      await this.#context.close();
      this.#context = new AudioContext({ latencyHint: "interactive" });
      const rate = this.#context.sampleRate;
      if (!RATES.includes(rate)) throw new Trouble("busy", `The sound device runs at ${rate} Hz.`);
      return this.#context.createMediaStreamSource(this.#stream);
    }
  }

  #build(context) {
    const mono = { channelCount: 1, channelCountMode: "explicit" };
    const processorOptions = { chunk: CHUNK };
    this.#capture = new AudioWorkletNode(context, "capture", {
      ...mono,
      numberOfOutputs: 0,
      processorOptions,
    });
    this.#playback = new AudioWorkletNode(context, "playback", {
      numberOfInputs: 0,
      outputChannelCount: [1],
    });
    const analyser = () =>
      new AnalyserNode(context, { ...mono, fftSize: 2048, smoothingTimeConstant: 0 });
    [this.heard, this.spoken] = [analyser(), analyser()];
    this.#source.connect(this.#capture);
    this.#source.connect(this.heard);
    this.#playback.connect(this.spoken);
    this.#output = new Output(context, this.#playback);
    this.#worker = new Worker(beside("link.worker.js"), { type: "module" });
    this.#worker.onmessage = ({ data }) => this.#tell(data);
    this.#worker.onerror = () => this.#tell({ type: "state", state: "old" });
    const [there, back] = [new MessageChannel(), new MessageChannel()];
    this.#worker.postMessage({ type: "ports", capturing: there.port2, playing: back.port1 }, [
      there.port2,
      back.port1,
    ]);
    this.#capture.port.postMessage({ network: there.port1 }, [there.port1]);
    this.#playback.port.postMessage({ network: back.port2 }, [back.port2]);
    this.#capture.port.onmessage = ({ data }) => this.#taped("input", data);
    this.#playback.port.onmessage = ({ data }) => {
      if (data.report) this.#tell({ type: "report", ...data.report });
      else this.#taped("output", data);
    };
  }

  /** Go on with another microphone, or with other processing. Throws `Trouble`; then in silence. */
  async useMicrophone(setup) {
    this.#source?.disconnect();
    this.#release();
    this.#stream = await openMicrophone(setup);
    this.#source = this.#context.createMediaStreamSource(this.#stream);
    this.#source.connect(this.#capture);
    this.#source.connect(this.heard);
    this.#watch();
  }

  /** Play to the output with that id. Rejects when it is not there. */
  async useOutput(id) {
    await this.#output.use(id);
  }

  /** A new stream, as `start` of the protocol says. */
  reopen(start, bypass) {
    const address = streamAddress(document.baseURI);
    const asked = { version: 1, encoding: "s16le", sample_rate: this.rate, ...start };
    this.#worker?.postMessage({ type: "open", address, start: asked, bypass });
  }

  /** Say a message of the protocol. */
  say(message) {
    this.#worker?.postMessage({ type: "say", message });
  }

  mute(on) {
    this.#capture?.port.postMessage({ muted: on });
  }

  /** Begin to record `tracks`, all from the same sample on. */
  record(tracks) {
    this.#recorder = new Recorder(this.rate, tracks);
    const from = Math.round((this.#context.currentTime + LEAD_S) * this.rate);
    for (const track of tracks) this.#port(track).postMessage({ record: from });
  }

  get recorded() {
    return this.#recorder?.seconds ?? 0;
  }

  /** End the recording; resolves to the `Recorder`, complete. */
  stopRecording() {
    const recorder = this.#recorder;
    const until = Math.round((this.#context.currentTime + LEAD_S) * this.rate);
    return new Promise((resolve) => {
      this.#finished = () => resolve(recorder);
      for (const track of recorder.tracks) this.#port(track).postMessage({ stop: until });
    });
  }

  /** Close everything. */
  stop() {
    this.#worker?.postMessage({ type: "close" });
    const worker = this.#worker;
    setTimeout(() => worker?.terminate(), 2000); // it says goodbye to the server first
    for (const node of [this.#capture, this.#playback]) node?.port.postMessage({ over: true });
    document.removeEventListener("visibilitychange", this.#seen);
    this.#awake?.release();
    this.#release();
    this.#output?.close();
    this.#context?.close();
    this.#context =
      this.#source =
      this.#capture =
      this.#playback =
      this.#output =
      this.#worker =
        null;
    this.heard = this.spoken = this.#recorder = null;
  }

  #port(track) {
    return (track === "input" ? this.#capture : this.#playback).port;
  }

  #taped(track, { samples, last }) {
    if (!this.#recorder?.add(track, samples, last)) return;
    this.#recorder = null;
    this.#finished();
  }

  #release() {
    this.#stream?.getTracks().forEach((track) => {
      track.onended = null;
      track.stop();
    });
    this.#stream = null;
  }

  #watch() {
    this.microphone.onended = () => this.#tell({ type: "microphone", lost: true });
  }
}
