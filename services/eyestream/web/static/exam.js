// One exam: both eyes side by side, why the line decided so, and what its reader does.

import { ask } from "./api.js";
import { ago, chip, eyeName, eyeStatus, fill, h, heading, moment, outcomeChip, outcomeOf, per100 } from "./dom.js";
import { eyeCard, finder } from "./picture.js";
import { readingPanel } from "./reading.js";
import { urgencyChip } from "./worklist.js";

export async function showExam(main, parameters, context) {
  const id = parameters.get("id") ?? "";
  context.title(`Exam ${id}`);
  const path = `/v1/exams/${encodeURIComponent(id)}`;
  const found = finder();
  const panel = h("aside", { class: "decision", "aria-label": "Decision" });
  const news = h("p", { class: "news", role: "status" });
  let panelEnds = () => {};

  const load = async () => {
    const { body, etag } = await ask(path);
    if (main.isConnected) context.turnTo(body.programme);
    panelEnds();
    found.programme = body.programme;
    fill(news);
    fill(main,
      heading(`Exam ${body.exam_id}`, h("a", { href: context.list(), class: "back" }, "Back to the worklist")),
      body.pseudonyms > 1 && h("p", { class: "unreadable" }, chip("warn", "!", "More than one patient?"), ` The pictures of this exam carry ${body.pseudonyms} pseudonyms.`),
      news,
      h("div", { class: "exam" }, h("div", { class: "eyes" }, eyes(body, found)), panel));
    const part = h("div", {});
    fill(panel, lineDecision(body, context.programme(body.programme)), part);
    panelEnds = readingPanel(part, body, etag, context, load);
  };
  await load();

  const stop = context.listen((name, event) => {
    if (name !== "decided" && name !== "read") return;
    if (event.exam_id !== id || (name === "read" && event.by === context.me())) return;
    const told = name === "decided" ? "A picture of this exam came, and the line decided anew." : `${event.by}: ${event.deed}.`;
    fill(news, told, " ", h("button", { type: "button", class: "quiet", onclick: () => load() }, "Read the exam again"));
  });
  return () => { stop(); panelEnds(); found.end(); };
}

// Of each picture the newest result: one judged with two banks has two.
function newest(results) {
  return [...new Map(results.map((result) => [result.image_id, result])).values()];
}

function eyes(exam, found) {
  const results = newest(exam.results);
  const sides = ["R", "L", ...(results.some((one) => one.laterality === "U") || exam.unreadable.some((one) => one.laterality === "U") ? ["U"] : [])];
  return sides.map((side) => eyeCard(side, exam.decision && eyeStatus(exam.decision, side), results.filter((one) => one.laterality === side),
    exam.unreadable.filter((one) => one.laterality === side), found));
}

function lineDecision(exam, programme) {
  const decision = exam.decision;
  if (!decision) return h("section", {}, h("h2", {}, "The line"), h("p", {}, "A picture has just come: the decision on it follows."));
  return h("section", {},
    h("h2", {}, "The line says"),
    h("p", { class: "verdict" }, outcomeChip(outcomeOf(decision)), decision.outcome === "clear" ? null : urgencyChip(decision.urgency, programme)),
    decision.reasons.length > 0 && h("ul", { class: "reasons" }, decision.reasons.map((reason) => h("li", {},
      h("b", {}, reason.finding.title), `, ${eyeName(reason.laterality).toLowerCase()}: ${per100(reason.finding.probability)}, needs ${per100(reason.finding.threshold)}`))),
    decision.notes.map((note) => h("p", { class: "note" }, chip("plain", "i", "Note"), ` ${note}`)),
    h("p", { class: "faint" }, "Taken ", ago(exam.since), ` ago, ${moment(exam.since)}.`));
}
