// Elements made without text ever becoming markup, and the few words and shapes that every page uses.

import { now } from "./api.js";

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else if (value === true) element.setAttribute(name, "");
    else element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function fill(parent, ...children) {
  parent.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return parent;
}

// Said to everyone, screen readers included; goes by itself.
export function notice(text) {
  const place = document.getElementById("notices");
  const line = h("p", { class: "notice" }, text);
  place.append(line);
  setTimeout(() => line.remove(), 6000);
}

export function chip(kind, mark, text) {
  return h("span", { class: `chip ${kind}` }, h("span", { "aria-hidden": "true", class: "mark" }, mark), text);
}

const OUTCOMES = {
  refer: ["alert", "▲", "Refer"],
  recapture: ["warn", "↻", "Take again"],
  incomplete: ["plain", "…", "Incomplete"],
  clear: ["good", "✓", "Clear"],
  undecided: ["plain", "·", "Scored, not decided"],
};
const EYES = {
  referred: ["alert", "▲", "referred"],
  clear: ["good", "✓", "clear"],
  ungradable: ["warn", "?", "ungradable"],
  missing: ["plain", "–", "missing"],
  scored: ["plain", "·", "scored"],
};

// A programme that does not decide leaves an eye "missing" and an exam "incomplete" though nothing is waited for.
export const eyeStatus = (decision, side) => decision.scored_only.includes(side) ? "scored" : decision.eyes[side];
export const outcomeOf = (decision) => decision.outcome === "incomplete" && decision.scored_only.length ? "undecided" : decision.outcome;

export const outcomeWord = (name) => OUTCOMES[name]?.[2] ?? name;
export const outcomeChip = (name, flat = "") => {
  const [kind, mark, text] = name ? OUTCOMES[name] ?? ["plain", "·", name] : ["plain", "…", "being decided"];
  return chip(`${kind} ${flat}`, mark, text);
};
export const eyeChip = (name, flat = "") => {
  const [kind, mark, text] = EYES[name] ?? ["plain", "–", name ?? "not known"];
  return chip(`${kind} ${flat}`, mark, text);
};
export const eyeName = (laterality) => ({ R: "Right eye", L: "Left eye" })[laterality] ?? "Eye not known";
export const per100 = (probability) =>
  probability > 0 && probability < 0.01 ? "<\u00a01\u00a0%" : probability < 1 && probability > 0.99 ? ">\u00a099\u00a0%" : `${Math.round(100 * probability)}\u00a0%`;

export function seconds(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value < 0.0005) return "< 1\u00a0ms";
  if (value < 0.0995) return `${Math.max(0, Math.round(value * 1000))} ms`;
  if (value < 10) return `${value.toFixed(1)} s`;
  return span(value);
}

// A length of time for people: its two largest parts.
export function span(value) {
  const whole = Math.max(0, Math.round(value));
  const parts = [[Math.floor(whole / 86400), "d"], [Math.floor(whole / 3600) % 24, "h"], [Math.floor(whole / 60) % 60, "min"], [whole % 60, "s"]];
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return "0 s";
  return parts.slice(first, first + 2).filter(([count]) => count > 0).map(([count, unit]) => `${count} ${unit}`).join(" ");
}

const MOMENT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
export const moment = (text) => MOMENT.format(new Date(text));
export const clock = (text) => new Date(text).toLocaleTimeString("en-GB");

// How long ago, with the moment itself for whoever points at it.
export function ago(text) {
  const past = (now() - Date.parse(text)) / 1000;
  return h("time", { datetime: text, title: moment(text) }, past < 5 ? "just now" : span(past));
}

export function digest(text) {
  return h("code", { class: "digest", title: text }, text.slice(0, 12));
}

export function field(label, control, hint) {
  return h("label", { class: "field" }, h("span", {}, label), control, hint && h("small", {}, hint));
}

export function select(options, chosen, onchange, attributes = {}) {
  const element = h("select", { onchange: () => onchange(element.value), ...attributes },
    options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)));
  return element;
}

export function heading(title, ...beside) {
  return h("div", { class: "heading" }, h("h1", { tabindex: "-1" }, title), ...beside);
}
