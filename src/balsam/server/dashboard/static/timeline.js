// Runs as bars on a canvas. The server draws together what is narrower than a pixel, so that any number of
// runs is a few thousand bars; while the window moves the bars at hand are stretched, and then asked for anew.

const HEAD = 26;
const ROW_GAP = 6;
const LABEL = 150;
const MARGIN = 70; // of the window's height, for the head of the page
const KINDS = ["running", "done", "failed", "cut"];
const box = document.getElementById("timeline");
const rows = box.querySelector(".rows");
const canvas = box.querySelector("canvas");
const summary = box.querySelector(".summary");
const hover = box.querySelector(".hover");
const narrow = window.matchMedia("(max-width: 700px)");

let data = null; // as the server answered it
let view = null; // [start, end] in microseconds, null: all
let settle = 0;
let asking = null;
let frame = 0;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const labelWidth = () => (narrow.matches ? 70 : LABEL);
const plotWidth = () => Math.max(50, canvas.clientWidth - labelWidth());
const laneHeight = (lanes) => Math.max(2, Math.min(16, Math.floor(96 / lanes)));
const rowHeight = (row) => row.lanes * laneHeight(row.lanes) + ROW_GAP;
const span = () => view ?? [data.start_us, data.end_us];

async function load() {
  asking?.abort();
  asking = new AbortController();
  const query = new URLSearchParams(box.dataset.query);
  query.set("bins", Math.min(4000, Math.max(10, Math.round(plotWidth()))));
  if (view) {
    query.set("after", Math.max(0, Math.round(view[0])));
    query.set("before", Math.round(view[1]));
  }
  try {
    const answer = await fetch(`${box.dataset.address}?${query}`, { headers: { accept: "application/json" }, signal: asking.signal });
    if (!answer.ok) throw new Error(await answer.text());
    data = await answer.json();
    tell();
    draw();
  } catch (fault) {
    if (fault.name !== "AbortError") summary.textContent = `The timeline can't be read: ${fault.message}`;
  }
}

function tell() {
  const [start, end] = span();
  const cut = data.is_cut ? ": the newest, older ones are left out; choose a shorter time or fewer jobs" : "";
  const text = data.runs
    ? `${counted(data.runs, "run")} on ${counted(data.rows.length, "row")}, ${clock(start)} to ${clock(end)}${cut}`
    : "No runs in this window.";
  if (summary.textContent !== text) summary.textContent = text;
}

const counted = (count, noun) => `${count.toLocaleString("en").replaceAll(",", "\u202f")} ${noun}${count === 1 ? "" : "s"}`;
const clock = (us) => new Date(us / 1000).toISOString().replace("T", " ").slice(0, 19);

// ---- drawing ----

function draw() {
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(paint);
}

function paint() {
  if (!data) return;
  const whole = HEAD + data.rows.reduce((sum, row) => sum + rowHeight(row), 0) + 4;
  const height = Math.min(whole, Math.max(200, window.innerHeight - MARGIN));
  rows.style.height = `${whole}px`;
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  if (canvas.height !== Math.round(height * ratio) || canvas.width !== Math.round(width * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = `${height}px`;
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const paints = { bars: KINDS.map((kind) => colour(`--${kind}`)), ink: colour("--ink"), quiet: colour("--quiet"), line: colour("--line") };
  const x = scale();
  axis(pen, x, width, height, paints);
  pen.save();
  pen.beginPath();
  pen.rect(0, HEAD, width, height - HEAD);
  pen.clip();
  let y = HEAD - scrolled();
  for (const row of data.rows) {
    if (y + rowHeight(row) > HEAD && y < height) paintRow(pen, row, y, x, width, paints);
    y += rowHeight(row);
  }
  pen.restore();
}

// How far the rows have moved up behind the canvas.
function scrolled() {
  return Math.max(0, canvas.getBoundingClientRect().top - rows.getBoundingClientRect().top);
}

function scale() {
  const [start, end] = span();
  const left = labelWidth();
  const perUs = plotWidth() / (end - start);
  return (us) => left + (us - start) * perUs;
}

function paintRow(pen, row, y, x, width, paints) {
  const lane = laneHeight(row.lanes);
  const left = labelWidth();
  pen.save();
  pen.beginPath();
  pen.rect(left, y, width - left, rowHeight(row));
  pen.clip();
  for (let kind = 0; kind < KINDS.length; kind += 1) {
    pen.fillStyle = paints.bars[kind];
    for (const bar of row.bars) {
      if (bar[1] !== kind) continue;
      const from = x(data.start_us + bar[4]);
      const wide = Math.max(1, x(data.start_us + bar[5]) - from - (bar[2] === 1 && lane > 4 ? 0.5 : 0));
      pen.fillRect(from, y + bar[0] * lane, wide, lane > 4 ? lane - 1 : lane);
    }
  }
  pen.restore();
  pen.fillStyle = paints.ink;
  pen.font = "12px system-ui, sans-serif";
  pen.textBaseline = "top";
  pen.fillText(label(pen, row.name || "no node named", left - 8), 2, y);
  pen.fillStyle = paints.line;
  pen.fillRect(0, y + rowHeight(row) - ROW_GAP / 2, width, 1);
}

// A name that fits: without its domain if it is no address, then without its middle.
function label(pen, name, room) {
  const fits = (text) => pen.measureText(text).width <= room;
  if (fits(name)) return name;
  const hosts = data.rows.map((row) => (row.name || "").split(".")[0]);
  const differ = new Set(hosts).size === new Set(data.rows.map((row) => row.name)).size;
  let text = differ && !/^[\d.]+$/.test(name) ? name.split(".")[0] : name;
  const whole = text;
  for (let kept = whole.length - 1; kept > 2 && !fits(text); kept -= 1) {
    text = `${whole.slice(0, Math.ceil(kept / 2))}…${whole.slice(whole.length - Math.floor(kept / 2))}`;
  }
  return text;
}

const STEPS = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400, 172800, 604800].map((s) => s * 1e6);

function axis(pen, x, width, height, paints) {
  const [start, end] = span();
  const wanted = (end - start) / Math.max(2, plotWidth() / 130);
  const step = STEPS.find((one) => one >= wanted) ?? STEPS[STEPS.length - 1];
  pen.font = "11px system-ui, sans-serif";
  pen.textBaseline = "top";
  for (let at = Math.ceil(start / step) * step; at <= end; at += step) {
    pen.fillStyle = paints.line;
    pen.fillRect(x(at), HEAD - 6, 1, height);
    pen.fillStyle = paints.quiet;
    const text = clock(at);
    pen.fillText(step >= 43200e6 ? text.slice(5, 16) : text.slice(11), Math.min(x(at) + 3, width - 60), 4);
  }
}

// ---- moving ----

function show(start, end) {
  if (end - start < 1000) return;
  view = [start, end];
  draw();
  clearTimeout(settle);
  settle = setTimeout(load, 150);
}

function move(action) {
  if (!data) return;
  const [start, end] = span();
  const length = end - start;
  if (action === "earlier") show(start - length / 4, end - length / 4);
  if (action === "later") show(start + length / 4, end + length / 4);
  if (action === "closer") show(start + length / 4, end - length / 4);
  if (action === "wider") show(start - length / 2, end + length / 2);
  if (action === "all") { view = null; load(); }
}

function timeAt(pixel) {
  const [start, end] = span();
  return start + ((pixel - labelWidth()) / plotWidth()) * (end - start);
}

canvas.addEventListener("wheel", (event) => {
  if (!data || !event.ctrlKey) return; // else the page could not be scrolled past the canvas
  event.preventDefault();
  const [start, end] = span();
  const at = timeAt(event.offsetX);
  const factor = event.deltaY < 0 ? 0.8 : 1.25;
  show(at - (at - start) * factor, at + (end - at) * factor);
}, { passive: false });

let drag = null;
canvas.addEventListener("pointerdown", (event) => {
  if (!data) return;
  drag = { x: event.clientX, span: span(), moved: false };
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener("pointermove", (event) => {
  if (!drag) { point(event); return; }
  const by = ((drag.x - event.clientX) / plotWidth()) * (drag.span[1] - drag.span[0]);
  if (Math.abs(drag.x - event.clientX) > 3) drag.moved = true;
  if (drag.moved) show(drag.span[0] + by, drag.span[1] + by);
});
canvas.addEventListener("pointerup", (event) => {
  const wasDrag = drag?.moved;
  drag = null;
  const bar = wasDrag ? null : barAt(event.offsetX, event.offsetY);
  if (bar && bar[2] === 1) location.href = `${document.body.dataset.root}/jobs/${bar[3]}`;
  else if (bar) closerTo(data.start_us + bar[4], data.start_us + bar[5]);
});
function closerTo(from, until) {
  show(from - (until - from) / 2, until + (until - from) / 2);
}
canvas.addEventListener("pointerleave", () => { hover.hidden = true; });

const KEYS = { ArrowLeft: "earlier", ArrowRight: "later", "+": "closer", "=": "closer", "-": "wider", Home: "all" };
canvas.addEventListener("keydown", (event) => {
  if (!(event.key in KEYS)) return;
  event.preventDefault();
  move(KEYS[event.key]);
});
for (const button of box.querySelectorAll("[data-do]")) button.addEventListener("click", () => move(button.dataset.do));

function barAt(pixelX, pixelY) {
  if (!data || pixelX < labelWidth()) return null;
  let y = HEAD - scrolled();
  for (const row of data.rows) {
    const height = rowHeight(row);
    if (pixelY < y + height) {
      const lane = Math.floor((pixelY - y) / laneHeight(row.lanes));
      const x = scale();
      const edge = (us) => x(data.start_us + us);
      return row.bars.find((bar) => bar[0] === lane && edge(bar[4]) - 1 <= pixelX && pixelX <= Math.max(edge(bar[5]), edge(bar[4]) + 1)) ?? null;
    }
    y += height;
  }
  return null;
}

function point(event) {
  const bar = barAt(event.offsetX, event.offsetY);
  hover.hidden = !bar;
  canvas.style.cursor = bar ? "pointer" : "grab";
  if (!bar) return;
  const [, kind, count, job] = bar;
  const [from, until] = [data.start_us + bar[4], data.start_us + bar[5]];
  const seconds = Number(((until - from) / 1e6).toPrecision(3));
  hover.textContent = count === 1
    ? `Job ${job}: ${KINDS[kind]}, ${seconds} s, from ${clock(from)}`
    : `${counted(count, "run")} drawn together: ${KINDS[kind]}, from ${clock(from)} to ${clock(until)}`;
  hover.style.left = `${Math.min(event.offsetX + 12, canvas.clientWidth - 260)}px`;
  hover.style.top = `${event.offsetY + canvas.getBoundingClientRect().top - box.getBoundingClientRect().top + 14}px`;
}

let rest = 0;
document.addEventListener("balsam:changed", () => {
  if (view || rest || drag) return;
  rest = setTimeout(() => { rest = 0; }, 3000);
  load();
});
document.addEventListener("balsam:theme", draw);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
new ResizeObserver(draw).observe(canvas);
window.addEventListener("scroll", draw, { passive: true });
window.addEventListener("resize", draw);
load();
