// The results service as this page asks it. The key lives in sessionStorage: it goes with the tab.

const KEY = "eyestream.key";

export class Fault extends Error {
  constructor(problem) {
    super(problem.detail ?? "Something went wrong.");
    this.kind = (problem.type ?? "").replace("urn:eyestream:problem:", "");
    this.status = problem.status ?? 0;
    this.problem = problem;
  }
}

export const session = {
  get key() { return sessionStorage.getItem(KEY); },
  set key(value) { value === null ? sessionStorage.removeItem(KEY) : sessionStorage.setItem(KEY, value); },
  me: null,
  // Whether the key may, in this programme or, where none is named, in any.
  may: (scope, programme) => Boolean(session.me?.scopes.includes(scope))
    && (programme === undefined || (session.me.narrowed[scope]?.includes(programme) ?? true)),
};

// By how much the service's clock is ahead of this machine's: claims end by the service's, and a clinic's may be wrong.
let ahead = 0;
export const now = () => Date.now() + ahead;

let signedOut = () => {};
export const onSignedOut = (callback) => { signedOut = callback; };

function headersOf({ etag, body, last } = {}) {
  const headers = {};
  if (session.key) headers.Authorization = `Bearer ${session.key}`;
  if (etag) headers["If-Match"] = etag;
  if (body) headers["Content-Type"] = "application/json";
  if (last) headers["Last-Event-ID"] = last;
  return headers;
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// The answer, or a Fault with the service's own words. What only asks is asked again when the service says so.
export async function send(path, { method = "GET", body, etag, signal, last } = {}) {
  for (let left = method === "GET" ? 2 : 0; ; left -= 1) {
    let answer;
    try {
      answer = await fetch(path, {
        method, signal, cache: "no-cache", redirect: "error", credentials: "omit",
        headers: headersOf({ etag, body, last }),
        body: body ? JSON.stringify(body) : undefined,
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Fault({ type: "unreachable", detail: "The results service cannot be reached. Is this machine on the network?" });
    }
    const at = Date.parse(answer.headers.get("Date") ?? "");
    if (!Number.isNaN(at)) ahead = at - Date.now();
    if (answer.ok) return answer;
    const problem = await answer.json().catch(() => ({ detail: `The service answered ${answer.status}.` }));
    const fault = new Fault({ status: answer.status, ...problem });
    if (fault.status === 401) signedOut(fault.message);
    if (left <= 0 || fault.status !== 429) throw fault;
    await pause(1000 * Math.min(10, Number(answer.headers.get("Retry-After")) || 1));
  }
}

export async function ask(path, options) {
  const body = await (await send(path, options)).json();
  // Not of the header: a proxy that compresses answers makes it a weak one, which matches nothing.
  return { body, etag: body.version && `"${body.version}"` };
}

export function query(path, parameters) {
  const wanted = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== ""));
  return [...wanted].length ? `${path}?${wanted}` : path;
}

// Server-sent events by fetch, since EventSource cannot send a token. Resumes where it was, until `stop` is called.
export function follow(path, heard, state = () => {}) {
  const control = new AbortController();
  let last = null;
  (async () => {
    for (let wait = 1000; !control.signal.aborted; wait = Math.min(30000, 2 * wait)) {
      try {
        const answer = await send(path, { signal: control.signal, last });
        state(true);
        wait = 1000;
        for await (const event of events(answer.body)) {
          last = event.id ?? last;
          if (event.name) heard(event.name, JSON.parse(event.data));
        }
      } catch (error) {
        if (error.name === "AbortError" || error.status === 401 || error.status === 403) return;
        if (error.kind === "invalid-cursor") last = null;
      }
      state(false);
      await pause(wait);
    }
  })();
  return () => control.abort();
}

async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const event = { name: null, data: "", id: null };
      for (const line of block.split("\n")) {
        if (line.startsWith("event: ")) event.name = line.slice(7);
        else if (line.startsWith("data: ")) event.data += line.slice(6);
        else if (line.startsWith("id: ")) event.id = line.slice(4);
      }
      yield event;
    }
  }
}
