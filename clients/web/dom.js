// Elements, made and found.

/** The element with that id. */
export const byId = (id) => document.getElementById(id);

/**
 * A new element.
 *
 * props  attributes; `text` is its text, and functions named `onclick` and the like listen
 */
export function make(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "text") element.textContent = value;
    else if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean") element.toggleAttribute(name, value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** One of the page's icons. */
export function icon(name) {
  const [svg, use] = ["svg", "use"].map((tag) =>
    document.createElementNS("http://www.w3.org/2000/svg", tag),
  );
  use.setAttribute("href", `#i-${name}`);
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/** Give a button of the page another icon and word. */
export function dress(button, name, word) {
  button.querySelector("use").setAttribute("href", `#i-${name}`);
  button.querySelector("span").textContent = word;
}

/** Fill a `<select>` with pairs of value and words, and choose one. */
export function fill(select, options, chosen) {
  select.replaceChildren(...options.map(([value, text]) => make("option", { value, text })));
  select.value = chosen;
}

/** Give the user a file. */
export function download(blob, name) {
  const href = URL.createObjectURL(blob);
  make("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}

/** Open a dialog; the promise tells whether its form was sent. */
export function ask(dialog) {
  return new Promise((resolve) => {
    const form = dialog.querySelector("form");
    const over = new AbortController();
    const { signal } = over;
    let sent = false;
    form.addEventListener(
      "submit",
      (event) => {
        event.preventDefault();
        sent = true;
        dialog.close();
      },
      { signal },
    );
    form
      .querySelector("[value=cancel]")
      ?.addEventListener("click", () => dialog.close(), { signal });
    dialog.addEventListener(
      "close",
      () => {
        over.abort();
        resolve(sent);
      },
      { signal },
    );
    dialog.showModal();
  });
}
