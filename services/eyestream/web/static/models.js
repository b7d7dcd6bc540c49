// What pictures are judged with: programmes, their banks, the engine these are for.

import { digest, fill, h, heading, per100 } from "./dom.js";

export async function showModels(main, parameters, context) {
  context.title("Models and banks");
  const { programmes } = context.app;
  fill(main, heading("Models and banks", h("p", { class: "lead" }, "What is in service now. The digests are those in every result, in full when pointed at or copied.")),
    programmes.length === 0 && h("p", { class: "empty" }, "No bank is in service."),
    programmes.map((programme) => h("section", { class: "programme", "aria-label": programme.title },
      h("h2", {}, programme.title, h("small", {}, programme.name)), h("p", {}, programme.description),
      h("dl", { class: "digests" },
        [["Programme", programme.digest], ["Bank", programme.bank], ["Engine it is for", programme.encoder]].map(([name, text]) =>
          h("div", {}, h("dt", {}, name), h("dd", {}, digest(text), h("code", { class: "rest" }, text.slice(12)))))),
      h("div", { class: "two" },
        h("table", {}, h("caption", {}, "What is looked for"),
          h("thead", {}, h("tr", {}, ["Condition", "Suggests", "Operating point", "Urgency"].map((text) => h("th", { scope: "col" }, text)))),
          h("tbody", {}, programme.conditions.map((one) => h("tr", {}, h("th", { scope: "row" }, one.title), h("td", {}, one.role === "quality" ? "the picture's quality" : one.suggests || "–"),
            h("td", {}, `${per100(one.threshold)} (${one.operating_point})`), h("td", {}, stepTitle(programme, one.urgency)))))),
        h("table", {}, h("caption", {}, "How urgent things are"),
          h("thead", {}, h("tr", {}, ["Step", "Within"].map((text) => h("th", { scope: "col" }, text)))),
          h("tbody", {}, programme.urgencies.map((step) => h("tr", {}, h("th", { scope: "row" }, step.title), h("td", {}, days(step.within_days))))))))));
}

const stepTitle = (programme, name) => programme.urgencies.find((step) => step.name === name)?.title ?? "–";
const days = (count) => (count === 1 ? "1 day" : `${count} days`);
