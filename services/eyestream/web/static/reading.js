// What a reader does with an exam: claim it, decide it, hand it back, take a verdict back.

import { ask, now, session } from "./api.js";
import { chip, clock, field, fill, h, moment, notice, outcomeChip, select } from "./dom.js";

const RENEW = 0.4; // of what is left of a claim
const SIGNS = ["pointerdown", "pointermove", "keydown", "wheel"]; // of somebody who still reads

// Fills `part`; returns what ends the claim's renewing. `reload` reads the exam anew.
export function readingPanel(part, exam, etag, context, reload) {
  let current = etag;
  let renewing = null;
  const path = `/v1/exams/${encodeURIComponent(exam.exam_id)}`;
  const message = h("p", { role: "alert", class: "message" });

  const act = async (path_, options, done) => {
    fill(message);
    try {
      const { body, etag: next } = await ask(path_, { etag: current, ...options });
      current = next;
      done(body.reading);
    } catch (error) {
      fill(message, error.kind === "stale" ? "The exam changed while you read it. " : `${error.message} `,
        ["stale", "taken", "decided", "not-claimed", "not-decided"].includes(error.kind) && h("button", { type: "button", onclick: reload }, "Read it again"));
    }
  };

  // A claim is renewed for a reader, not for a page that was left open: only once there was a sign of one.
  const held = h("p", { class: "faint" });
  let here = false;
  let due = false;
  const renew = (until) => {
    clearTimeout(renewing);
    [here, due] = [false, false];
    fill(held, `You hold this exam until ${clock(until)}, and longer while you read on.`);
    renewing = setTimeout(() => {
      due = true;
      if (here) extend();
      else fill(held, `Your claim ends at ${clock(until)} unless you read on.`);
    }, Math.max(5000, RENEW * (Date.parse(until) - now())));
  };
  const extend = () => {
    due = false;
    act(`${path}/claim`, { method: "PUT" }, (reading) => renew(reading.until));
  };
  const sign = () => {
    here = true;
    if (due) extend();
  };
  const free = () => {
    clearTimeout(renewing);
    due = false;
  };
  SIGNS.forEach((name) => document.addEventListener(name, sign, { passive: true }));

  const claimed = (reading) => {
    renew(reading.until);
    fill(part, h("section", {}, h("h2", {}, "Your decision"), held, verdictForm(exam, context,
      (verdict) => act(`${path}/verdict`, { method: "PUT", body: verdict }, (next) => { free(); decided(next); notice("Your decision is on record."); }),
      () => act(`${path}/claim`, { method: "DELETE" }, (next) => { free(); open(next); notice("The exam is handed back."); })), message));
    part.querySelector("input")?.focus();
  };

  const open = (reading, focus = true) => {
    const button = h("button", { type: "button", class: "primary", onclick: () => act(`${path}/claim`, { method: "PUT" }, claimed) }, "Claim this exam");
    fill(part, h("section", {}, h("h2", {}, "Your decision"), former(reading.verdict),
      session.may("decide", exam.programme) ? [h("p", {}, "Nobody holds this exam."), button] : h("p", { class: "hint" }, "Deciding needs the scope “decide”."), message));
    if (focus) button.focus();
  };

  const decided = (reading, focus = true) => {
    const next = h("button", { type: "button", class: "primary", onclick: () => following(exam, context) }, "Next exam");
    fill(part, h("section", {}, h("h2", {}, "Decided"), verdictShown(reading.verdict), session.may("decide", exam.programme) && next,
      session.may("decide", exam.programme) && h("button", { type: "button", class: "quiet", onclick: () => act(`${path}/verdict`, { method: "DELETE" }, open) }, "Take the decision back"), message));
    if (focus) next.focus();
  };

  const reading = exam.reading;
  if (reading.state === "decided") decided(reading, false);
  else if (reading.state === "claimed" && reading.reader === session.me.who) claimed(reading);
  else if (reading.state === "claimed") {
    fill(part, h("section", {}, h("h2", {}, "Your decision"), former(reading.verdict),
      h("p", {}, chip("plain", "◇", reading.reader), ` holds this exam until ${clock(reading.until)}.`), h("button", { type: "button", onclick: reload }, "Look again")));
  } else open(reading, false);
  return () => {
    free();
    SIGNS.forEach((name) => document.removeEventListener(name, sign));
  };
}

// To the most urgent exam that nobody holds.
async function following(exam, context) {
  const { body } = await ask(`/v1/programmes/${encodeURIComponent(exam.programme)}/worklist?which=open&limit=1`);
  if (body.exams.length) context.go("exam", { id: body.exams[0].exam_id });
  else notice("No exam waits that nobody holds.");
}

function verdictForm(exam, context, decide, handBack) {
  const steps = context.programme(exam.programme)?.urgencies ?? [];
  const line = exam.decision;
  const urgency = select(steps.map((step) => [step.name, step.title]), line?.outcome === "refer" ? line.urgency : steps.at(-1)?.name, () => {}, { name: "urgency" });
  const urgencyField = field("How soon", urgency);
  urgencyField.hidden = true;
  const choice = (value, text) => h("label", { class: "choice" }, h("input", { type: "radio", name: "outcome", value, required: true,
    onchange: () => { urgencyField.hidden = value !== "refer"; } }), outcomeChip(value), h("span", {}, text));
  const comment = h("textarea", { name: "comment", rows: "2", maxlength: "1000", "aria-describedby": "comment-hint" });
  const form = h("form", { class: "decide", onsubmit: (event) => {
    event.preventDefault();
    const outcome = new FormData(form).get("outcome");
    decide({ outcome, ...(outcome === "refer" ? { urgency: urgency.value } : {}), comment: comment.value.trim() });
  } },
  h("fieldset", {}, h("legend", {}, "What should happen"), choice("refer", "to a specialist"), choice("recapture", "pictures not usable"), choice("clear", "nothing to act on")),
  urgencyField, field("Comment, for colleagues", comment), h("small", { id: "comment-hint", class: "hint" }, "Do not name the patient."),
  h("div", { class: "buttons" }, h("button", { type: "submit", class: "primary" }, "Decide"),
    h("button", { type: "button", onclick: handBack }, "Hand back undecided")));
  return form;
}

function verdictShown(verdict) {
  return h("div", {}, h("p", { class: "verdict" }, outcomeChip(verdict.outcome), verdict.outcome === "refer" && h("span", {}, verdict.urgency)),
    verdict.comment && h("blockquote", {}, verdict.comment), h("p", { class: "faint" }, `${verdict.by}, ${moment(verdict.at)}`));
}

function former(verdict) {
  return verdict && h("div", { class: "former" }, h("p", {}, "Decided before; it no longer counts:"), verdictShown(verdict));
}
