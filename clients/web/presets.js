// Presets: a voice and all controls under a name, kept here, exchanged as JSON.

import { saneControls } from "./controls.js";
import { read, write } from "./settings.js";

const KEY = "timbral.presets";
const MOST = 200;
const NAME = 64; // characters

/** The presets in what a file or the storage holds; what is no preset is left out. */
export function sanePresets(held) {
  const list = Array.isArray(held?.presets) ? held.presets : [];
  const named = new Map();
  for (const preset of list.slice(0, MOST)) {
    const name = typeof preset?.name === "string" ? preset.name.trim().slice(0, NAME) : "";
    if (!name || typeof preset.controls !== "object") continue;
    const voice = typeof preset.voice === "string" ? preset.voice.slice(0, NAME) : "";
    named.set(name, { name, voice, controls: saneControls(preset.controls) });
  }
  return named;
}

export class Presets {
  #storage;
  #named;

  /** storage  like `localStorage` */
  constructor(storage) {
    this.#storage = storage;
    this.#named = sanePresets(read(storage, KEY));
  }

  /** The names, in order. */
  get names() {
    return [...this.#named.keys()].sort((a, b) => a.localeCompare(b));
  }

  /** The preset of that name, or undefined. */
  get(name) {
    return this.#named.get(name);
  }

  /** Keep a voice and its controls under `name`; one of the same name is replaced. */
  save(name, voice, controls) {
    const [kept] = sanePresets({ presets: [{ name, voice, controls }] }).values();
    if (kept === undefined) return undefined;
    this.#named.set(kept.name, kept);
    this.#keep();
    return kept.name;
  }

  /** Forget the preset. */
  remove(name) {
    this.#named.delete(name);
    this.#keep();
  }

  /** All presets as the text of a file. */
  text() {
    return JSON.stringify(this.#held(), null, 2) + "\n";
  }

  /** Add the presets of a file; returns how many. Throws when there are none in it. */
  add(text) {
    let held;
    try {
      held = JSON.parse(text);
    } catch {
      throw new Error("This file is not JSON. Choose one that “Export” has written.");
    }
    const found = sanePresets(held);
    if (!found.size)
      throw new Error("No presets are in this file. Choose one that “Export” has written.");
    for (const [name, preset] of found) this.#named.set(name, preset);
    this.#keep();
    return found.size;
  }

  #held() {
    return { timbral_presets: 1, presets: this.names.map((name) => this.#named.get(name)) };
  }

  #keep() {
    write(this.#storage, KEY, this.#held());
  }
}
