// What the page says of its state, in words: what is so, and what to do.

import { COMES_BACK } from "./pressure.js";

const WAITING = {
  "": ["Server away.", "Silence goes out meanwhile."],
  overloaded: ["Server full.", ""],
  too_slow: ["Stream ended.", ""],
  idle: ["Stream ended.", ""],
  internal: ["Server error.", ""],
};
const REFUSED = {
  unauthorized: ["Token needed.", "This server lets in who knows its token.", "token"],
  voice_not_found: ["Voice missing.", "", ""],
  unsupported: ["Not possible here.", "", "reset"],
  bad_message: ["Server and page disagree.", "", ""],
};
const FIXED = {
  loading: ["calm", "Loading.", "Asking the server for its voices."],
  idle: ["calm", "Ready.", "Press Start and speak."],
  asking: ["calm", "Microphone?", "Allow it where your browser asks."],
  connecting: ["calm", "Connecting.", "The server prepares the voice."],
  gone: ["warn", "Microphone gone.", "Silence goes out. Plug it in again or choose another."],
  denied: [
    "bad",
    "Microphone blocked.",
    "Allow it for this page, at the left of the address bar, and press Start.",
  ],
  missing: ["bad", "No microphone.", "Connect one and press Start."],
  busy: [
    "bad",
    "Microphone in use.",
    "Another program holds it, or the system forbids it to this browser.",
  ],
  old: [
    "bad",
    "Browser too old.",
    "This page needs AudioWorklet and module workers: Chrome 123, Firefox 120, Safari 17.5, or newer.",
  ],
};
export const ACTIONS = { token: "Enter token", reset: "Reset controls", retry: "Try now" };

/**
 * {tone, title, text, action, hint?} for a state; tone is calm, good, warn or bad.
 *
 * state  {state, code?, message?, seconds?, address?, voice?, muted?, bypass?, busy?}; `busy` is
 *        what `pressure` says
 */
export function describe(state) {
  switch (state.state) {
    case "live":
      return live(state);
    case "waiting": {
      const [title, text] = WAITING[state.code] ?? WAITING[""];
      const next = `Next try in ${Math.max(1, Math.ceil(state.seconds))} s.`;
      const told = [state.message || text, next].filter(Boolean).join(" ");
      return { tone: "warn", title, text: told, action: "retry" };
    }
    case "refused": {
      const [title, text, action] = REFUSED[state.code] ?? REFUSED.bad_message;
      return { tone: "bad", title, text: text || state.message, action };
    }
    case "insecure":
      return {
        tone: "bad",
        title: "No secure connection.",
        text: insecure(state.address),
        action: "",
      };
    default: {
      const [tone, title, text] = FIXED[state.state] ?? FIXED.idle;
      return { tone, title, text, action: "" };
    }
  }
}

function live({ voice, muted, bypass, busy = "" }) {
  if (muted) return say("warn", "Muted.", "Silence goes out.");
  if (bypass) return say("bad", "Bypass.", "Your own voice goes out, unchanged.");
  const told = say("good", "Live.", [`“${voice}” speaks for you.`, busy].filter(Boolean).join(" "));
  return busy ? { ...told, hint: COMES_BACK } : told;
}

const say = (tone, title, text) => ({ tone, title, text, action: "" });

function insecure(address) {
  const { hostname, port } = new URL(address);
  const at = port || "80";
  return (
    "Browsers give the microphone only to https pages and to this machine itself. Put TLS before " +
    `the server, or bring it here: ssh -L ${at}:127.0.0.1:${at} ${hostname}, then open ` +
    `http://127.0.0.1:${at}.`
  );
}
