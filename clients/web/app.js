// What the page knows and does, apart from how it looks: `view` shows it.

import { ServerError, getInfo, getVoices } from "./api.js";
import { Backoff } from "./backoff.js";
import { initialControls, same } from "./controls.js";
import { Session } from "./session.js";
import { saveSettings } from "./settings.js";

const COALESCE_MS = 30; // changes of controls that come closer are sent together
const LOADING_MS = 1000;
const INFO_MS = 5000;

export class App {
  state = { state: "loading" };
  muted = false;
  bypass = false;
  microphoneLost = false;
  recording = false;
  voices = [];
  defaultVoice = "";
  info = null;
  figures = { ready: null, stats: null, report: null, trip: null, dropped: 0 };
  #view;
  #storage;
  #backoff = new Backoff();
  #changed = {}; // controls to send
  #sending = 0; // timer
  #asked = 0; // changes of controls that the server has not answered
  #inForce; // controls as the server has them
  #voiceAsked = ""; // a change of voice that the server has not answered
  #retry = 0; // timer

  /**
   * settings  of settings.js; changed in place, and kept in `storage`
   * view      {state(), voices(), controls(values), voice(name), say(text, bad), recorded(recorder)}
   */
  constructor(settings, storage, view) {
    [this.settings, this.#storage, this.#view] = [settings, storage, view];
    this.#inForce = { ...settings.controls };
    this.session = new Session((event) => this.#hear(event));
  }

  /** Change settings and keep them. */
  set(changes) {
    Object.assign(this.settings, changes);
    saveSettings(this.#storage, this.settings);
  }

  get token() {
    return this.settings.token || this.visitToken || "";
  }

  /** Ask the server for its voices, until it answers. */
  async load() {
    clearTimeout(this.#retry);
    try {
      const held = await getVoices(this.token);
      this.#backoff.reset();
      [this.voices, this.defaultVoice] = [held.voices, held.default];
      const usable = held.voices.filter((card) => !card.error).map((card) => card.name);
      if (!usable.includes(this.settings.voice)) this.set({ voice: held.default });
      this.#view.voices();
      if (!this.session.running)
        this.#become({ state: window.isSecureContext ? "idle" : "insecure" });
      this.#inform();
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;
      this.#unanswered(error);
    }
  }

  /** Open the microphone and a stream. */
  async start() {
    if (this.session.running) return;
    this.#become({ state: "asking" });
    try {
      const { settings, bypass, muted } = this;
      await this.session.start({ ...settings, bypass, muted, start: this.#startMessage() });
    } catch (error) {
      this.#become({ state: error.state, message: error.message });
    }
  }

  /** End the stream and give the microphone back. */
  async stop() {
    if (this.recording) await this.record();
    this.session.stop();
    [this.muted, this.bypass, this.microphoneLost] = [false, false, false];
    this.figures = { ready: null, stats: null, report: null, trip: null, dropped: 0 };
    this.#become({ state: "idle" });
  }

  /** Silence instead of the microphone, or the microphone again. */
  mute(on = !this.muted) {
    this.muted = on;
    this.session.mute(on);
    this.#view.state();
  }

  /** The raw voice, or the converted one again. */
  setBypass(on = !this.bypass) {
    this.bypass = on;
    this.session.say({ type: "bypass", on });
    this.#view.state();
  }

  /** Begin a recording, or end it and show it. */
  async record() {
    if (!this.recording) {
      const { track } = this.settings;
      this.session.record(track === "both" ? ["input", "output"] : [track]);
      this.recording = true;
    } else {
      this.recording = false;
      this.#view.recorded(await this.session.stopRecording());
    }
    this.#view.state();
  }

  /** Change a control. */
  control(name, value) {
    this.set({ controls: { ...this.settings.controls, [name]: value }, preset: "" });
    this.#changed[name] = value;
    clearTimeout(this.#sending);
    this.#sending = setTimeout(() => this.#sendControls(), COALESCE_MS);
  }

  /** Change many controls at once. */
  controls(values) {
    for (const [name, value] of Object.entries(values)) {
      if (!same(value, this.settings.controls[name])) this.control(name, value);
    }
    this.#view.controls(this.settings.controls);
  }

  /** Go on in another voice. */
  chooseVoice(name) {
    const card = this.voices.find((voice) => voice.name === name);
    if (!card || card.error || name === this.settings.voice) return;
    const speakers = card.speakers?.length ?? 1;
    const { speaker, speaker_b: other } = this.settings.controls;
    if (speaker >= speakers || other >= speakers)
      this.controls({ speaker: 0, speaker_b: 0, morph: 0 });
    this.set({ voice: name });
    this.#view.voice(name);
    if (this.session.running && this.state.state !== "live") this.reopen();
    if (this.state.state !== "live") return;
    this.#voiceAsked = name;
    this.session.say({ type: "voice", voice: name });
  }

  /** Another profile: that is another stream. */
  chooseProfile(profile) {
    this.set({ profile });
    this.reopen();
  }

  /** Begin a new stream now, if the page is at it. */
  reopen() {
    if (this.session.running) this.session.reopen(this.#startMessage(), this.bypass);
    else this.load();
  }

  /** Go on with the microphone and the processing that the settings name. */
  async useMicrophone() {
    if (!this.session.running) return;
    try {
      await this.session.useMicrophone(this.settings);
      this.microphoneLost = false;
    } catch (error) {
      this.microphoneLost = true;
      this.#view.say(error.message, true);
    }
    this.#view.state();
  }

  /** Play to the output that the settings name. */
  async useOutput() {
    if (!this.session.running) return;
    await this.session.useOutput(this.settings.output).catch(() => this.#hear({ type: "output" }));
  }

  /** All controls as they were at first. */
  reset() {
    this.controls(initialControls());
  }

  #startMessage() {
    const { voice, profile, controls } = this.settings;
    this.#inForce = { ...controls };
    [this.#changed, this.#asked, this.#voiceAsked] = [{}, 0, ""];
    return { voice, profile, controls, ...(this.token ? { token: this.token } : {}) };
  }

  #sendControls() {
    const changed = this.#changed;
    this.#changed = {};
    if (!this.session.running || !Object.keys(changed).length) return;
    if (this.state.state === "refused") {
      this.reopen();
      return;
    }
    if (this.state.state === "live") this.#asked += 1;
    this.session.say({ type: "controls", ...changed });
  }

  #hear(event) {
    if (event.type === "state") this.#streamState(event);
    else if (event.type === "message") this.#message(event.message);
    else if (event.type === "trip") this.figures.trip = event.ms;
    else if (event.type === "dropped") this.figures.dropped += event.samples;
    else if (event.type === "report") this.figures.report = event;
    else if (event.type === "microphone") {
      this.microphoneLost = true;
      this.#view.state();
    } else if (event.type === "output") {
      this.#view.say(
        "The chosen output is not there; the system’s default is heard meanwhile.",
        true,
      );
      this.#view.state();
    }
  }

  #streamState(event) {
    if (!this.session.running || event.state === "closed") return;
    if (event.state !== "live")
      this.figures = { ...this.figures, ready: null, stats: null, report: null, trip: null };
    this.#become(
      event.seconds ? { ...event, until: performance.now() + 1000 * event.seconds } : event,
    );
  }

  #message(message) {
    if (message.type === "ready") {
      this.figures.ready = message;
      this.#inform();
    } else if (message.type === "stats") {
      const before = this.figures.stats?.eased ?? "";
      this.figures.stats = message;
      if (before || message.eased) this.#view.state();
    } else if (message.type === "controls") {
      const { type: _type, ...values } = message;
      this.#inForce = values;
      this.#asked = Math.max(0, this.#asked - 1);
      if (!this.#asked && !Object.keys(this.#changed).length) this.#agree();
    } else if (message.type === "voice") {
      this.#voiceAsked = "";
      this.figures.ready = { ...this.figures.ready, voice: message.voice };
      this.#view.state();
    } else if (message.type === "error" && !message.fatal) {
      this.#refused(message);
    }
  }

  /** What the page shows is what the server does. */
  #agree() {
    if (same(this.#sorted(this.settings.controls), this.#sorted(this.#inForce))) return;
    this.set({ controls: { ...this.settings.controls, ...this.#inForce } });
    this.#view.controls(this.settings.controls);
  }

  #sorted(values) {
    return Object.entries(values).sort(([a], [b]) => (a < b ? -1 : 1));
  }

  /** Something was refused, and the stream goes on as it was: so does the page. */
  #refused({ code, message }) {
    if (this.#voiceAsked && code === "unsupported") {
      this.reopen(); // this voice needs a stream of its own
      return;
    }
    this.#view.say(message, true);
    if (this.#voiceAsked && code === "voice_not_found") {
      this.#voiceAsked = "";
      this.set({ voice: this.figures.ready.voice });
      this.#view.voice(this.settings.voice);
    } else if (this.#asked) {
      this.#asked -= 1;
      this.#agree();
    }
  }

  #unanswered({ code, message }) {
    const retry = (ms) => {
      this.#retry = setTimeout(() => this.load(), ms);
    };
    if (this.session.running) return; // the stream itself tells, and tries again
    if (code === "unauthorized") {
      this.#become({ state: "refused", code, message });
    } else if (code === "loading") {
      this.#become({ state: "loading" });
      retry(LOADING_MS);
    } else {
      const seconds = this.#backoff.next();
      this.#become({
        state: "waiting",
        code,
        message: "",
        seconds,
        until: performance.now() + 1000 * seconds,
      });
      retry(1000 * seconds);
    }
  }

  async #inform() {
    clearTimeout(this.informing);
    try {
      this.info = await getInfo(this.token);
      this.#view.state();
    } catch {
      // the page works without
    }
    if (!this.session.running) this.informing = setTimeout(() => this.#inform(), INFO_MS);
  }

  #become(state) {
    this.state = state;
    this.#view.state();
  }
}
