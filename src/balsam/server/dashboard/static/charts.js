// Series over time: nodes busy over nodes available, and jobs finished per hour. One window for both.

const root = document.body.dataset.root;
const BINS = { utilization: 240, "available-nodes": 240, "throughput-rates": 60 };
const ONGOING_SEC = 60; // runs that ended so long ago at most are taken to go on
const REST_MS = 2000; // between two looks at the figures, and longer where the server is slow
const STEPPED = () => window.uPlot.paths.stepped({ align: 1 });

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const GROUP_COLOURS = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7", "--c8"];
const MOST_GROUPS = GROUP_COLOURS.length; // with a line of their own; the sum of the others is one more

class Figures {
  constructor(box) {
    this.box = box;
    this.plots = {};
    this.places = new Map(); // of groups: the number of each one's colour, the same in all charts
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
      const shown = this.isGrouped ? mostOf([busy, rate]) : null;
      if (shown) this.places = placed(shown, this.places);
      this.series = { use: this.joined(busy, available, "busy", shown), rate: this.joined(rate, null, "per hour", shown) };
      this.draw(false);
      this.note(busy, available, rate, shown);
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

  joined(first, second, label, shown) {
    const told = (shown ? parted(first.groups, shown) : [{ group: label, ...first }])
      .map((one) => ({ label: nameOf(one), colour: this.colourOf(one, shown), times: one.times_us, values: one.values }));
    if (second) told.unshift({ label: "available", times: second.times_us, values: second.values, isGround: true });
    const filled = told.filter((one) => one.times.length);
    if (!filled.length) return { labels: [], data: [[]], ground: false };
    const [after, before] = this.span;
    const end = Math.max(before ?? -Infinity, ...filled.map((one) => one.times[one.times.length - 1] / 1e6), after === null ? -Infinity : Math.min(before ?? Infinity, Date.now() / 1000));
    const tables = filled.map((one) => whole(one, after, end));
    const modes = tables.map(() => [1, 1]);
    const colours = filled.map((one) => one.colour);
    return { labels: filled.map((one) => one.label), colours, data: window.uPlot.join(tables, modes), ground: Boolean(filled[0].isGround) };
  }

  colourOf(one, shown) {
    if (!shown) return GROUP_COLOURS[0];
    return one.isRest ? "--quiet" : GROUP_COLOURS[this.places.get(one.group)];
  }

  // What the charts leave out, add up and average.
  note(busy, available, rate, shown) {
    const told = [];
    const rest = shown ? numGroups([busy, rate]) - shown.length : 0;
    if (rest > 0) told.push(`Lines of their own have the ${shown.length} groups that kept most nodes busy; the other ${rest} are added up in one: choose fewer with filters.`);
    const above = excess(busy, available);
    if (above) told.push(`Up to ${short(above)} ${above === 1 ? "node was" : "nodes were"} busy beyond those available: of runs whose launchers told no times, or by clocks that disagree.`);
    const lengths = [[busy, "nodes"], [rate, "jobs per hour"]].map(([one, what]) => [partOf(one), what]).filter(([length]) => length);
    if (lengths.length) told.push(`Each step is the mean of ${lengths.map(([length, what]) => `${span(length)} (${what})`).join(", ")}.`);
    const place = this.box.querySelector(".basis");
    place.textContent = told.join(" ");
    place.hidden = !told.length;
  }

  // ---- drawing ----

  draw(anew) {
    if (!this.series) return;
    for (const [name, series] of Object.entries(this.series)) {
      const key = JSON.stringify([series.labels, series.colours, series.ground]);
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
        ...series.labels.map((label, place) => line(label, series.colours[place], series.ground && place === 0))],
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

// The groups that kept most nodes busy, then those in which most jobs finished; the most first.
function mostOf(answers) {
  const amounts = new Map();
  answers.forEach((answer, rank) => {
    for (const one of answer.groups) {
      const amount = amounts.get(one.group) ?? answers.map(() => 0);
      amount[rank] = areaOf(one);
      amounts.set(one.group, amount);
    }
  });
  const ordered = [...amounts].sort(([, a], [, b]) => b[0] - a[0] || b[1] - a[1]);
  return ordered.slice(0, MOST_GROUPS).map(([group]) => group);
}

const numGroups = (answers) => new Set(answers.flatMap((one) => one.groups.map((group) => group.group))).size;
const nameOf = (one) => (one.group === null ? "none" : String(one.group));

function areaOf(one) {
  let sum = 0;
  for (let at = 0; at + 1 < one.times_us.length; at += 1) sum += one.values[at] * (one.times_us[at + 1] - one.times_us[at]);
  return sum;
}

// A group keeps its colour while it is shown, so that a look at new figures changes no line's.
function placed(shown, before) {
  const places = new Map(shown.filter((group) => before.has(group)).map((group) => [group, before.get(group)]));
  const free = GROUP_COLOURS.map((_, place) => place).filter((place) => ![...places.values()].includes(place));
  for (const group of shown) if (!places.has(group)) places.set(group, free.shift());
  return places;
}

// The shown groups in their order, and the sum of all others. Groups of one answer have the same times.
function parted(groups, shown) {
  const known = new Map(groups.map((one) => [one.group, one]));
  const rest = groups.filter((one) => !shown.includes(one.group));
  const told = shown.filter((group) => known.has(group)).map((group) => known.get(group));
  if (!rest.length) return told;
  const values = rest[0].values.map((_, at) => rest.reduce((sum, one) => sum + one.values[at], 0));
  return [...told, { group: `${rest.length} other${rest.length === 1 ? "" : "s"}`, times_us: rest[0].times_us, values, isRest: true }];
}

// How far what is busy stands above what is available, where that is more than a hundredth of it. Both are means
// over parts that need not be the same: what is available is the most of the parts about.
function excess(busy, available) {
  const [times, had] = [available?.times_us ?? [], available?.values ?? []];
  if (!times.length || !busy.times_us?.length) return 0;
  let [first, most] = [0, 0];
  for (let at = 0; at + 1 < busy.times_us.length; at += 1) {
    const [start, end] = [busy.times_us[at], busy.times_us[at + 1]];
    while (first + 1 < times.length && times[first + 1] < start) first += 1;
    let about = had[Math.max(0, first - 1)];
    let next = first;
    for (; next < times.length && times[next] <= end; next += 1) about = Math.max(about, had[next]);
    if (next < times.length) about = Math.max(about, had[next]);
    const above = busy.values[at] - about;
    if (above > 0.01 * busy.values[at]) most = Math.max(most, above);
  }
  return most;
}

// The length of an answer's parts in seconds.
function partOf(answer) {
  const times = (answer.groups ?? [answer]).map((one) => one.times_us).find((some) => some.length > 2);
  return times ? (times[1] - times[0]) / 1e6 : 0;
}

function span(seconds) {
  const [length, name] = seconds < 120 ? [seconds, "s"] : seconds < 7200 ? [seconds / 60, "min"] : seconds < 172800 ? [seconds / 3600, "h"] : [seconds / 86400, "days"];
  return `${Number(length.toPrecision(2))} ${name}`;
}

function line(label, name, isGround) {
  const own = colour(name);
  return {
    label,
    stroke: isGround ? colour("--quiet") : own,
    fill: isGround ? colour("--ground") : undefined,
    width: isGround ? 1 : 2,
    paths: STEPPED(),
    points: { show: false },
    value: (_plot, value) => (value === null || value === undefined ? "–" : Number(value.toPrecision(3))),
    spanGaps: true,
  };
}

for (const box of document.querySelectorAll(".figures")) new Figures(box);
