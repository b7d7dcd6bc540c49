// Probabilities against operating points, as bars in a table: the picture for the eye, the numbers for everybody.

import { chip, h, per100 } from "./dom.js";

export function findingsTable(findings, caption, { counted = true, yes = "found" } = {}) {
  const head = (text, attributes = {}) => h("th", { scope: "col", ...attributes }, text);
  return h("table", { class: "findings" },
    h("caption", {}, caption),
    h("thead", {}, h("tr", {}, head("Looked for"), head(h("span", { class: "hidden" }, "As a bar")), head("Probability", { class: "number" }),
      head("Needs", { class: "number" }), head(h("span", { class: "hidden" }, "Found")))),
    h("tbody", {}, findings.map((finding) => h("tr", { class: finding.positive && counted ? "positive" : null },
      h("th", { scope: "row", title: `Loudest phrase: ${finding.prompt}` }, finding.title),
      h("td", { class: "graph" }, bar(finding)),
      h("td", { class: "number" }, finding.positive ? h("b", {}, per100(finding.probability)) : per100(finding.probability)),
      h("td", { class: "number faint", title: `Operating point ${finding.operating_point}` }, per100(finding.threshold)),
      h("td", { class: "found" }, found(finding.positive, counted, yes))))));
}

function found(positive, counted, yes) {
  if (!positive) return h("span", { class: "faint" }, "no");
  return counted ? chip("alert flat", "▲", yes) : h("span", { class: "faint" }, "not counted");
}

// The probability as a bar, the operating point as a line across it.
function bar(finding) {
  const full = h("span", { class: "full" });
  full.style.width = `${100 * finding.probability}%`;
  const point = h("span", { class: "point" });
  point.style.left = `${100 * finding.threshold}%`;
  return h("div", { class: "bar", "aria-hidden": "true" }, full, point);
}
