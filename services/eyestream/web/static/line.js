// The line as it works: rates from the counters' events, what waits and the stages' times from what it stored.

import { ask } from "./api.js";
import { clock, fill, h, heading, notice, outcomeChip, outcomeWord, seconds, span } from "./dom.js";

const EVERY_MS = 5000;
const KEEP_MS = 5 * 60 * 1000;
const NEWEST = 12;
const STAGES = {
  sending: "Camera to Kafka", waiting: "Waiting in Kafka", decoding: "Decoding", encoding: "Batch and engine",
  storing: "Scoring and storing", total: "Kafka to stored",
};
const FATES = [["stored", "Screened and stored"], ["unreadable", "Not readable, kept as dead letters"], ["duplicate", "Came twice, stored once"], ["conflict", "Contradicted a stored result"]];
const OUTCOMES = ["refer", "recapture", "incomplete", "clear"];

export async function showLine(main, parameters, context) {
  context.title("Live line");
  const programme = context.app.programme;
  if (!programme) {
    fill(main, heading("Live line"), h("p", {}, "No programme is in service."));
    return undefined;
  }
  const path = `/v1/programmes/${encodeURIComponent(programme.name)}`;
  let counts = (await ask(`${path}/counts`)).body.counts;
  const history = [[Date.now(), done(counts)]];
  const figures = h("dl", { class: "figures" });
  const stages = h("section", { class: "panel", "aria-label": "Time at each stage" });
  const fates = h("section", { class: "panel", "aria-label": "Today" });
  const list = h("ol", { class: "happenings" });
  const nothing = h("p", { class: "faint" }, "Nothing has happened since you opened this page.");
  let beat = null;

  const show = () => {
    fill(figures,
      figure("Pictures now", rate(history), "a minute, since you look"),
      figure("Pictures today", done(counts).toLocaleString("en-GB"), "UTC, with those not readable"),
      figure("Waiting", beat?.waiting === undefined ? "…" : beat.waiting === null ? "not known" : beat.waiting.toLocaleString("en-GB"), beat?.waiting === null ? "Kafka does not answer" : "in Kafka or in flight, all programmes"),
      figure("Kafka to stored", total(beat), total(beat) === "–" ? "no picture lately" : "half of them took less"));
    fill(fates, h("h2", {}, "Today"), countTable("Pictures", FATES.map(([name, title]) => [title, counts[name] ?? 0])),
      countTable("Exams begun today", OUTCOMES.map((name) => [outcomeWord(name), counts[name] ?? 0])));
  };
  const look = async () => {
    try {
      beat = (await ask(`${path}/line`)).body;
      fill(stages, h("h2", {}, "Time at each stage"), stageTable(beat));
      show();
    } catch (error) {
      if (error.status !== 401) notice(error.message);
    }
  };

  fill(main, heading("Live line", h("p", { class: "lead" }, programme.title)), figures,
    h("div", { class: "panels" }, h("div", { class: "column" }, stages,
      h("section", { class: "panel", "aria-label": "As it happens" }, h("h2", {}, "As it happens"), nothing, list)), fates));
  show();
  await look();
  const timer = setInterval(look, EVERY_MS);
  const stop = context.listen((name, event) => {
    if (name === "counts") {
      counts = event;
      history.push([Date.now(), done(counts)]);
      while (history.length > 2 && history[0][0] < Date.now() - KEEP_MS) history.shift();
      show();
      return;
    }
    if (name === "reset") return;
    nothing.hidden = true;
    list.prepend(happening(name, event, context));
    while (list.children.length > NEWEST) list.lastChild.remove();
  });
  return () => { clearInterval(timer); stop(); };
}

const done = (counts) => (counts.stored ?? 0) + (counts.unreadable ?? 0);
const figure = (name, value, hint) => h("div", { class: "figure" }, h("dt", {}, name), h("dd", {}, value, h("small", {}, hint)));

function rate(history) {
  const now = Date.now();
  const begin = history.find(([at]) => at >= now - 60000) ?? history.at(-1);
  const minutes = Math.max(now - begin[0], 1000) / 60000;
  const gone = history.at(-1)[1] - begin[1];
  return gone <= 0 ? "0" : Math.round(gone / Math.max(minutes, 1 / 12)).toLocaleString("en-GB");
}

const total = (beat) => seconds(beat?.stages.find((one) => one.stage === "total")?.median);

function stageTable(beat) {
  if (!beat.stages.length) return h("p", { class: "faint" }, `No picture was stored in the last ${span(beat.window_s)}.`);
  const longest = Math.max(...beat.stages.filter((one) => one.stage !== "sending").map((one) => one.p95), 1e-3);
  return [h("table", {},
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Stage"), ["Half under", "95 % under", "Longest"].map((text) => h("th", { scope: "col", class: "number" }, text)), h("th", { scope: "col" }, h("span", { class: "hidden" }, "95 % as a bar")))),
    h("tbody", {}, beat.stages.map((one) => h("tr", {}, h("th", { scope: "row" }, STAGES[one.stage] ?? one.stage),
      [one.median, one.p95, one.longest].map((value) => h("td", { class: "number" }, seconds(value))), h("td", { class: "graph" }, one.stage === "sending" ? null : bar(one.p95 / longest)))))),
  h("p", { class: "faint" }, `Of ${beat.pictures} pictures stored in the last ${span(beat.window_s)}, at ${clock(beat.at)}.`)];
}

function bar(share) {
  const full = h("span", { class: "full" });
  full.style.width = `${100 * Math.min(1, share)}%`;
  return h("div", { class: "bar", "aria-hidden": "true" }, full);
}

const countTable = (caption, rows) => h("table", {}, h("caption", {}, caption),
  h("tbody", {}, rows.map(([name, count]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: "number" }, count.toLocaleString("en-GB"))))));

function happening(name, event, context) {
  const exam = h("a", { href: context.link("exam", { id: event.exam_id }) }, event.exam_id);
  return h("li", {}, h("time", { class: "faint" }, clock(1000 * event.at)),
    name === "decided" ? [outcomeChip(event.outcome), exam] : [h("span", { class: "chip plain" }, event.deed), h("span", {}, exam, ` by ${event.by}`)]);
}
