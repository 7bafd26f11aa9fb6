// The voices to choose from, each with a recording to listen to.

import { getPreview } from "./api.js";
import { icon, make } from "./dom.js";

const MANY = 8; // voices; above that there is a field to find one by

export class VoicePicker {
  #box;
  #filter;
  #choose;
  #failed;
  #token;
  #cards = [];
  #player = new Audio();
  #playing = null; // the button of the recording that is heard

  /**
   * choose  called with the name of the voice that the listener picks
   * failed  called with an error that a recording met
   * token   gives the server's token
   */
  constructor(box, filter, choose, failed, token) {
    [this.#box, this.#filter, this.#choose] = [box, filter, choose];
    [this.#failed, this.#token] = [failed, token];
    this.#player.onended = () => this.#quiet();
    filter.addEventListener("input", () => this.#sift());
  }

  /** Show the voices of `/v1/voices`, `chosen` among them marked. */
  show(cards, chosen) {
    this.#cards = cards;
    this.#filter.hidden = cards.length <= MANY;
    const rows = cards.map((card) => this.#row(card, card.name === chosen));
    const none = make("p", { class: "note", text: "This server has no voice." });
    this.#box.replaceChildren(...(rows.length ? rows : [none]));
    this.#sift();
  }

  /** Mark the voice that speaks. */
  mark(name) {
    for (const radio of this.#box.querySelectorAll("input")) radio.checked = radio.value === name;
  }

  /** The card of a voice, or undefined. */
  card(name) {
    return this.#cards.find((card) => card.name === name);
  }

  #row(card, checked) {
    const radio = make("input", {
      type: "radio",
      name: "voice",
      value: card.name,
      checked,
      disabled: Boolean(card.error),
      onchange: () => this.#choose(card.name),
    });
    const words = make("span", { class: "words" }, make("strong", { text: card.name }));
    if (card.error) words.append(make("small", { class: "error", text: card.error }));
    else if (card.description) words.append(make("small", { text: card.description }));
    const listen = make(
      "button",
      {
        type: "button",
        class: "round",
        "aria-label": `Listen to ${card.name}`,
        title: "Listen",
        disabled: Boolean(card.error),
        onclick: () => this.#listen(card.name, listen),
      },
      icon("play"),
    );
    const row = make("div", { class: "row" }, make("label", {}, radio, words), listen);
    row.dataset.words = `${card.name} ${card.description ?? ""}`.toLowerCase();
    return row;
  }

  #sift() {
    const wanted = this.#filter.value.trim().toLowerCase();
    for (const row of this.#box.children) row.hidden = !(row.dataset.words ?? "").includes(wanted);
  }

  async #listen(name, button) {
    const same = this.#playing === button;
    this.#quiet();
    if (same) return;
    this.#playing = button;
    button.replaceChildren(icon("stop"));
    try {
      const blob = await getPreview(name, this.#token());
      if (this.#playing !== button) return;
      this.#player.src = URL.createObjectURL(blob);
      await this.#player.play();
    } catch (error) {
      this.#quiet();
      if (error.name !== "AbortError") this.#failed(error);
    }
  }

  #quiet() {
    this.#player.pause();
    if (this.#player.src) URL.revokeObjectURL(this.#player.src);
    this.#player.removeAttribute("src");
    this.#playing?.replaceChildren(icon("play"));
    this.#playing = null;
  }
}
