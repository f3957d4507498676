// Keeps a page up to date: the server says what kinds of things have changed, and the parts that show them
// are asked for anew. While the stream is cut the page says so, and it catches up when the stream is back.

const STALE_MS = 9000; // the server says something every 3 s
const LEAST_GAP_MS = 500; // between two looks at one part
const SHARE = 4; // a part that takes the server 1 s is asked for every 4 s
const RETRY_MS = [500, 1000, 2000, 4000, 5000];

const root = document.body.dataset.root;
const mark = document.getElementById("live");
const banner = document.getElementById("stale");
let stream = null;
let heard = performance.now();
let heardAt = new Date();
let failures = 0;
let isStale = false;
let isOver = false; // the login has ended: nothing but another one helps
let retry = 0;

// ---- parts ----

const looks = new WeakMap(); // of each part: when it was asked for, how long that took, whether it waits

function look(part) {
  if (!looks.has(part)) looks.set(part, { began: -Infinity, took: 0, busy: false, wanted: false, timer: 0 });
  return looks.get(part);
}

export function refresh(part) {
  const state = look(part);
  if (state.busy || state.timer) {
    state.wanted = state.busy;
    return;
  }
  const wait = state.began + Math.max(LEAST_GAP_MS, SHARE * state.took) - performance.now();
  if (wait > 0) {
    state.timer = setTimeout(() => { state.timer = 0; refresh(part); }, wait);
    return;
  }
  window.htmx.trigger(part, "refresh");
}

document.addEventListener("htmx:before:request", (event) => {
  const part = event.detail.ctx.sourceElement;
  if (!part.classList.contains("part")) return;
  Object.assign(look(part), { busy: true, began: performance.now() });
});

document.addEventListener("htmx:finally:request", (event) => {
  const part = event.detail.ctx.sourceElement;
  if (!part.classList.contains("part")) return;
  const state = look(part);
  state.busy = false;
  state.took = performance.now() - state.began;
  if (state.wanted) {
    state.wanted = false;
    refresh(part);
  }
});

document.addEventListener("htmx:response:error", (event) => {
  const { response, text } = event.detail.ctx;
  if (response.status === 401) end();
  else say(text && text.length < 300 ? text : `The server answered ${response.status}.`);
});

function tell(kinds) {
  for (const part of document.querySelectorAll(".part[data-live]")) {
    if (part.dataset.live.split(" ").some((kind) => kinds.includes(kind))) refresh(part);
  }
  document.dispatchEvent(new CustomEvent("balsam:changed", { detail: { kinds } }));
}

function catchUp() {
  for (const part of document.querySelectorAll(".part[data-live]")) if (part.dataset.live) refresh(part);
  document.dispatchEvent(new CustomEvent("balsam:changed", { detail: { kinds: ["jobs", "batch-jobs"] } }));
}

// What changes with time alone, such as an agent that has gone silent.
setInterval(() => {
  if (document.hidden || isStale || isOver) return;
  for (const part of document.querySelectorAll(".part[data-poll]")) {
    if (performance.now() - look(part).began > 1000 * Number(part.dataset.poll)) refresh(part);
  }
}, 1000);

// ---- the stream ----

function connect() {
  clearTimeout(retry);
  stream?.close();
  if (isOver) return;
  stream = new EventSource(`${root}/live`);
  stream.addEventListener("hello", () => {
    const wasCut = failures > 0 || isStale;
    failures = 0;
    hear();
    if (wasCut) catchUp();
  });
  stream.addEventListener("beat", hear);
  stream.addEventListener("changed", (event) => {
    hear();
    tell(JSON.parse(event.data));
  });
  stream.addEventListener("error", () => {
    stream.close();
    const wait = RETRY_MS[Math.min(failures, RETRY_MS.length - 1)];
    failures += 1;
    retry = setTimeout(connect, wait * (0.75 + Math.random() / 2));
    if (failures === 3) document.querySelectorAll(".part[data-live]:not([data-live=''])").forEach((part, n) => n || refresh(part));
  });
}

function end() {
  isOver = true;
  connect();
  show("stale", "not live");
  say("This login has ended.", true);
}

function hear() {
  heard = performance.now();
  heardAt = new Date();
  if (isStale) {
    isStale = false;
    banner.hidden = true;
  }
  show("live", "live");
}

setInterval(() => {
  if (document.hidden || isStale || isOver || performance.now() - heard < STALE_MS) return;
  isStale = true;
  show("stale", "not live");
  say(`This page is stale: nothing has been heard of the server since ${heardAt.toISOString().slice(11, 19)} UTC. It goes on by itself when the server is back.`);
}, 500);

// A hidden page holds no connection: browsers open few to one server.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    clearTimeout(retry);
    stream?.close();
  } else {
    heard = performance.now();
    failures = Math.max(failures, 1); // so that it catches up
    connect();
  }
});
window.addEventListener("pagehide", () => stream?.close());
window.addEventListener("pageshow", (event) => { if (event.persisted) connect(); });

function show(state, text) {
  if (mark.dataset.state === state) return;
  mark.dataset.state = state;
  mark.textContent = text;
}

function say(text, toLogin = false) {
  banner.textContent = text;
  if (toLogin) {
    const link = document.createElement("a");
    link.href = `${root}/login`;
    link.textContent = "Log in again";
    banner.append(" ", link);
  }
  banner.hidden = false;
}

// On a phone the names of the pages do not all fit.
document.querySelector("nav [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
connect();
