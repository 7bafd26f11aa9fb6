// The voices to choose from, each with a recording to listen to.

import { getPreview } from "./api.js";
import { icon, make } from "./dom.js";

const MANY = 8; // voices; above that there is a field to find one by

export class VoicePicker {
  #box;
  #filter;
  #deeds;
  #cards = [];
  #player = new Audio();
  #playing = null; // the button of the recording that is heard

  /** deeds  {choose(name), remove(name), failed(error), token()} */
  constructor(box, filter, deeds) {
    [this.#box, this.#filter, this.#deeds] = [box, filter, deeds];
    this.#player.onended = () => this.#quiet();
    filter.addEventListener("input", () => this.#sift());
  }

  /** Show the voices of `/v1/voices`: `chosen` is marked, and `kept` cannot be deleted. */
  show(cards, chosen, kept) {
    this.#cards = cards;
    this.#filter.hidden = cards.length <= MANY;
    const rows = cards.map((card) => this.#row(card, card.name === chosen, card.name === kept));
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

  #row(card, checked, kept) {
    const radio = make("input", {
      type: "radio",
      name: "voice",
      value: card.name,
      checked,
      disabled: Boolean(card.error),
      onchange: () => this.#deeds.choose(card.name),
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
    const remove = make(
      "button",
      {
        type: "button",
        class: "round",
        "aria-label": `Delete ${card.name}`,
        title: "Delete",
        onclick: () => this.#deeds.remove(card.name),
      },
      icon("remove"),
    );
    const label = make("label", {}, radio, words);
    const row = make("div", { class: "row" }, label, ...(kept ? [] : [remove]), listen);
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
      const blob = await getPreview(name, this.#deeds.token());
      if (this.#playing !== button) return;
      this.#player.src = URL.createObjectURL(blob);
      await this.#player.play();
    } catch (error) {
      this.#quiet();
      if (error.name !== "AbortError") this.#deeds.failed(error);
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
