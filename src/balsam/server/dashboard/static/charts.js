// Series over time: nodes busy over nodes available, and jobs finished per hour. One window for both.

const root = document.body.dataset.root;
const BINS = { utilization: 240, "available-nodes": 240, "throughput-rates": 60 };
const ONGOING_SEC = 60; // runs that ended so long ago at most are taken to go on
const REST_MS = 2000; // between two looks at the figures, and longer where the server is slow
const STEPPED = () => window.uPlot.paths.stepped({ align: 1 });

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const GROUP_COLOURS = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7", "--c8"];

class Figures {
  constructor(box) {
    this.box = box;
    this.plots = {};
    this.busy = false;
    this.wanted = false;
    this.took = 0;
    this.began = -Infinity;
    this.follow(box.querySelector("select.window").value);
    this.listen();
    this.load();
  }

  // ---- the window: [after, before] in seconds, before null where it follows what happens ----

  follow(text) {
    this.length = text === "all" ? null : Number(text);
    this.fixed = null;
  }

  get span() {
    if (this.fixed) return this.fixed;
    if (this.length === null) return [null, null];
    const now = Date.now() / 1000;
    return [now - this.length, null];
  }

  get shown() {
    const [after, before] = this.span;
    const x = this.plots.use?.data[0] ?? [];
    return [after ?? x[0] ?? Date.now() / 1000 - 3600, before ?? x[x.length - 1] ?? Date.now() / 1000];
  }

  fix(after, before) {
    const now = Date.now() / 1000;
    if (before - after < 2) return;
    this.fixed = [after, Math.min(before, now + (before - after) / 2)];
    this.scale();
    clearTimeout(this.settle);
    this.settle = setTimeout(() => this.load(), 200);
  }

  scale() {
    const [min, max] = this.shown;
    for (const plot of Object.values(this.plots)) plot.setScale("x", { min, max });
  }

  move(action) {
    const [after, before] = this.shown;
    const length = before - after;
    if (action === "earlier") this.fix(after - length / 3, before - length / 3);
    if (action === "later") this.fix(after + length / 3, before + length / 3);
    if (action === "closer") this.fix(after + length / 4, before - length / 4);
    if (action === "wider") this.fix(after - length / 2, before + length / 2);
    if (action === "live") {
      this.follow(this.box.querySelector("select.window").value);
      this.load();
    }
  }

  listen() {
    this.box.querySelector("select.window").addEventListener("change", (event) => {
      this.follow(event.target.value);
      this.load();
    });
    for (const button of this.box.querySelectorAll("[data-do]")) {
      button.addEventListener("click", () => this.move(button.dataset.do));
    }
    document.addEventListener("balsam:changed", () => { if (!this.fixed) this.load(); });
    document.addEventListener("balsam:theme", () => this.draw(true));
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw(true));
    new ResizeObserver(() => this.resize()).observe(this.box);
  }

  // ---- data ----

  async load() {
    if (this.busy) { this.wanted = true; return; }
    const wait = this.fixed ? 0 : this.began + Math.max(REST_MS, 4 * this.took) - performance.now();
    if (wait > 0) {
      if (!this.timer) this.timer = setTimeout(() => { this.timer = 0; this.load(); }, wait);
      return;
    }
    this.busy = true;
    this.began = performance.now();
    try {
      const uses = Promise.all([this.ask("utilization"), this.isGrouped ? null : this.ask("available-nodes")]);
      // A rate is over a time: where none is chosen, that of the runs, not from one end of a job to another.
      const limits = this.isOpen ? limitsOf(await uses) : [null, null];
      const [[busy, available], rate] = await Promise.all([uses, this.ask("throughput-rates", limits)]);
      this.series = { use: this.joined(busy, available, "busy"), rate: this.joined(rate, null, "per hour") };
      this.draw(false);
      this.say("");
    } catch (fault) {
      this.say(`The figures can't be read: ${fault.message}`);
    }
    this.took = performance.now() - this.began;
    this.busy = false;
    if (this.wanted) { this.wanted = false; this.load(); }
  }

  get isGrouped() { return this.box.dataset.by !== ""; }

  get isOpen() { return this.span[0] === null && !new URLSearchParams(location.search).get("timestamp_after"); }

  async ask(name, limitsOfOpen = [null, null]) {
    const query = new URLSearchParams(this.box.dataset.filter);
    const [after, before] = this.span.map((limit, side) => limit ?? limitsOfOpen[side]);
    const limits = { timestamp_after: after, timestamp_before: before };
    const page = new URLSearchParams(location.search);
    for (const [limit, seconds] of Object.entries(limits)) {
      if (seconds !== null) query.set(limit, new Date(seconds * 1000).toISOString());
      else if (page.get(limit)) query.set(limit, page.get(limit));
    }
    query.set("bins", BINS[name]);
    if (this.isGrouped) query.set("group_by", this.box.dataset.by);
    const answer = await fetch(`${root}/figures/${this.box.dataset.subject}/${name}?${query}`, { headers: { accept: "application/json" } });
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  }

  joined(first, second, label) {
    const told = (first.groups ?? [{ group: label, ...first }]).slice(0, GROUP_COLOURS.length)
      .map((one) => ({ label: one.group === null ? "none" : String(one.group), times: one.times_us, values: one.values }));
    if (second) told.unshift({ label: "available", times: second.times_us, values: second.values, isGround: true });
    const filled = told.filter((one) => one.times.length);
    if (!filled.length) return { labels: [], data: [[]], ground: false };
    const [after, before] = this.span;
    const end = Math.max(before ?? -Infinity, ...filled.map((one) => one.times[one.times.length - 1] / 1e6), after === null ? -Infinity : Math.min(before ?? Infinity, Date.now() / 1000));
    const tables = filled.map((one) => whole(one, after, end));
    const modes = tables.map(() => [1, 1]);
    return { labels: filled.map((one) => one.label), data: window.uPlot.join(tables, modes), ground: Boolean(filled[0].isGround) };
  }

  // ---- drawing ----

  draw(anew) {
    if (!this.series) return;
    for (const [name, series] of Object.entries(this.series)) {
      const key = JSON.stringify([series.labels, series.ground]);
      if (anew || this.plots[name]?.key !== key) this.make(name, series, key);
      else this.plots[name].setData(series.data, false);
    }
    this.scale();
  }

  make(name, series, key) {
    this.plots[name]?.destroy();
    const holder = this.box.querySelector(`[data-plot=${name}]`);
    holder.replaceChildren();
    if (!series.labels.length) {
      delete this.plots[name];
      holder.textContent = "Nothing in this window.";
      return;
    }
    const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
    const plot = new window.uPlot({
      width: Math.max(200, holder.clientWidth),
      height: 190,
      tzDate: (seconds) => window.uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      scales: { y: { range: (_plot, _min, max) => [0, Math.max(1, max * 1.08)] } },
      cursor: { sync: { key: "balsam" }, drag: { x: true, y: false, setScale: false }, focus: { prox: 20 }, dataIdx: held },
      legend: { live: true },
      axes: [{ ...axis, values: (_plot, ticks, _axis, _space, step) => ticks.map((at) => clock(at, step)) }, { ...axis, size: 54, values: (_plot, ticks) => ticks.map(short) }],
      series: [{ label: "at", value: (_plot, at) => (at === null ? "–" : new Date(at * 1000).toISOString().replace("T", " ").slice(0, 19)) },
        ...series.labels.map((label, place) => line(label, place, series.ground))],
      hooks: { setSelect: [(one) => this.brushed(one)] },
    }, series.data, holder);
    plot.key = key;
    plot.over.addEventListener("wheel", (event) => this.wheeled(plot, event), { passive: false });
    plot.over.addEventListener("dblclick", () => this.move("live"));
    plot.over.addEventListener("mousedown", (event) => this.pan(plot, event), { capture: true });
    this.plots[name] = plot;
  }

  brushed(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.fix(plot.posToVal(left, "x"), plot.posToVal(left + width, "x"));
  }

  wheeled(plot, event) {
    if (!event.ctrlKey) return; // else the page could not be scrolled past a chart
    event.preventDefault();
    const [after, before] = this.shown;
    const at = plot.posToVal(plot.cursor.left, "x");
    const factor = event.deltaY < 0 ? 0.8 : 1.25;
    this.fix(at - (at - after) * factor, at + (before - at) * factor);
  }

  pan(plot, event) {
    if (!event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const [after, before] = this.shown;
    const perPixel = (before - after) / plot.over.clientWidth;
    const move = (to) => {
      const by = (event.clientX - to.clientX) * perPixel;
      this.fix(after + by, before + by);
    };
    const stop = () => {
      document.removeEventListener("mousemove", move);
      document.removeEventListener("mouseup", stop);
    };
    document.addEventListener("mousemove", move);
    document.addEventListener("mouseup", stop);
  }

  resize() {
    for (const [name, plot] of Object.entries(this.plots)) {
      const width = this.box.querySelector(`[data-plot=${name}]`).clientWidth;
      if (width > 0 && width !== plot.width) plot.setSize({ width, height: 190 });
    }
  }

  say(text) {
    const fault = this.box.querySelector(".fault");
    fault.textContent = text;
    fault.hidden = !text;
  }
}

// In seconds, from the first time of all these answers to now where they reach it: jobs end after their runs.
function limitsOf(answers) {
  const all = answers.filter(Boolean).flatMap((one) => one.groups ?? [one]).map((one) => one.times_us).filter((times) => times.length);
  if (!all.length) return [null, null];
  const [first, last] = [Math.min(...all.map((times) => times[0])), Math.max(...all.map((times) => times[times.length - 1]))];
  const now = Date.now() / 1000;
  return [first / 1e6, now - last / 1e6 < ONGOING_SEC ? now : null];
}

// From the window's start to its end: before its first and after its last change a series is 0.
function whole(one, after, end) {
  const times = one.times.map((us) => us / 1e6);
  const values = [...one.values];
  if (after !== null && times[0] - after > 1) {
    times.unshift(after);
    values.unshift(0);
  }
  const last = times[times.length - 1];
  if (end - last > 1) {
    times.push(last + 0.001, end);
    values.push(0, 0);
  }
  return [times, values];
}

// The place of the value that holds at a time: the last one before, for each series changes at its own times.
function held(plot, series, place) {
  const values = plot.data[series];
  let at = place;
  while (at > 0 && (values[at] === null || values[at] === undefined)) at -= 1;
  return at;
}

// 12 000 as 12k: there is room for four characters beside a chart.
function short(value) {
  if (value === null) return "";
  if (Math.abs(value) >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
  if (Math.abs(value) >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`;
  return String(Number(value.toPrecision(4)));
}

function clock(at, step) {
  const text = new Date(at * 1000).toISOString();
  if (step >= 43200) return text.slice(5, 10);
  return step >= 60 ? text.slice(11, 16) : text.slice(11, 19);
}

function line(label, place, hasGround) {
  const isGround = hasGround && place === 0;
  const own = colour(GROUP_COLOURS[hasGround ? Math.max(0, place - 1) : place]);
  return {
    label,
    stroke: isGround ? colour("--quiet") : own,
    fill: isGround ? colour("--ground") : undefined,
    width: isGround ? 1 : 2,
    paths: STEPPED(),
    points: { show: false },
    value: (_plot, value) => (value === null || value === undefined ? "–" : Number(value.toFixed(2))),
    spanGaps: true,
  };
}

for (const box of document.querySelectorAll(".figures")) new Figures(box);
