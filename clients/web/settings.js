// What a listener set up, kept from one visit to the next. What cannot be read is as at first.

import { saneControls } from "./controls.js";

export const PROFILES = ["auto", "low", "balanced", "quality", "relaxed"];
export const APPEARANCES = ["system", "light", "dark"];
export const TRACKS = ["output", "input", "both"];

const KEY = "timbral.settings";
const text = (value) => (typeof value === "string" ? value.slice(0, 512) : "");
const among = (list, value) => (list.includes(value) ? value : list[0]);

/** Settings from whatever was stored. Bypass and mute are never among them: both begin as off. */
export function saneSettings(stored) {
  const from = stored !== null && typeof stored === "object" ? stored : {};
  return {
    voice: text(from.voice),
    profile: among(PROFILES, from.profile),
    controls: saneControls(from.controls),
    preset: text(from.preset),
    input: text(from.input), // ids of devices; "" is the system's default
    output: text(from.output),
    echoCancellation: from.echoCancellation === true,
    noiseSuppression: from.noiseSuppression === true,
    autoGainControl: from.autoGainControl === true,
    track: among(TRACKS, from.track),
    appearance: among(APPEARANCES, from.appearance),
    shortcuts: from.shortcuts !== false,
    more: from.more === true, // whether the rare controls, and the figures, are unfolded
    figures: from.figures === true,
    token: text(from.token),
  };
}

/** Read the settings; `storage` is like `localStorage`. */
export function loadSettings(storage) {
  return saneSettings(read(storage, KEY));
}

/** Keep the settings. */
export function saveSettings(storage, settings) {
  write(storage, KEY, settings);
}

/** What was stored as JSON under `key`, or null. */
export function read(storage, key) {
  try {
    return JSON.parse(storage.getItem(key));
  } catch {
    return null; // not JSON, or the browser forbids storage
  }
}

/** Store `value` as JSON; a browser that forbids it forgets at the end of the visit. */
export function write(storage, key, value) {
  try {
    storage.setItem(key, JSON.stringify(value));
  } catch {
    // full or forbidden: the page works all the same
  }
}
