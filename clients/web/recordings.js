// The recordings of this visit: to hear, to keep, to throw away.

import { download, icon, make } from "./dom.js";

/** Seconds as minutes and seconds. */
export function clock(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** A name for a file that sorts by time. */
export function fileName(what, now = new Date()) {
  const two = (n) => String(n).padStart(2, "0");
  const day = [now.getFullYear(), two(now.getMonth() + 1), two(now.getDate())].join("-");
  const time = [now.getHours(), now.getMinutes(), now.getSeconds()].map(two).join("");
  return `timbral-${day}-${time}-${what}.wav`;
}

/** Add a finished recording to the list. */
export function addRecording(list, recorder, what) {
  const blob = recorder.blob();
  const href = URL.createObjectURL(blob);
  const name = fileName(what);
  const player = make("audio", {
    src: href,
    controls: true,
    preload: "metadata",
    "aria-label": name,
  });
  const label = `${name}, ${clock(recorder.seconds)}`;
  const keep = make(
    "button",
    {
      type: "button",
      class: "round",
      "aria-label": `Download ${label}`,
      title: "Download",
      onclick: () => download(blob, name),
    },
    icon("down"),
  );
  const drop = make(
    "button",
    {
      type: "button",
      class: "round",
      "aria-label": `Delete ${label}`,
      title: "Delete",
      onclick: () => {
        URL.revokeObjectURL(href);
        row.remove();
      },
    },
    icon("remove"),
  );
  const row = make(
    "li",
    {},
    make(
      "span",
      { class: "words" },
      make("strong", { text: clock(recorder.seconds) }),
      make("small", { text: name }),
    ),
    keep,
    drop,
    player,
  );
  list.prepend(row);
}
