// Pictures that could not be screened, why, and putting them back once the cause is mended.

import { ask, query, session } from "./api.js";
import { ago, chip, field, fill, h, heading, select } from "./dom.js";

const LIMIT = 25;

export async function showLetters(main, parameters, context) {
  context.title("Dead letters");
  const wanted = { reason: parameters.get("reason") ?? "", waiting: parameters.get("all") ? "" : "true" };
  const places = parameters.getAll("at");
  const go = (changes, at = []) => {
    const next = { ...wanted, ...changes };
    const text = new URLSearchParams();
    if (next.reason) text.set("reason", next.reason);
    if (!next.waiting) text.set("all", "1");
    at.forEach((place) => text.append("at", place));
    context.go("letters", text);
  };
  const path = "/v1/dead-letters";
  const { body } = await ask(query(path, { ...wanted, limit: LIMIT, cursor: places.at(-1) }));
  const reasons = wanted.reason ? (await ask(query(path, { waiting: wanted.waiting, limit: 1 }))).body.reasons : body.reasons;

  const boxes = [];
  const button = h("button", { type: "button", class: "primary", disabled: true, onclick: () => confirm(dialog) }, "Put the chosen ones back");
  const chosen = () => boxes.filter((box) => box.checked).map((box) => box.value);
  const told = h("p", { role: "status", class: "message" });
  const count = () => { button.disabled = chosen().length === 0; };
  const every = h("input", { type: "checkbox", "aria-label": "Choose every letter on this page", onchange: () => { boxes.forEach((box) => { box.checked = every.checked; }); count(); } });
  const question = h("p", {});
  const dialog = h("dialog", { "aria-labelledby": "redrive-title" }, h("form", { method: "dialog" },
    h("h2", { id: "redrive-title" }, "Put back onto the line?"), question,
    h("p", { class: "hint" }, "They are screened again. Mend the cause first: a picture comes back at most three times."),
    h("div", { class: "buttons" }, h("button", { class: "primary", value: "yes" }, "Put back"), h("button", { value: "no" }, "Leave them"))));
  dialog.addEventListener("close", async () => {
    if (dialog.returnValue !== "yes") return;
    button.disabled = true;
    try {
      const { body: done } = await ask(`${path}/redrives`, { method: "POST", body: { addresses: chosen() } });
      const fates = new Map();
      done.letters.forEach(({ fate }) => fates.set(fate, (fates.get(fate) ?? 0) + 1));
      fill(told, [...fates].map(([fate, number]) => `${number} ${fate}`).join(", "), ". ",
        h("button", { type: "button", class: "quiet", onclick: () => context.app.refresh() }, "Show the list as it is now"));
    } catch (error) {
      fill(told, error.message);
    }
  });
  const confirm = () => {
    fill(question, chosen().length === 1 ? "One picture." : `${chosen().length} pictures.`);
    dialog.returnValue = "no";
    dialog.showModal();
  };

  fill(main,
    heading("Dead letters", h("p", { class: "lead" }, "Pictures that could not be screened. Nothing is lost: each keeps its file, its reason, and a way back.")),
    h("form", { class: "filters", "aria-label": "Filters", onsubmit: (event) => event.preventDefault() },
      field("Reason", select([["", "Any"], ...reasons.map((one) => [one.reason, `${one.reason} (${one.count})`])], wanted.reason, (reason) => go({ reason }), { "data-keep": "reason" })),
      field("Show", select([["true", "Not put back yet"], ["", "All"]], wanted.waiting, (waiting) => go({ waiting }), { "data-keep": "waiting" })),
      body.letters.length > 0 && button), told,
    body.letters.length ? table(body.letters, boxes, every, count, context) : h("p", { class: "empty" }, "No dead letters here."),
    h("nav", { class: "pages", "aria-label": "Pages of the list" },
      places.length > 0 && h("button", { type: "button", onclick: () => go({}, places.slice(0, -1)) }, "Previous page"),
      body.cursor && h("button", { type: "button", onclick: () => go({}, [...places, body.cursor]) }, "Next page"),
      h("span", {}, `${body.total} in all`)),
    dialog);
}

function table(letters, boxes, every, count, context) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Dead letters" }, h("table", { class: "letters" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, every), ["Reason", "What to do", "Exam", "From", "Failed", "Tried"].map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, letters.map((letter) => {
      const box = h("input", { type: "checkbox", value: letter.address, onchange: count, "aria-label": `Choose ${letter.reason} of ${letter.exam_id ?? "an unknown exam"}, ${letter.address}` });
      boxes.push(box);
      return h("tr", {}, h("td", {}, box),
        h("th", { scope: "row" }, letter.reason, h("small", {}, `at ${letter.stage}`), letter.redriven && chip("plain", "↻", "put back")),
        h("td", { class: "wide" }, letter.explanation),
        h("td", {}, exam(letter, context)),
        h("td", {}, letter.site_id ? [letter.site_id, h("small", {}, letter.device_id)] : "–"),
        h("td", {}, ago(letter.failed)), h("td", {}, `${letter.attempts}×`));
    }))));
}

function exam({ exam_id: id, programme }, context) {
  if (!id) return h("span", { class: "faint" }, "not readable");
  return session.may("read", programme) ? h("a", { href: context.link("exam", { id }) }, id) : id;
}
