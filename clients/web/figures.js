// The latency as a bar with its parts, and the figures of the stream.

import { byId, make } from "./dom.js";

const whole = (ms) => (ms < 9.95 ? ms.toFixed(1) : String(Math.round(ms)));

/** Show where the time goes: what `budget` says. */
export function showBudget({ parts, total }) {
  byId("budget-total").textContent = `${Math.round(total)} ms`;
  const [bar, list] = [byId("budget-bar"), byId("budget-parts")];
  if (list.children.length !== parts.length) {
    bar.replaceChildren(...parts.map(({ id }) => make("i", { class: `part ${id}` })));
    list.replaceChildren(
      ...parts.map(({ id, label, hint }) =>
        make("div", { class: `part ${id}`, title: hint }, make("dt", { text: label }), make("dd")),
      ),
    );
  }
  parts.forEach(({ ms }, i) => {
    bar.children[i].style.flexGrow = Math.max(0, ms);
    list.children[i].lastChild.textContent = `${whole(ms)} ms`;
  });
}

/** Show pairs of words and figures. */
export function showDetails(pairs) {
  const list = byId("details");
  if (list.children.length !== pairs.length) {
    list.replaceChildren(...pairs.map(() => make("div", {}, make("dt"), make("dd"))));
  }
  pairs.forEach(([term, value], i) => {
    const [dt, dd] = list.children[i].children;
    if (dt.textContent !== term) dt.textContent = term;
    if (dd.textContent !== value) dd.textContent = value;
  });
}

/** The figures of a stream, in words. */
export function streamFigures({ ready, stats, report, trip, dropped, rate }) {
  const ms = (samples) => `${((1000 * samples) / rate).toFixed(1)} ms`;
  const percent = (x) => `${(100 * x).toFixed(2)} %`;
  return [
    ["Runs on", ready ? ready.provider.replace("ExecutionProvider", "") : "–"],
    ["Profile", (stats ?? ready)?.profile ?? "–"],
    [
      "Compute p50 · p95 · p99",
      stats
        ? `${Object.values(stats.compute_ms)
            .map((x) => x.toFixed(1))
            .join(" · ")} ms`
        : "–",
    ],
    ["Compute / real time", stats ? percent(stats.rtf) : "–"],
    ["Given up for now", stats?.eased || "nothing"],
    ["Late steps", stats ? String(stats.deadline_misses) : "–"],
    ["Steps not heard", stats ? String(stats.underruns) : "–"],
    ["Round trip", trip === null ? "–" : `${trip.toFixed(1)} ms`],
    [
      "Buffer now · target",
      report ? `${report.delay_ms.toFixed(1)} · ${report.target_ms.toFixed(1)} ms` : "–",
    ],
    ["Playing speed", report ? percent(report.speed) : "–"],
    ["Gaps · skips here", report ? `${report.underruns} · ${report.skips}` : "–"],
    ["Not sent", dropped ? ms(dropped) : "nothing"],
    ["Session", ready ? ready.session : "–"],
  ];
}
