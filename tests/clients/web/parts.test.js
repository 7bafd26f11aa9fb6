// The small parts: frames, chunks, tapes, files, budgets, settings, presets, words.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Backoff } from "../../../clients/web/backoff.js";
import { budget } from "../../../clients/web/budget.js";
import { Chunker } from "../../../clients/web/chunker.js";
import { initialControls, sane, saneControls } from "../../../clients/web/controls.js";
import { pressure } from "../../../clients/web/pressure.js";
import { Presets } from "../../../clients/web/presets.js";
import { GAP, SILENCE, packFrame, unpackFrame } from "../../../clients/web/protocol.js";
import { Recorder } from "../../../clients/web/recorder.js";
import { clock, fileName } from "../../../clients/web/recordings.js";
import { peakOf, rowBins } from "../../../clients/web/scope.js";
import { loadSettings, saneSettings, saveSettings } from "../../../clients/web/settings.js";
import { deedOf } from "../../../clients/web/shortcuts.js";
import { describe } from "../../../clients/web/status.js";
import { Tape } from "../../../clients/web/tape.js";
import { pcm16 } from "../../../clients/web/wav.js";

const golden = (name) => {
  const bytes = readFileSync(new URL(`../../golden/frame_${name}.bin`, import.meta.url));
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
};
const ramp = (from, n) => Float32Array.from({ length: n }, (_, k) => from + k + 1);
const storage = () => {
  const held = new Map();
  return { getItem: (key) => held.get(key) ?? null, setItem: (key, value) => held.set(key, value) };
};

test("the golden frames are read as the server reads them", () => {
  const flags = { after_gap: GAP, silence: SILENCE, concealed: 3, first_s16le: 0, last: 0 };
  for (const [name, wanted] of Object.entries(flags)) {
    const data = golden(name);
    const frame = unpackFrame(data);
    assert.equal(frame.flags, wanted, name);
    assert.equal(frame.samples.length, (data.byteLength - 16) / 2, name);
  }
  assert.equal(unpackFrame(golden("first_s16le")).seq, 0);
  assert.ok(unpackFrame(golden("first_f32le"), "f32le").samples.every(Number.isFinite));
});

test("a frame that is packed is the golden one, byte for byte", () => {
  const data = golden("first_s16le");
  const { seq, position, samples } = unpackFrame(data);
  assert.deepEqual(new Uint8Array(packFrame(seq, position, samples)), new Uint8Array(data));
});

test("what is no frame is refused, whatever the bytes", () => {
  for (const size of [0, 1, 15, 16, 17]) assert.throws(() => unpackFrame(new ArrayBuffer(size)));
  for (const at of [0, 1, 2]) {
    const data = golden("first_s16le");
    new Uint8Array(data)[at] ^= 0x80;
    assert.throws(() => unpackFrame(data), `byte ${at}`);
  }
});

test("chunks hold what went in, in its place, though each buffer goes to another thread", () => {
  for (const size of [1, 63, 64, 65, 128, 300]) {
    const heard = [];
    const chunker = new Chunker(size, (frame, samples) => {
      const { samples: moved } = structuredClone({ samples }, { transfer: [samples.buffer] });
      assert.equal(frame, heard.length);
      heard.push(...moved);
    });
    for (let at = 0; at < 1280; at += 128) chunker.feed(at, ramp(at, 128));
    assert.deepEqual(heard, [...ramp(0, heard.length)]);
    assert.ok(heard.length > 1280 - size);
  }
});

test("while muted chunks are silent, and nothing jumps on the way there and back", () => {
  const heard = [];
  const chunker = new Chunker(64, (_frame, samples) => heard.push(...samples));
  for (let block = 0; block < 30; block++) {
    chunker.muted = block >= 10 && block < 20;
    chunker.feed(128 * block, new Float32Array(128).fill(1));
  }
  assert.ok(heard.slice(128 * 12, 128 * 20).every((x) => x === 0));
  assert.ok(heard.slice(128 * 22).every((x) => x === 1));
  heard.slice(1).forEach((x, i) => assert.ok(Math.abs(x - heard[i]) < 0.005));
});

test("a tape holds the samples from one number to another, whatever the blocks", () => {
  for (const [from, until] of [
    [0, 1],
    [100, 228],
    [127, 128],
    [5, 10_005],
    [256, 512],
  ]) {
    const heard = [];
    let over = 0;
    const tape = new Tape((samples, last) => {
      heard.push(...samples);
      over += last;
    });
    tape.record(from);
    for (let at = 0; at < 12_000; at += 128) {
      if (at >= from) tape.stop(until);
      tape.feed(at, ramp(at, 128));
    }
    assert.equal(over, 1);
    assert.deepEqual(heard, [...ramp(from, until - from)]);
  }
});

test("a recording of both is one file, left the one and right the other", async () => {
  const recorder = new Recorder(48_000, ["input", "output"]);
  assert.equal(recorder.add("input", Float32Array.of(0.5, 1), false), false);
  assert.equal(recorder.add("output", Float32Array.of(-0.5, -2), true), false);
  assert.equal(recorder.add("input", Float32Array.of(), true), true);
  const view = new DataView(await recorder.blob().arrayBuffer());
  assert.equal(view.byteLength, 44 + 8);
  assert.deepEqual(
    [view.getUint16(22, true), view.getUint32(24, true), view.getUint32(40, true)],
    [2, 48_000, 8],
  );
  assert.deepEqual(
    [44, 46, 48, 50].map((at) => view.getInt16(at, true)),
    [16384, -16384, 32767, -32768],
  );
  assert.equal(pcm16(new Float32Array(3)).byteLength, 6);
});

test("waiting grows to a limit, by chance, and starts anew after a success", () => {
  const backoff = new Backoff(() => 1);
  const waits = Array.from({ length: 8 }, () => backoff.next());
  assert.deepEqual(waits, [0.5, 1, 2, 4, 8, 15, 15, 15]);
  backoff.reset();
  assert.equal(backoff.next(), 0.5);
  assert.equal(new Backoff(() => 0).next(), 0.25);
});

test("the parts of the budget add up to what was measured and what the devices say", () => {
  const ready = { latency_samples: 2880 };
  const stats = { compute_ms: { p50: 10 }, queue_ms: 1, latency_samples: 2880 };
  const given = {
    rate: 48_000,
    chunk: 480,
    ready,
    stats,
    trip: 2,
    buffer: 12,
    input: 0.01,
    output: 0.03,
  };
  for (const measured of [4800, 3840]) {
    const { parts, total } = budget({ ...given, measured });
    assert.ok(Math.abs(total - (measured / 48 + 40)) < 1e-9);
    assert.ok(parts.every(({ ms }) => ms >= 0));
    assert.ok(parts.find(({ id }) => id === "network").ms <= 2);
  }
  const { parts } = budget({ ...given, measured: null, stats: null });
  assert.equal(parts.find(({ id }) => id === "network").ms, 2);
});

test("controls from a file are taken as far as they make sense", () => {
  assert.equal(sane("pitch", 99), 24);
  assert.equal(sane("pitch", "3"), undefined);
  assert.equal(sane("volume", 3), undefined);
  assert.deepEqual(sane("f0_methods", ["fcpe", "swift", "guess"]), ["swift", "fcpe"]);
  assert.equal(sane("f0_methods", []), undefined);
  const controls = saneControls({ pitch: NaN, formant: 2, f0_min_hz: 500, f0_max_hz: 300 });
  assert.deepEqual(controls, { ...initialControls(), formant: 2 });
});

test("settings survive, wrong ones do not, and bypass is never among them", () => {
  const held = storage();
  const settings = { ...loadSettings(held), voice: "ada", profile: "low", bypass: true };
  saveSettings(held, settings);
  const again = loadSettings(held);
  assert.equal(again.voice, "ada");
  assert.equal(again.profile, "low");
  assert.ok(!("bypass" in again) && !("muted" in again));
  assert.deepEqual(
    saneSettings({ profile: "fast", appearance: 3, controls: "x", track: {} }),
    saneSettings(null),
  );
  assert.equal(loadSettings({ getItem: () => "{" }).profile, "auto");
  assert.equal(
    loadSettings({
      getItem: () => {
        throw new Error("forbidden");
      },
    }).profile,
    "auto",
  );
});

test("the browser's own processing of the microphone is off at first", () => {
  const { echoCancellation, noiseSuppression, autoGainControl } = saneSettings(null);
  assert.deepEqual([echoCancellation, noiseSuppression, autoGainControl], [false, false, false]);
});

test("presets are kept, exchanged as text, and nothing else is taken for one", () => {
  const held = storage();
  const presets = new Presets(held);
  assert.equal(presets.save("  deep ", "ada", { ...initialControls(), pitch: -5 }), "deep");
  assert.equal(presets.save(" ", "ada", initialControls()), undefined);
  assert.equal(new Presets(held).get("deep").controls.pitch, -5);
  const other = new Presets(storage());
  assert.equal(other.add(presets.text()), 1);
  assert.deepEqual(other.get("deep"), presets.get("deep"));
  for (const text of ["", "{}", "[]", '{"presets": [{"name": 3}]}', "null"])
    assert.throws(() => other.add(text), text);
  other.remove("deep");
  assert.deepEqual(other.names, []);
});

test("every state has words, and says what to do where something can be done", () => {
  const address = "http://10.0.0.2:8765/";
  for (const state of [
    "loading",
    "idle",
    "asking",
    "connecting",
    "live",
    "waiting",
    "refused",
    "gone",
    "denied",
    "insecure",
    "missing",
    "busy",
    "old",
  ]) {
    const told = describe({ state, address, seconds: 2.2, code: "", message: "m", voice: "ada" });
    assert.ok(told.title && told.text, state);
  }
  assert.match(
    describe({ state: "insecure", address }).text,
    /ssh -L 8765:127\.0\.0\.1:8765 10\.0\.0\.2/,
  );
  assert.match(
    describe({ state: "waiting", code: "overloaded", message: "All full.", seconds: 2.2 }).text,
    /full.*3 s/,
  );
  assert.equal(describe({ state: "refused", code: "unauthorized" }).action, "token");
  assert.match(describe({ state: "live", bypass: true }).text, /own voice/);
  const live = describe({ state: "live", voice: "ada", busy: "The server is busy." });
  assert.match(live.text, /“ada” speaks for you. The server is busy./);
  assert.ok(live.hint && !describe({ state: "live", voice: "ada" }).hint);
  assert.match(describe({ state: "live", bypass: true, muted: true }).text, /Silence/);
});

test("what a busy server gives up is said with what it means for the latency", () => {
  const ready = { latency_samples: 3000, sample_rate: 48_000 };
  const told = (eased, more) => pressure({ ready, stats: { eased, latency_samples: 3000 + more } });
  assert.equal(told("", 0), "");
  assert.equal(pressure({ ready: null, stats: null }), "");
  assert.match(told("light pitch", 0), /pitch is found the light way, latency is as before/);
  assert.match(told("longer hops", 960), /longer pieces .* 20 ms more/);
  assert.match(told("something new", 0), /busy: something new/);
});

test("shortcuts leave text fields and other programs' keys alone", () => {
  const key = (name, more = {}) => deedOf({ key: name, target: { tagName: "BODY" }, ...more });
  assert.equal(key("m"), "mute");
  assert.equal(key("M"), "mute");
  assert.equal(key("m", { ctrlKey: true }), undefined);
  assert.equal(key("x"), undefined);
  assert.equal(key("m", { target: { tagName: "INPUT", type: "text" } }), undefined);
  assert.equal(key("m", { target: { tagName: "INPUT", type: "range" } }), "mute");
});

test("the rows of a spectrogram cover the bins from high to low without a hole", () => {
  const rows = rowBins(84, 48_000, 1024);
  assert.equal(rows.length, 84);
  rows.forEach(([low, high]) => assert.ok(low < high && low >= 0 && high <= 1024));
  rows.slice(1).forEach(([, high], i) => assert.ok(high >= rows[i][0]));
  assert.ok(peakOf(Float32Array.of(0, -1)) > -0.1);
  assert.equal(peakOf(new Float32Array(4)), -60);
});

test("times and names of recordings can be read", () => {
  assert.equal(clock(0), "0:00");
  assert.equal(clock(75.9), "1:15");
  assert.equal(
    fileName("both", new Date(2026, 0, 2, 3, 4, 5)),
    "timbral-2026-01-02-030405-both.wav",
  );
});
