// One eye: its pictures, what was looked for in each, and where each says so.

import { ask, send, session } from "./api.js";
import { chip, digest, eyeChip, eyeName, field, fill, h, moment, notice, seconds, select } from "./dom.js";
import { findingsTable } from "./findings.js";
import { draw, summary } from "./heatmap.js";
import { enlarge } from "./viewer.js";

const FIELDS = { macula: "Macula", disc: "Disc", other: "Other field" };
const STAGES = [
  ["Camera to Kafka", "captured", "produced"], ["Waiting in Kafka", "produced", "fetched"], ["Decoding", "fetched", "decoded"],
  ["Batch and engine", "decoded", "encoded"], ["Scoring and storing", "encoded", "stored"], ["Kafka to stored", "produced", "stored"],
];

// `results` are the newest of each picture; `found` gives the pictures, which outlive a change of tab.
export function eyeCard(laterality, state, results, unreadable, found) {
  const place = h("div", {});
  const chooser = h("div", {});
  const show = (result) => {
    tabs.querySelectorAll("button").forEach((tab) => tab.setAttribute("aria-pressed", tab.dataset.image === result.image_id ? "true" : "false"));
    fill(place, onePicture(result, chooser, found));
  };
  const tabs = h("div", { class: "tabs", role: "group", "aria-label": `Pictures of the ${eyeName(laterality).toLowerCase()}` },
    results.map((result) => h("button", { type: "button", "data-image": result.image_id, onclick: () => show(result) },
      !result.ungradable && result.findings.some((one) => one.positive) && [h("span", { class: "mark", "aria-hidden": "true" }, "▲ "), h("span", { class: "hidden" }, "something found, ")],
      FIELDS[result.field] ?? result.field, result.ungradable && [h("span", { "aria-hidden": "true" }, " ?"), h("span", { class: "hidden" }, ", ungradable")])));
  if (results.length) show(mostTelling(results));
  return h("section", { class: "eye", "aria-label": eyeName(laterality) },
    h("div", { class: "eye-head" }, h("h2", {}, eyeName(laterality)), state && eyeChip(state)),
    results.length ? [h("div", { class: "choose" }, tabs, chooser), place] : h("p", { class: "empty" }, "No picture of this eye was screened."),
    unreadable.map((note) => h("p", { class: "unreadable" }, chip("warn", "!", "Not readable"), ` ${FIELDS[note.field] ?? note.field} picture: ${note.explanation}`)));
}

function mostTelling(results) {
  const above = (result) => (result.ungradable ? -2 : Math.max(...result.findings.map((one) => one.probability - one.threshold), -1));
  return results.reduce((best, one) => (above(one) > above(best) ? one : best));
}

function onePicture(result, chooser, found) {
  const image = h("img", { alt: `${eyeName(result.laterality)}, ${(FIELDS[result.field] ?? result.field).toLowerCase()}, as the engine sees it`, width: "768", height: "768" });
  const told = h("div", { class: "told" });
  const overlay = h("canvas", { width: "768", height: "768", class: "heat", "aria-hidden": "true" });
  const larger = h("button", { type: "button", class: "enlarge", onclick: () => enlarge(image.alt, () => found.large(result), overlay) }, "Enlarge");
  const frame = h("div", { class: "frame" }, h("p", { class: "loading" }, "Loading the picture…"));
  found.seen(result).then(
    (url) => { image.src = url; fill(frame, image, overlay, larger); },
    (error) => fill(frame, h("p", { class: "gone" }, error.status === 410 ? "The picture is kept no longer. Its result is." : error.message)));
  fill(chooser, where(result, overlay, told, found));
  return h("div", {},
    frame, told,
    result.ungradable && h("p", { class: "ungradable" }, chip("warn", "?", "Cannot be judged"), ` ${titleOf(result, result.ungradable)}.`),
    findingsTable(result.findings, "Findings", { counted: !result.ungradable }),
    h("details", {}, h("summary", {}, "The picture's quality"), findingsTable(result.quality, "Quality", { yes: "so" })),
    h("details", {}, h("summary", {}, "How this was judged"), judged(result)));
}

const titleOf = (result, name) => [...result.quality, ...result.findings].find((one) => one.condition === name)?.title ?? name;

// What to show over the picture; what was found out is told below it, where it moves nothing.
function where(result, overlay, below, found) {
  if (!session.may("score", found.programme)) return [];
  const told = h("p", { class: "where-told", role: "status" });
  const strength = h("input", { type: "range", min: "10", max: "100", value: "75", oninput: () => { overlay.style.opacity = strength.value / 100; } });
  overlay.style.opacity = 0.75;
  const strengthField = field("Strength", strength);
  strengthField.hidden = true;
  fill(below, told, strengthField);
  const options = [["", "the picture"], ...result.findings.map((one) => [one.condition, `where: ${one.title}${one.positive ? " ▲" : ""}`])];
  const choose = async (condition) => {
    overlay.getContext("2d").clearRect(0, 0, overlay.width, overlay.height);
    strengthField.hidden = true;
    if (!condition) { fill(told); return; }
    fill(told, "Covering the picture place by place and asking the engine again…");
    try {
      const heat = await found.heatmap(result);
      if (control.value !== condition) return;
      const map = heat.maps.find((one) => one.condition === condition);
      const facts = summary(map.values);
      draw(overlay, map.values, facts);
      strengthField.hidden = facts.places.length === 0;
      fill(told, facts.words, !heat.as_stored && h("strong", {}, " Engine or bank have changed since: this explains today's judgement, not the stored one."));
    } catch (error) {
      if (control.value === condition) fill(told, error.message);
    }
  };
  const control = select(options, "", choose);
  return field("Show", control);
}

function judged(result) {
  const { times, digests, position } = result;
  const row = (name, ...value) => h("div", {}, h("dt", {}, name), h("dd", {}, ...value));
  const stages = STAGES.filter(([, from, to]) => times[from] && times[to]).map(([title, from, to]) => row(title, seconds((Date.parse(times[to]) - Date.parse(times[from])) / 1000)));
  return h("div", { class: "judged" },
    h("dl", {}, row("Taken", moment(times.captured)), row("Camera", `${result.device_id}, ${result.site_id}`), row("Kind", result.modality)),
    h("h3", {}, "Time at each stage"), h("dl", {}, stages),
    h("h3", {}, "Judged with"), h("dl", {}, row("Engine", digest(digests.encoder)), row("Bank", digest(digests.bank)),
      row("Preprocessing", digest(digests.preprocessing)), row("Programme", digest(digests.programme))),
    h("h3", {}, "The file"), h("dl", {}, row("sha256", digest(result.sha256)),
      position && row("In Kafka", `${position.topic}, partition ${position.partition}, offset ${position.offset}`),
      row("Trace", h("code", {}, result.traceparent.split("-")[1] ?? ""))),
    h("button", { type: "button", onclick: () => original(result) }, "Save the original file"));
}

async function original(result) {
  try {
    const answer = await send(result.picture);
    const url = URL.createObjectURL(await answer.blob());
    const name = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition") ?? "")?.[1] ?? result.image_id;
    h("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  } catch (error) {
    notice(error.message);
  }
}

// Pictures and heat maps of one exam, each fetched once; `end` lets the browser forget them.
export function finder() {
  const urls = new Map();
  const maps = new Map();
  const once = (known, key, make) => {
    if (!known.has(key)) {
      const made = make();
      known.set(key, made);
      made.catch(() => known.delete(key));
    }
    return known.get(key);
  };
  return {
    seen: (result) => once(urls, result.image_id, async () => URL.createObjectURL(await (await send(`${result.picture}/seen`)).blob())),
    large: (result) => once(urls, `${result.image_id} large`, async () => URL.createObjectURL(await (await send(`${result.picture}/seen?side=2048`)).blob())),
    heatmap: (result) => once(maps, result.image_id, async () => (await ask(`${result.picture}/heatmap`)).body),
    end: () => urls.forEach((url) => url.then((known) => URL.revokeObjectURL(known), () => {})),
  };
}
