// All that can be changed while speaking: one table of names, ranges and words. The names, ranges
// and defaults are those of stream/controls.py; a test compares them.

const DETECTORS = {
  // those that work live; the others are for files
  swift: "SwiftF0",
  harmonic: "Harmonic (light)",
  "crepe-tiny": "CREPE tiny",
  "crepe-full": "CREPE full",
  rmvpe: "RMVPE",
  fcpe: "FCPE",
};
const NOTES = ["C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B"];

export const MOST_METHODS = 4;
export const GROUPS = [
  { id: "pitch", label: "Pitch", silent: true },
  { id: "character", label: "Character" },
  { id: "levels", label: "Levels" },
  { id: "speakers", label: "Speakers", more: true },
  { id: "singing", label: "Singing", more: true },
  { id: "detector", label: "Pitch detector", more: true },
];

const range = (group, name, label, low, high, step, unit, initial, hint) => ({
  kind: "range",
  group,
  name,
  label,
  low,
  high,
  step,
  unit,
  initial,
  hint,
});
const choice = (group, name, label, options, initial, hint) => ({
  kind: "choice",
  group,
  name,
  label,
  options,
  initial,
  hint,
});

/** options  pairs of value and words */
export const CONTROLS = [
  range("pitch", "pitch", "Pitch", -24, 24, 0.1, "st", 0, "Semitones; 12 is an octave."),
  {
    kind: "toggle",
    group: "pitch",
    name: "auto_pitch",
    label: "Match the voice’s pitch",
    initial: true,
    hint: "Moves your usual pitch to the voice’s own first.",
  },
  range(
    "pitch",
    "formant",
    "Throat",
    -6,
    6,
    0.1,
    "st",
    0,
    "Smaller to the right, larger to the left.",
  ),
  range(
    "character",
    "index_rate",
    "Likeness",
    0,
    1,
    0.01,
    "",
    0,
    "More of the voice’s own sounds; too much blurs words.",
  ),
  range(
    "character",
    "protect",
    "Keep consonants",
    0,
    0.5,
    0.01,
    "",
    0.33,
    "Lower keeps more of your breath and s, t, k; 0.5 is off.",
  ),
  range(
    "character",
    "loudness",
    "Follow my loudness",
    0,
    1,
    0.01,
    "",
    0,
    "0 is the voice’s own loudness, 1 is yours.",
  ),
  range(
    "levels",
    "input_gain_db",
    "Microphone gain",
    -30,
    30,
    0.5,
    "dB",
    0,
    "Aim for peaks around −12 dB.",
  ),
  range("levels", "output_gain_db", "Voice gain", -30, 30, 0.5, "dB", 0, "After the conversion."),
  range(
    "levels",
    "gate_db",
    "Noise gate",
    -90,
    0,
    1,
    "dB",
    -60,
    "What is quieter is silence; −90 is off.",
  ),
  {
    kind: "speaker",
    group: "speakers",
    name: "speaker",
    label: "Speaker",
    initial: 0,
    hint: "This voice has several.",
  },
  {
    kind: "speaker",
    group: "speakers",
    name: "speaker_b",
    label: "Morph towards",
    initial: 0,
    hint: "A second speaker to mix in.",
  },
  range("speakers", "morph", "Morph", 0, 1, 0.01, "", 0, "0 is the first speaker, 1 the second."),
  range(
    "singing",
    "autotune",
    "Autotune",
    0,
    1,
    0.01,
    "",
    0,
    "1 brings every note onto the scale.",
  ),
  choice(
    "singing",
    "autotune_key",
    "Key",
    NOTES.map((note, i) => [i, note]),
    0,
    "The first note of the scale.",
  ),
  choice(
    "singing",
    "autotune_scale",
    "Scale",
    [
      ["chromatic", "Chromatic"],
      ["major", "Major"],
      ["minor", "Minor"],
    ],
    "chromatic",
    "Chromatic has all twelve notes.",
  ),
  {
    kind: "chips",
    group: "detector",
    name: "f0_methods",
    label: "Detectors",
    options: Object.entries(DETECTORS),
    initial: ["swift"],
    hint: "Up to four, combined. The server says which of them it has.",
  },
  choice(
    "detector",
    "f0_blend",
    "Combine by",
    [
      ["median", "Median"],
      ["mean", "Mean"],
      ["min", "Lowest"],
      ["max", "Highest"],
    ],
    "median",
    "What several detectors agree on.",
  ),
  range(
    "detector",
    "f0_min_hz",
    "Lowest pitch",
    50,
    550,
    5,
    "Hz",
    50,
    "What is lower counts as unvoiced.",
  ),
  range(
    "detector",
    "f0_max_hz",
    "Highest pitch",
    200,
    1100,
    5,
    "Hz",
    1100,
    "What is higher counts as unvoiced.",
  ),
];

const BY_NAME = new Map(CONTROLS.map((control) => [control.name, control]));

/** The value of every control when nothing was changed. */
export function initialControls() {
  return Object.fromEntries(CONTROLS.map(({ name, initial }) => [name, initial]));
}

/** `value` as the control may have it, or undefined where it makes no sense. */
export function sane(name, value) {
  const control = BY_NAME.get(name);
  switch (control?.kind) {
    case "range":
      if (typeof value !== "number" || !Number.isFinite(value)) return undefined;
      return Math.max(control.low, Math.min(control.high, value));
    case "toggle":
      return typeof value === "boolean" ? value : undefined;
    case "choice":
      return control.options.some(([option]) => option === value) ? value : undefined;
    case "speaker":
      return Number.isInteger(value) && value >= 0 ? value : undefined;
    case "chips": {
      if (!Array.isArray(value)) return undefined;
      const known = control.options.map(([option]) => option);
      const kept = known.filter((option) => value.includes(option));
      return kept.length ? kept.slice(0, MOST_METHODS) : undefined;
    }
    default:
      return undefined;
  }
}

/** Those of `values` that are controls, as they may be; the others are as when nothing changed. */
export function saneControls(values) {
  const all = initialControls();
  for (const name of Object.keys(all)) {
    const value = sane(name, values?.[name]);
    if (value !== undefined) all[name] = value;
  }
  if (all.f0_min_hz >= all.f0_max_hz) {
    all.f0_min_hz = BY_NAME.get("f0_min_hz").initial;
    all.f0_max_hz = BY_NAME.get("f0_max_hz").initial;
  }
  return all;
}

/** Whether two values of a control are the same. */
export function same(a, b) {
  return JSON.stringify(a) === JSON.stringify(b);
}
