// The exams that wait for a reader. The list stands still while it is read: what changed meanwhile is told, not moved.

import { ask, query } from "./api.js";
import { ago, chip, eyeChip, eyeStatus, field, fill, h, heading, outcomeChip, outcomeOf, select } from "./dom.js";

const LIMIT = 25;
const WHICH = [["waiting", "Waiting"], ["open", "Open, held by nobody"], ["claimed", "Held by somebody"], ["mine", "Held by me"]];
const OUTCOMES = [["", "Any"], ["refer", "Refer"], ["recapture", "Take again"], ["incomplete", "Incomplete"]];

export async function showWorklist(main, parameters, context) {
  context.title("Worklist");
  const programme = context.app.programme;
  if (!programme) {
    fill(main, heading("Worklist"), h("p", {}, "No programme is in service: its operator activates a bank first."));
    return undefined;
  }
  const wanted = { which: parameters.get("which") ?? "waiting", outcome: parameters.get("outcome") ?? "", urgency: parameters.get("urgency") ?? "" };
  const places = parameters.getAll("at");
  const go = (changes, at = []) => {
    const next = new URLSearchParams(Object.entries({ ...wanted, ...changes }).filter(([, value]) => value && value !== "waiting"));
    at.forEach((place) => next.append("at", place));
    context.go("worklist", next);
  };
  const { body } = await ask(query(`/v1/programmes/${encodeURIComponent(programme.name)}/worklist`, { ...wanted, limit: LIMIT, cursor: places.at(-1) }));

  const news = h("p", { class: "news", role: "status" });
  const seen = new Set();
  const stop = context.listen((name, event) => {
    if (name === "counts") return;
    if (name !== "reset") seen.add(event.exam_id);
    const told = name === "reset" ? "The list may have changed." : `${seen.size} ${seen.size === 1 ? "exam has" : "exams have"} changed since.`;
    fill(news, told, " ", h("button", { type: "button", class: "quiet", onclick: () => context.app.refresh() }, "Show the list as it is now"));
  });

  const filters = h("form", { class: "filters", "aria-label": "Filters", onsubmit: (event) => event.preventDefault() },
    field("Show", select(WHICH, wanted.which, (which) => go({ which }), { "data-keep": "which" })),
    field("The line says", select(OUTCOMES, wanted.outcome, (outcome) => go({ outcome }), { "data-keep": "outcome" })),
    field("Urgency", select([["", "Any"], ...programme.urgencies.map((step) => [step.name, step.title])], wanted.urgency, (urgency) => go({ urgency }), { "data-keep": "urgency" })));
  const pages = h("nav", { class: "pages", "aria-label": "Pages of the list" },
    places.length > 0 && h("button", { type: "button", onclick: () => go({}, places.slice(0, -1)) }, "Previous page"),
    body.cursor && h("button", { type: "button", onclick: () => go({}, [...places, body.cursor]) }, "Next page"),
    (places.length > 0 || body.cursor) && h("span", {}, `Page ${places.length + 1}`));
  fill(main,
    heading("Worklist", h("p", { class: "lead" }, `${programme.title}. Most urgent first, then the longest waiting.`)),
    filters, news,
    body.exams.length ? table(body.exams, context) : h("p", { class: "empty" }, body.cursor ? "Nothing on this page passes the filters: go on to the next." : "No exam waits here."),
    pages);
  return stop;
}

function table(exams, context) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Exams" }, h("table", { class: "work" },
    h("thead", {}, h("tr", {}, ["Urgency", "Exam", "The line says", "Right eye", "Left eye", "Waiting", "Reader"].map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, exams.map((exam) => h("tr", {},
      h("td", {}, urgencyChip(exam.urgency, context.app.programme)),
      h("th", { scope: "row" }, h("a", { href: context.link("exam", { id: exam.exam_id }) }, exam.exam_id)),
      h("td", {}, outcomeChip(outcomeOf(exam), "flat")),
      h("td", {}, eyeChip(eyeStatus(exam, "R"), "flat")),
      h("td", {}, eyeChip(eyeStatus(exam, "L"), "flat")),
      h("td", {}, ago(exam.since)),
      h("td", {}, reader(exam.reading, context)))))));
}

// As many dots as steps up the exam's programme's scale; the upper half of it stands out.
export function urgencyChip(name, programme) {
  const steps = [...(programme?.urgencies ?? [])].sort((one, other) => one.rank - other.rank);
  const step = steps.findIndex((one) => one.name === name);
  if (!name || name === "none") return chip("plain", "○", "No urgency");
  const count = step < 0 ? 1 : step + 1;
  return chip(count > steps.length / 2 ? "alert" : "plain", "●".repeat(Math.min(count, 5)), steps[step]?.title ?? name);
}

function reader(reading, context) {
  if (reading.state === "decided") return chip("good", "✓", `decided by ${reading.verdict.by}`);
  if (reading.state !== "claimed") return h("span", { class: "faint" }, "nobody");
  return reading.reader === context.me() ? chip("mine", "◆", "you") : chip("plain", "◇", reading.reader);
}
