// Keys that work wherever the focus is, except where text is typed.

export const KEYS = [
  ["s", "Start or stop", "start"],
  ["m", "Mute", "mute"],
  ["b", "Bypass", "bypass"],
  ["r", "Record", "record"],
  ["[", "Pitch down a semitone", "lower"],
  ["]", "Pitch up a semitone", "higher"],
  ["?", "These shortcuts", "keys"],
];
const TYPING = new Set(["text", "search", "password", "number"]);

/** The deed that a key event asks for, or undefined. */
export function deedOf(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.defaultPrevented)
    return undefined;
  const { tagName = "", type = "" } = event.target ?? {};
  if (tagName === "SELECT" || tagName === "TEXTAREA" || (tagName === "INPUT" && TYPING.has(type)))
    return undefined;
  return KEYS.find(([key]) => key === event.key.toLowerCase())?.[2];
}
