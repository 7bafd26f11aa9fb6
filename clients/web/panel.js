// The controls as sliders, switches, lists and chips.

import { CONTROLS, GROUPS, MOST_METHODS, same } from "./controls.js";
import { fill, icon, make } from "./dom.js";

/** A number as the control shows it. */
export function shown(control, value) {
  const digits = control.step >= 1 ? 0 : control.step >= 0.1 ? 1 : 2;
  return value.toFixed(digits);
}

export class Panel {
  #views = new Map(); // name: {show, row}
  #change;

  /**
   * change  called with (name, value) when the listener moves a control
   */
  constructor(usual, rare, change) {
    this.#change = change;
    for (const group of GROUPS) {
      const rows = CONTROLS.filter((control) => control.group === group.id);
      const box = make(
        "fieldset",
        { class: "group", id: `group-${group.id}` },
        make("legend", { text: group.label, class: group.silent ? "sr" : "" }),
      );
      for (const control of rows) box.append(this.#row(control));
      (group.more ? rare : usual).append(box);
    }
    this.speakers([]);
  }

  /** Show these values. */
  show(values) {
    for (const [name, value] of Object.entries(values)) this.#views.get(name)?.show(value);
  }

  /** The names of the voice's speakers; with one only, there is nothing to choose. */
  speakers(names) {
    const several = names.length > 1;
    document.getElementById("group-speakers").hidden = !several;
    for (const name of ["speaker", "speaker_b"]) this.#views.get(name).fill(names);
  }

  #row(control) {
    const id = `control-${control.name}`;
    const builders = {
      range: () => this.#range(control, id),
      toggle: () => this.#toggle(control, id),
      choice: () => this.#choice(control, id, control.options),
      speaker: () => this.#choice(control, id, []),
      chips: () => this.#chips(control, id),
    };
    const { elements, ...view } = builders[control.kind]();
    const reset = make(
      "button",
      {
        type: "button",
        class: "reset",
        "aria-label": `Reset ${control.label}`,
        title: "Reset",
        onclick: () => this.#set(control, control.initial),
      },
      icon("reset"),
    );
    const hint = make("p", { id: `${id}-hint`, class: "hint", text: control.hint });
    const row = make("div", { class: `control ${control.kind}` }, ...elements, reset, hint);
    const show = (value) => {
      view.show(value);
      reset.classList.toggle("idle", same(value, control.initial));
      reset.disabled = same(value, control.initial);
    };
    this.#views.set(control.name, { ...view, show });
    show(control.initial);
    return row;
  }

  #set(control, value) {
    this.show({ [control.name]: value });
    this.#change(control.name, value);
  }

  #range(control, id) {
    const { low: min, high: max, step, unit, label } = control;
    const bounds = { min, max, step, "aria-describedby": `${id}-hint` };
    const slider = make("input", { type: "range", id, ...bounds });
    const number = make("input", { type: "number", ...bounds, "aria-label": `${label}, exactly` });
    slider.addEventListener("input", () => this.#set(control, Number(slider.value)));
    number.addEventListener("change", () => {
      const value = number.value === "" ? control.initial : Number(number.value);
      this.#set(control, Math.max(min, Math.min(max, value)));
    });
    const show = (value) => {
      slider.value = value;
      if (document.activeElement !== number || Number(number.value) !== value)
        number.value = shown(control, value);
      const at = (x) => `${(100 * (x - min)) / (max - min)}%`;
      const zero = min < 0 && max > 0 ? 0 : min; // the fill starts where "no change" is
      slider.style.setProperty("--from", at(Math.min(zero, value)));
      slider.style.setProperty("--to", at(Math.max(zero, value)));
      slider.setAttribute("aria-valuetext", `${shown(control, value)} ${unit}`.trim());
    };
    const value = make(
      "span",
      { class: "value" },
      number,
      make("span", { class: "unit", text: unit }),
    );
    return { elements: [make("label", { for: id, text: label }), value, slider], show };
  }

  #toggle(control, id) {
    const box = make("input", {
      type: "checkbox",
      id,
      role: "switch",
      "aria-describedby": `${id}-hint`,
    });
    box.addEventListener("change", () => this.#set(control, box.checked));
    const show = (value) => {
      box.checked = value;
    };
    return { elements: [make("label", { for: id, text: control.label }), box], show };
  }

  #choice(control, id, options) {
    const select = make("select", { id, "aria-describedby": `${id}-hint` });
    let offered = options;
    let chosen = control.initial;
    const show = (value) => {
      chosen = value;
      select.value = String(value);
    };
    const refill = (names) => {
      offered = names.map((name, i) => [i, name]);
      fill(select, offered, String(chosen));
    };
    select.addEventListener("change", () => this.#set(control, offered[select.selectedIndex][0]));
    fill(select, offered, control.initial);
    return {
      elements: [make("label", { for: id, text: control.label }), select],
      show,
      fill: refill,
    };
  }

  #chips(control, id) {
    const boxes = new Map();
    const list = make("div", { class: "chips", role: "group", "aria-label": control.label });
    for (const [value, text] of control.options) {
      const box = make("input", { type: "checkbox", id: `${id}-${value}` });
      box.addEventListener("change", () => {
        const on = control.options
          .map(([option]) => option)
          .filter((option) => boxes.get(option).checked);
        this.#set(control, on.length ? on : [value]);
      });
      boxes.set(value, box);
      list.append(make("label", { class: "chip" }, box, make("span", { text })));
    }
    const show = (chosen) => {
      for (const [value, box] of boxes) {
        box.checked = chosen.includes(value);
        box.disabled = !box.checked && chosen.length >= MOST_METHODS;
      }
    };
    return { elements: [make("span", { class: "label", text: control.label }), list], show };
  }
}
