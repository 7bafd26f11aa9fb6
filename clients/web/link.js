// One conversation with the server after another, for as long as the page wants to talk. Sockets,
// time and chance come from outside, so that a test can play them.

import { Backoff } from "./backoff.js";
import { PATH, SUBPROTOCOL, packFrame, unpackFrame } from "./protocol.js";

const BEHIND_S = 0.15; // of sound that may wait to be sent; more would become lasting latency
const PING_MS = 1000;
const READY_MS = 60_000; // the server may have a voice to load
const STEADY_MS = 5000; // a stream that lasted so long was a success
const PARTING_MS = 800; // for the answer to `stop`
const LATER = 0.2; // part that chance adds to the wait that a server asks for
const TRIPS = 9; // of which the median counts
const FINAL = new Set(["unauthorized", "voice_not_found", "unsupported", "bad_message"]);

/** The stream's address beside the page's. */
export function streamAddress(page) {
  const url = new URL(PATH, page);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.hash = url.search = "";
  return url.href;
}

/** Where to come back to the stream of this secret: its beginning names the server that has it. */
export function found(address, secret) {
  const dot = secret.indexOf(".");
  if (dot < 0) return address;
  const url = new URL(address);
  url.searchParams.set("replica", secret.slice(0, dot));
  return url.href;
}

/**
 * Speaks the protocol; tells the page of `{type: "state"|"message"|"trip"|"dropped", …}`.
 *
 * A state is `connecting`, `live`, `waiting` (with `seconds` until the next try, and `code` and
 * `message` where the server gave a reason), `refused` (with both; there will be no next try) or
 * `closed`. Chunks given to `hear` are sent only while it is live; nothing waits.
 */
export class Link {
  #outside;
  #backoff;
  #address = "";
  #start = null;
  #bypass = false;
  #secret = ""; // by which the stream is resumed after its connection broke
  #socket = null;
  #live = false;
  #wanted = false;
  #told = null; // the fatal error that the server gave before it closed
  #timers = new Set();
  #seq = 0;
  #origin = null; // the chunk's frame that is position 0 of this stream
  #next = 0; // position after the last chunk
  #since = 0;
  #trips = [];

  /**
   * outside  {socket(url, protocol), now() in ms, later(call, ms), never(timer), random()}
   * tell     called with what the page should know
   * play     called with ({position, samples, flags, origin}) for sound that came back, and with
   *          null when there will be none for a while
   */
  constructor(outside, tell, play) {
    this.#outside = outside;
    this.#backoff = new Backoff(outside.random);
    this.tell = tell;
    this.play = play;
  }

  /** Open a stream as `start` asks for, and keep it open; one that is open ends first. */
  open(address, start, bypass) {
    this.#drop();
    this.#secret = "";
    [this.#address, this.#start, this.#bypass] = [address, { ...start }, bypass];
    this.#wanted = true;
    this.#backoff.reset();
    this.#connect();
  }

  /** End for good. */
  close() {
    this.#wanted = false;
    const socket = this.#socket;
    if (this.#live) {
      this.#say({ type: "stop" });
      this.#detach(socket);
      socket.onmessage = ({ data }) => {
        if (typeof data === "string" && JSON.parse(data).type === "stopped") socket.close(1000);
      };
      this.#outside.later(() => socket.close(1000), PARTING_MS);
      this.#socket = null;
    }
    this.#drop();
    this.tell({ type: "state", state: "closed" });
  }

  /** Say a message of the protocol, now or as soon as the next stream is open. */
  say(message) {
    if (message.type === "controls" && this.#start) {
      const { type: _type, ...changed } = message;
      this.#start.controls = { ...this.#start.controls, ...changed };
    } else if (message.type === "voice" && this.#start) {
      this.#start.voice = message.voice;
    } else if (message.type === "bypass") {
      this.#bypass = message.on;
    }
    if (this.#live) this.#say(message);
  }

  /** A chunk of the microphone whose first sample is number `frame` of the page's clock. */
  hear(frame, samples) {
    if (!this.#live) return;
    this.#origin ??= frame;
    // a browser that is short of time counts a block twice now and then: positions never go back
    const position = Math.max(frame - this.#origin, this.#next);
    this.#next = position + samples.length;
    const most = BEHIND_S * this.#start.sample_rate * 2;
    if (this.#socket.bufferedAmount > most) {
      this.tell({ type: "dropped", samples: samples.length });
      return;
    }
    this.#socket.send(packFrame(this.#seq, position, samples));
    this.#seq = (this.#seq + 1) % 2 ** 32;
  }

  #connect() {
    this.tell({ type: "state", state: "connecting" });
    this.#told = null;
    const socket = this.#outside.socket(found(this.#address, this.#secret), SUBPROTOCOL);
    socket.binaryType = "arraybuffer";
    const resume = this.#secret ? { resume: this.#secret } : {};
    socket.onopen = () => this.#say({ type: "start", ...this.#start, ...resume });
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code }) => this.#lost(code);
    this.#socket = socket;
    this.#later(() => this.#lost(0), READY_MS);
  }

  #receive(data) {
    if (typeof data !== "string") {
      if (this.#origin === null) return;
      this.play({ ...unpackFrame(data), origin: this.#origin });
      return;
    }
    const message = JSON.parse(data);
    if (message.type === "ready") this.#ready(message);
    else if (message.type === "pong") this.#pong(message.t);
    else if (message.type === "error" && message.fatal) this.#told = message;
    if (message.type === "stopped") return;
    this.tell({ type: "message", message });
  }

  #ready({ resume = "", resumed = false, position = 0 }) {
    this.#cancel();
    [this.#live, this.#secret] = [true, resume];
    if (resumed) this.#next = Math.max(this.#next, position);
    else [this.#origin, this.#next, this.#seq] = [null, 0, 0];
    this.#since = this.#outside.now();
    this.#trips = [];
    if (this.#bypass) this.#say({ type: "bypass", on: true });
    this.tell({ type: "state", state: "live" });
    this.#ping();
  }

  #ping() {
    this.#say({ type: "ping", t: this.#outside.now() });
    this.#later(() => this.#ping(), PING_MS);
  }

  #pong(sent) {
    this.#trips = [...this.#trips, this.#outside.now() - sent].slice(-TRIPS);
    const sorted = [...this.#trips].sort((a, b) => a - b);
    this.tell({ type: "trip", ms: sorted[Math.floor(sorted.length / 2)] });
  }

  #lost(code) {
    if (this.#live && this.#outside.now() - this.#since > STEADY_MS) this.#backoff.reset();
    const told = this.#told;
    if (told) this.#secret = ""; // what ended for a reason is not taken up again
    this.#drop();
    if (!this.#wanted) return;
    const reason = { code: told?.code ?? "", message: told?.message ?? "", closed: code };
    if (told && FINAL.has(told.code)) {
      this.#wanted = false;
      this.tell({ type: "state", state: "refused", ...reason });
      return;
    }
    // a server that is full says when to come again; not all shall come at once
    const asked = (told?.retry_s ?? 0) * (1 + LATER * this.#outside.random());
    const seconds = Math.max(this.#backoff.next(), asked);
    this.tell({ type: "state", state: "waiting", seconds, ...reason });
    this.#later(() => this.#connect(), 1000 * seconds);
  }

  #say(message) {
    if (this.#socket?.readyState === 1) this.#socket.send(JSON.stringify(message));
  }

  /** Leave the socket, whatever it is at; silence from now on. */
  #drop() {
    this.#cancel();
    this.#live = false;
    if (this.#socket) {
      this.#detach(this.#socket);
      this.#socket.close();
    }
    this.#socket = null;
    this.play(null);
  }

  #detach(socket) {
    socket.onopen = socket.onmessage = socket.onclose = null;
  }

  #later(call, ms) {
    const timer = this.#outside.later(() => {
      this.#timers.delete(timer);
      call();
    }, ms);
    this.#timers.add(timer);
  }

  #cancel() {
    for (const timer of this.#timers) this.#outside.never(timer);
    this.#timers.clear();
  }
}
