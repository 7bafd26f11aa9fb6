// The page: puts the parts together and shows what the app knows.

import { deleteVoice, postVoice } from "./api.js";
import { App } from "./app.js";
import { budget } from "./budget.js";
import { listDevices, outputChoice } from "./devices.js";
import { ask, byId, dress, fill, make } from "./dom.js";
import { showBudget, showDetails, streamFigures } from "./figures.js";
import { Panel } from "./panel.js";
import { PresetBar } from "./presetbar.js";
import { pressure } from "./pressure.js";
import { Presets } from "./presets.js";
import { addRecording, clock } from "./recordings.js";
import { Scope } from "./scope.js";
import { CHUNK } from "./session.js";
import { PROFILES, loadSettings } from "./settings.js";
import { KEYS, deedOf } from "./shortcuts.js";
import { ACTIONS, describe } from "./status.js";
import { VoicePicker } from "./voicepicker.js";

const FIGURES_MS = 250;
const TOAST_MS = 4000;
const TOAST_MS_A_SIGN = 50; // what is longer is read longer
const WORDS = {
  auto: "Auto",
  low: "Low",
  balanced: "Balanced",
  quality: "Quality",
  relaxed: "Relaxed",
};
const PROCESSING = ["echoCancellation", "noiseSuppression", "autoGainControl"];

const view = {
  state: showState,
  voices: () => {
    picker.show(app.voices, settings.voice, app.defaultVoice);
    showSpeakers();
  },
  voice: (name) => {
    picker.mark(name);
    showSpeakers();
  },
  controls: (values) => {
    panel.show(values);
    presetBar.show(settings.preset);
  },
  say,
  recorded: (recorder) => addRecording(byId("recordings"), recorder, settings.track),
};

const settings = loadSettings(localStorage);
export const app = new App(settings, localStorage, view);
const scopes = ["in", "out"].map(
  (way) => new Scope(byId(`scope-${way}`), byId(`meter-${way}`), byId(`level-${way}`)),
);
const panel = new Panel(byId("controls"), byId("controls-more"), (name, value) => {
  app.control(name, value);
  presetBar.show("");
});
const picker = new VoicePicker(byId("voices"), byId("voice-filter"), {
  choose: (name) => app.chooseVoice(name),
  remove: (name) => removeVoice(name),
  failed: (error) => say(error.message, true),
  token: () => app.token,
});
const presetBar = new PresetBar(
  new Presets(localStorage),
  () => ({ voice: settings.voice, controls: settings.controls }),
  (name, preset) => {
    if (preset) {
      app.controls(preset.controls);
      app.chooseVoice(preset.voice);
    }
    app.set({ preset: name });
    presetBar.show(name);
  },
  say,
);
const deeds = {
  start: () => (app.session.running ? app.stop() : app.start().then(showDevices)),
  mute: () => app.session.running && app.mute(),
  bypass: () => app.session.running && app.setBypass(),
  record: () => app.session.running && app.record(),
  lower: () => nudge(-1),
  higher: () => nudge(1),
  keys: () => showKeys(),
};

function nudge(semitones) {
  const pitch = Math.max(-24, Math.min(24, settings.controls.pitch + semitones));
  app.controls({ pitch });
}

function showSpeakers() {
  panel.speakers(picker.card(settings.voice)?.speakers ?? []);
  panel.show({ speaker: settings.controls.speaker, speaker_b: settings.controls.speaker_b });
}

function say(text, bad = false) {
  if ([...byId("toasts").children].some((toast) => toast.textContent === text)) return;
  const toast = make("p", { class: bad ? "toast bad" : "toast", text });
  byId("toasts").append(toast);
  setTimeout(() => toast.remove(), TOAST_MS + TOAST_MS_A_SIGN * text.length);
}

function showState() {
  const { session, muted, bypass, recording } = app;
  const known = app.microphoneLost && app.state.state === "live" ? { state: "gone" } : app.state;
  const seconds = known.until ? (known.until - performance.now()) / 1000 : 0;
  const voice = app.figures.ready?.voice ?? settings.voice;
  const busy = pressure(app.figures);
  const told = describe({ ...known, seconds, muted, bypass, voice, busy, address: location.href });
  byId("banner").className = `banner ${told.tone}`;
  write("banner-title", told.title);
  write("banner-text", told.text);
  byId("banner-text").title = told.hint ?? "";
  byId("banner-action").hidden = !told.action;
  if (told.action) write("banner-action", ACTIONS[told.action]);
  byId("banner-action").dataset.deed = told.action;
  document.title = known.state === "live" ? `${told.title} timbral` : "timbral";
  document.body.dataset.state = known.state;
  document.body.classList.toggle("raw", bypass && session.running);
  write("h-out", bypass && session.running ? "You" : "Voice");
  dress(byId("start"), session.running ? "stop" : "play", session.running ? "Stop" : "Start");
  byId("start").disabled = !session.running && (!app.voices.length || known.state === "asking");
  byId("start").classList.toggle("stop", session.running);
  press("mute", muted, muted ? "muted" : "mic", muted ? "Muted" : "Mute");
  press("bypass", bypass, "bypass", "Bypass");
  press(
    "record",
    recording,
    recording ? "stop" : "record",
    recording ? clock(session.recorded) : "Record",
  );
  byId("track").disabled = recording;
  scopes[0].attach(session.heard);
  scopes[1].attach(session.spoken);
  showInfo();
}

function press(id, on, picture, word) {
  const button = byId(id);
  button.setAttribute("aria-pressed", on);
  button.disabled = !app.session.running;
  dress(button, picture, word);
}

/** Only what is new is written: a status that is written anew is read out anew. */
function write(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}

function showInfo() {
  const { info } = app;
  if (!info) return;
  const { open, most } = info.streams;
  const runs = info.provider.replace("ExecutionProvider", "");
  write("version", `Server ${info.version} · ${runs} · ${open} of ${most} streams`);
}

function showFigures() {
  if (app.state.until) showState();
  if (app.recording) byId("record").querySelector("span").textContent = clock(app.session.recorded);
  const { ready, stats, report, trip } = app.figures;
  byId("budget").hidden = !ready;
  showDetails(streamFigures({ ...app.figures, rate: app.session.rate }));
  if (ready?.why) write("profile-note", chosen(ready, stats));
  if (!ready) return;
  const { input, output } = app.session.delays;
  const heard = { buffer: report?.delay_ms ?? 0, measured: report?.measured ?? null };
  showBudget(
    budget({ rate: app.session.rate, chunk: CHUNK, ready, stats, trip, ...heard, input, output }),
  );
}

/** How `auto` chose; it may choose another while the stream goes on. */
function chosen(ready, stats) {
  const now = stats && stats.profile !== ready.profile ? ` Now it is ${stats.profile}.` : "";
  return `Auto chose ${ready.profile}: ${ready.why}.${now}`;
}

async function showDevices() {
  const { inputs, outputs } = await listDevices();
  fill(byId("input"), withChosen(inputs, settings.input), settings.input);
  fill(byId("output"), withChosen(outputs, settings.output), settings.output);
  if (outputChoice()) return;
  byId("output").disabled = true;
  write(
    "output-note",
    "This browser plays to the system’s default output only; choose that in the system’s settings.",
  );
}

/** A device that was chosen and is away stays in the list. */
function withChosen(list, id) {
  return list.some(([known]) => known === id)
    ? list
    : [...list, [id, "The chosen one (not connected)"]];
}

async function showKeys() {
  byId("keys-list").replaceChildren(
    ...KEYS.map(([key, text]) =>
      make("div", {}, make("dt", {}, make("kbd", { text: key })), make("dd", { text })),
    ),
  );
  byId("shortcuts").checked = settings.shortcuts;
  await ask(byId("keys-dialog"));
  app.set({ shortcuts: byId("shortcuts").checked });
}

async function addVoice(files) {
  const button = byId("voice-add");
  if (!files.length || button.disabled) return;
  [button.disabled, button.textContent] = [true, "Adding…"];
  try {
    const { voice, missing } = await postVoice(files, app.token);
    say(missing ? `Added “${voice.name}”. ${missing}` : `Added “${voice.name}”.`, Boolean(missing));
    await app.load();
  } catch (error) {
    say(error.message, true);
  }
  [button.disabled, button.textContent] = [false, "Add a voice…"];
}

async function removeVoice(name) {
  byId("remove-name").textContent = name;
  if (!(await ask(byId("remove-dialog")))) return;
  try {
    await deleteVoice(name, app.token);
    say(`Deleted “${name}”.`);
    await app.load();
  } catch (error) {
    say(error.message, true);
  }
}

/** Files may be chosen, or dropped on the voices. */
function listenForVoices() {
  byId("voice-add").addEventListener("click", () => byId("voice-files").click());
  byId("voice-files").addEventListener("change", ({ target }) => {
    addVoice([...target.files]);
    target.value = "";
  });
  const card = byId("voices").parentElement;
  card.addEventListener("dragover", (event) => event.preventDefault());
  card.addEventListener("drop", (event) => {
    event.preventDefault();
    addVoice([...event.dataTransfer.files]);
  });
}

async function enterToken() {
  byId("token-text").value = app.token;
  byId("token-keep").checked = Boolean(settings.token);
  if (!(await ask(byId("token-dialog")))) return;
  const token = byId("token-text").value.trim();
  app.visitToken = token;
  app.set({ token: byId("token-keep").checked ? token : "" });
  await app.load();
  app.reopen();
}

function showProfiles() {
  for (const name of PROFILES) {
    const radio = make("input", {
      type: "radio",
      name: "profile",
      value: name,
      checked: name === settings.profile,
      onchange: () => app.chooseProfile(name),
    });
    byId("profile").append(make("label", {}, radio, make("span", { text: WORDS[name] })));
  }
}

function showAppearance() {
  const { appearance } = settings;
  if (appearance === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = appearance;
}

function listen() {
  for (const id of ["start", "mute", "bypass", "record", "keys"])
    byId(id).addEventListener("click", deeds[id]);
  byId("reset").addEventListener("click", () => app.reset());
  byId("token").addEventListener("click", enterToken);
  const actions = { token: enterToken, reset: () => app.reset(), retry: () => app.reopen() };
  byId("banner-action").addEventListener("click", ({ currentTarget }) =>
    actions[currentTarget.dataset.deed](),
  );
  byId("input").addEventListener("change", ({ target }) => {
    app.set({ input: target.value });
    app.useMicrophone();
  });
  byId("output").addEventListener("change", ({ target }) => {
    app.set({ output: target.value });
    app.useOutput();
  });
  byId("track").addEventListener("change", ({ target }) => app.set({ track: target.value }));
  byId("appearance").addEventListener("change", ({ target }) => {
    app.set({ appearance: target.value });
    showAppearance();
  });
  for (const id of ["more", "figures"]) {
    byId(id).open = settings[id];
    byId(id).addEventListener("toggle", ({ target }) => app.set({ [id]: target.open }));
  }
  for (const id of PROCESSING) {
    byId(id).checked = settings[id];
    byId(id).addEventListener("change", ({ target }) => {
      app.set({ [id]: target.checked });
      app.useMicrophone();
    });
  }
  navigator.mediaDevices?.addEventListener("devicechange", async () => {
    await showDevices();
    if (app.microphoneLost) await app.useMicrophone();
    await app.useOutput();
  });
  document.addEventListener("keydown", (event) => {
    const deed =
      settings.shortcuts && !document.querySelector("dialog[open]") ? deedOf(event) : undefined;
    if (!deed) return;
    event.preventDefault();
    deeds[deed]();
  });
}

/** A token in the address, as in /#token=…, is used, and taken out of the address. */
function takeToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return;
  app.visitToken = token;
  history.replaceState(null, "", location.pathname);
}

function draw(now) {
  for (const scope of scopes) scope.draw(now);
  requestAnimationFrame(draw);
}

takeToken();
showAppearance();
showProfiles();
byId("track").value = settings.track;
byId("appearance").value = settings.appearance;
panel.show(settings.controls);
presetBar.show(settings.preset);
listen();
listenForVoices();
showState();
showDevices();
app.load();
setInterval(showFigures, FIGURES_MS);
requestAnimationFrame(draw);
