// Which page is shown, to whom, and of which programme. A page is a function that fills its place and may return its end.

import { ask, follow, onSignedOut, session } from "./api.js";
import { fill, h, heading, notice, select } from "./dom.js";
import { showExam } from "./exam.js";
import { showLetters } from "./letters.js";
import { showLine } from "./line.js";
import { showModels } from "./models.js";
import { showSignIn } from "./signin.js";
import { showWorklist } from "./worklist.js";

const PAGES = [
  ["worklist", "Worklist", "read", showWorklist],
  ["line", "Live line", "read", showLine],
  ["letters", "Dead letters", "operate", showLetters],
  ["models", "Models and banks", "read", showModels],
  ["exam", null, "read", showExam],
];

const main = document.getElementById("content");
const app = { programmes: [], programme: null, list: null, listeners: new Set(), listening: false, stop: null };
let leave = null;
let turn = 0;

const link = (page, parameters = {}) => {
  const text = new URLSearchParams(parameters).toString();
  return `#/${page}${text ? `?${text}` : ""}`;
};

function address() {
  const [page, text] = location.hash.replace(/^#\/?/, "").split("?");
  return [page || "worklist", new URLSearchParams(text ?? "")];
}

const context = {
  app,
  link,
  // The worklist as it was last looked at, filters and page included.
  list: () => app.list ?? link("worklist"),
  go: (page, parameters) => { location.hash = link(page, parameters); },
  me: () => session.me?.who,
  title: (text) => { document.title = `${text} · eyestream`; },
  // Called with every event of the programme; returns its end.
  listen: (heard) => { app.listeners.add(heard); return () => app.listeners.delete(heard); },
  programme: (name) => app.programmes.find((one) => one.name === name),
  // An exam may be of another programme than was chosen: from now on its events are heard, and its list is the way back.
  turnTo: (name) => {
    if (name === app.programme?.name || !context.programme(name)) return;
    take(name);
    top("exam");
  },
};

function top(current) {
  const links = PAGES.filter(([, title, scope]) => title && session.may(scope)).map(([page, title]) =>
    h("a", { href: link(page), "aria-current": page === current || (page === "worklist" && current === "exam") ? "page" : null }, title));
  fill(document.getElementById("top"),
    h("a", { class: "brand", href: link("worklist") }, h("img", { src: "/assets/icon.svg", alt: "", width: "24", height: "24" }), "eyestream"),
    session.me && h("nav", { "aria-label": "Pages" }, links),
    session.me && h("div", { class: "who" },
      app.programmes.length > 1 && h("label", {}, h("span", { class: "hidden" }, "Programme"),
        select(app.programmes.map((one) => [one.name, one.title]), app.programme?.name, choose)),
      h("span", { class: "live", id: "live" }),
      h("span", { class: "name", title: session.me.scopes.join(", ") }, session.me.who),
      session.key && h("button", { class: "quiet", type: "button", onclick: () => signOut("You are signed out.") }, "Sign out")));
  showLive();
}

function showLive() {
  const place = document.getElementById("live");
  if (place) fill(place, h("span", { class: app.listening ? "dot on" : "dot", "aria-hidden": "true" }), app.listening ? "live" : "not live");
}

function listen() {
  app.stop?.();
  if (!app.programme) return;
  app.stop = follow(`/v1/events?programme=${encodeURIComponent(app.programme.name)}`,
    (name, event) => app.listeners.forEach((heard) => heard(name, event)),
    (on) => { app.listening = on; showLive(); });
}

function take(name) {
  app.list = null;
  app.programme = context.programme(name) ?? app.programmes[0] ?? null;
  sessionStorage.setItem("eyestream.programme", app.programme?.name ?? "");
  listen();
}

function choose(name) {
  take(name);
  show();
}

async function begin() {
  const { body } = await ask("/v1/me");
  session.me = body;
  app.programmes = session.may("read") ? (await ask("/v1/programmes")).body.programmes : [];
  choose(sessionStorage.getItem("eyestream.programme"));
}

function signOut(why) {
  app.stop?.();
  session.key = null;
  session.me = null;
  signIn(why);
}

function signIn(why = "") {
  leave?.();
  leave = null;
  turn += 1;
  top(null);
  context.title("Sign in");
  showSignIn(main, why, async (key) => {
    session.key = key;
    await begin();
  });
}

async function show() {
  const mine = ++turn;
  const kept = document.activeElement?.dataset?.keep;
  leave?.();
  leave = null;
  const [name, parameters] = address();
  const page = PAGES.find(([known]) => known === name);
  if (name === "worklist") app.list = location.hash || link("worklist");
  top(name);
  if (!page || !session.may(page[2])) {
    context.title("Nothing here");
    fill(main, heading("Nothing here"), h("p", {}, page
      ? `This page needs the scope “${page[2]}”: ask whoever gave you your key.`
      : "There is no such page."));
    return;
  }
  // Of its own: a page whose answers come when it was left already must not stand in the place of the next.
  const place = h("div", {}, h("p", { class: "loading" }, "Loading…"));
  fill(main, place);
  try {
    const ends = await page[3](place, parameters, context);
    if (mine === turn) leave = ends ?? null;
    else ends?.();
  } catch (error) {
    if (mine !== turn || error.status === 401) return;
    fill(main, heading("This did not work"), h("p", { role: "alert" }, error.message),
      h("button", { type: "button", onclick: show }, "Try again"));
  }
  // A filter keeps the focus while the list below it changes; a new page is told from its heading on.
  if (mine === turn) ((kept && main.querySelector(`[data-keep="${CSS.escape(kept)}"]`)) || main.querySelector("h1"))?.focus({ preventScroll: true });
}

app.refresh = show;
onSignedOut((why) => { if (session.me) signOut(why); });
window.addEventListener("hashchange", () => { if (session.me) show(); });
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
window.addEventListener("unhandledrejection", (event) => { if (event.reason?.message) notice(event.reason.message); });

try {
  await begin();
} catch (error) {
  session.me = null;
  signIn(error.status === 401 ? (session.key ? error.message : "") : error.message);
}
