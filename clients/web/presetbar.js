// Presets: chosen, saved, removed, taken from a file and written to one.

import { ask, byId, download, fill } from "./dom.js";

export class PresetBar {
  #presets;
  #now;
  #apply;
  #say;
  #select = byId("preset");

  /**
   * now    gives {voice, controls} to save
   * apply  called with the preset that is chosen
   * say    called with what to tell the listener
   */
  constructor(presets, now, apply, say) {
    [this.#presets, this.#now, this.#apply, this.#say] = [presets, now, apply, say];
    this.#select.addEventListener("change", () => this.#choose(this.#select.value));
    byId("preset-save").addEventListener("click", () => this.save());
    byId("preset-remove").addEventListener("click", () => this.#remove());
    byId("preset-export").addEventListener("click", () => this.#export());
    byId("preset-import").addEventListener("click", () => byId("preset-file").click());
    byId("preset-file").addEventListener("change", (event) => this.#import(event.target));
    this.show("");
  }

  /** Show the list with `chosen` in front; "" when the controls are no preset's. */
  show(chosen) {
    const names = this.#presets.names;
    const none = names.length ? "No preset" : "No presets yet";
    fill(
      this.#select,
      [["", none], ...names.map((name) => [name, name])],
      names.includes(chosen) ? chosen : "",
    );
    byId("preset-remove").disabled = !this.#select.value;
    byId("preset-export").disabled = !names.length;
  }

  /** Ask for a name, and save. */
  async save() {
    const field = byId("preset-name");
    field.value = this.#select.value;
    if (!(await ask(byId("preset-dialog")))) return;
    const { voice, controls } = this.#now();
    const name = this.#presets.save(field.value, voice, controls);
    if (!name) return;
    this.#choose(name);
    this.#say(`Saved “${name}”.`);
  }

  #choose(name) {
    this.show(name);
    this.#apply(name, this.#presets.get(name));
  }

  #remove() {
    const name = this.#select.value;
    this.#presets.remove(name);
    this.#choose("");
    this.#say(`Deleted “${name}”.`);
  }

  #export() {
    download(
      new Blob([this.#presets.text()], { type: "application/json" }),
      "timbral-presets.json",
    );
  }

  async #import(input) {
    const [file] = input.files;
    input.value = "";
    try {
      const count = this.#presets.add(await file.text());
      this.#say(count === 1 ? "Took over 1 preset." : `Took over ${count} presets.`);
    } catch (error) {
      this.#say(error.message, true);
    }
    this.show(this.#select.value);
  }
}
