// Shared by all charts: the data of the run, colours of the current theme, numbers as words, and a list of charts.
"use strict";
const Report = (() => {
  const data = JSON.parse(document.getElementById("run-data").textContent);
  const page = document.documentElement;
  const charts = new Map();
  const chosen = { model: 0 };
  const GAP = "\u202f";
  const FIGURES = "tabular-nums";
  const FONT = getComputedStyle(document.body).fontFamily;

  const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
  const escape = (value) => String(value ?? "").replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

  function digits(value, significant) {
    const size = Math.abs(value);
    const words = value.toFixed(Math.max(0, significant - (size >= 100 ? 3 : size >= 10 ? 2 : 1)));
    return words.includes(".") ? words.replace(/\.?0+$/, "") : words;
  }

  // 1234567 is "1.23 M"; with a unit, small numbers get a prefix too.
  function si(value, unit = "", significant = 3) {
    if (!isNumber(value)) return "–";
    const size = Math.abs(value);
    const scales = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
    const small = [[1, ""], [1e-3, "m"], [1e-6, "µ"], [1e-9, "n"], [1e-12, "p"], [1e-15, "f"]];
    for (const [scale, prefix] of unit ? scales.concat(small) : scales)
      if (size >= scale * 0.9995) return digits(value / scale, significant) + GAP + prefix + unit;
    if (unit) return (value === 0 ? "0" : value.toPrecision(2)) + GAP + unit;
    return Number.isInteger(value) || size >= 1 ? digits(value, significant) : String(Number(value.toPrecision(3)));
  }

  function joules(value, unit, significant = 3) {
    const scales = { J: 1, mJ: 1e-3, uJ: 1e-6, "µJ": 1e-6, nJ: 1e-9, pJ: 1e-12, fJ: 1e-15 };
    if (!isNumber(value)) return "–";
    return unit in scales ? si(value * scales[unit], "J", significant) : si(value, "", significant) + GAP + unit;
  }

  const percent = (value, places = 1) => (isNumber(value) ? (100 * value).toFixed(places) + GAP + "%" : "–");
  const whole = (value) => (isNumber(value) ? value.toLocaleString("en", { maximumFractionDigits: 1 }) : "–");

  // A CSS colour of the current theme as "rgb(…)": custom properties hold light-dark(), which only `color` resolves.
  const probe = document.body.appendChild(document.createElement("span"));
  probe.hidden = true;
  function colour(name) {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  }
  const population = (index) => (index === null || index === undefined ? colour("line-strong") : colour(`p${index}`));
  const channels = (rgb) => rgb.match(/[\d.]+/g).slice(0, 3).map(Number);
  function mix(from, to, share) {
    const [a, b] = [channels(from), channels(to)];
    return `rgb(${a.map((value, i) => Math.round(value + (b[i] - value) * share)).join(",")})`;
  }
  function ramp(share) {
    const [low, middle, high] = ["ramp0", "ramp1", "ramp2"].map(colour);
    return share < 0.5 ? mix(low, middle, share * 2) : mix(middle, high, share * 2 - 1);
  }
  function readableOn(rgb) {
    const [r, g, b] = channels(rgb).map((value) => ((value / 255) ** 2.2));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.19 ? "#14161b" : "#ffffff";
  }

  const text = (size = 12, name = "muted") =>
    ({ color: colour(name), fontSize: size, fontFamily: FONT, fontVariantNumeric: FIGURES });

  // What all charts have in common.
  function base(extra) {
    return {
      animation: false,
      textStyle: text(),
      tooltip: {
        confine: true, transitionDuration: 0, backgroundColor: colour("surface"), borderColor: colour("line"),
        borderWidth: 1, padding: [10, 14], textStyle: text(13, "ink"),
        extraCssText: "box-shadow:0 6px 24px rgba(0,0,0,.14);border-radius:8px", ...extra.tooltip,
      },
      ...Object.fromEntries(Object.entries(extra).filter(([key]) => key !== "tooltip")),
    };
  }
  const axis = (extra) => ({
    axisLine: { show: false }, axisTick: { show: false }, nameTextStyle: text(),
    splitLine: { lineStyle: { color: colour("line") } }, ...extra, axisLabel: { ...text(), ...(extra || {}).axisLabel },
  });
  // A long name without its middle: what tells layers apart stands at both ends.
  const short = (name, letters) => (name.length <= letters ? name
    : `${name.slice(0, Math.floor(letters * 0.65))}…${name.slice(-Math.ceil(letters * 0.35) + 1)}`);
  // Names of layers as an axis shows them: without the modules that all are in, the rest of the modules in two letters
  // where there is no room, so that numbers of stages and blocks stay.
  function labels(names, letters) {
    const parts = names.map((name) => name.split("."));
    let shared = 0;
    while (parts.length > 1 && parts.every((one) => one.length > shared + 1 && one[shared] === parts[0][shared])) shared += 1;
    return parts.map((one) => {
      const kept = one.slice(shared);
      for (let at = 0; at < kept.length - 1 && kept.join(".").length > letters; at += 1)
        if (!/\d/.test(kept[at])) kept[at] = kept[at].slice(0, 2);
      return short(kept.join("."), letters);
    });
  }
  const dot = (rgb) => `<i class="dot" style="--c:${escape(rgb)}"></i>`;
  // Words with the colour of what they name in front. Only what this makes is taken as markup; all else are words.
  const named = (rgb, words) => ({ markup: dot(rgb) + escape(words) });
  const shown = (cell) => (cell && cell.markup !== undefined ? cell.markup : escape(cell));
  function tip(title, lines, notes = []) {
    const body = lines.map((line) => `<tr>${line.map((cell, i) => `<td${i ? ' class="n"' : ""}>${shown(cell)}</td>`).join("")}</tr>`);
    const below = notes.filter(Boolean).map((note) => `<p>${escape(note)}</p>`).join("");
    return `<div class="tip"><b>${shown(title)}</b><table>${body.join("")}</table>${below}</div>`;
  }

  // Areas that stand side by side in a stack differ in pattern as well as in colour: also in print without colours.
  const PATTERNS = [
    null,
    { symbol: "rect", dashArrayX: [1, 0], dashArrayY: [2, 5], rotation: -Math.PI / 4 },
    { symbol: "circle", dashArrayX: [[6, 6], [0, 6, 6, 0]], dashArrayY: [5, 0], symbolSize: 0.6 },
    { symbol: "rect", dashArrayX: [1, 0], dashArrayY: [2, 4], rotation: Math.PI / 2 },
    { symbol: "rect", dashArrayX: [1, 0], dashArrayY: [1.5, 3], rotation: Math.PI / 4 },
    { symbol: "triangle", dashArrayX: [[8, 8], [0, 8, 8, 0]], dashArrayY: [7, 0], symbolSize: 0.8 },
    { symbol: "rect", dashArrayX: [1, 0], dashArrayY: [1.5, 5], rotation: 0 },
    { symbol: "rect", dashArrayX: [[4, 4], [0, 4, 4, 0]], dashArrayY: [4, 0] },
    { symbol: "circle", dashArrayX: [4, 4], dashArrayY: [4, 3], symbolSize: 0.9 },
    { symbol: "rect", dashArrayX: [6, 2], dashArrayY: [2, 3], rotation: -Math.PI / 4 },
    { symbol: "diamond", dashArrayX: [[7, 7], [0, 7, 7, 0]], dashArrayY: [7, 0], symbolSize: 0.9 },
    { symbol: "rect", dashArrayX: [1, 0], dashArrayY: [3, 3], rotation: Math.PI / 2 },
  ];
  function pattern(index, rgb) {
    const found = PATTERNS[index % PATTERNS.length];
    if (!found) return { symbol: "none" };
    return { ...found, color: readableOn(rgb) === "#ffffff" ? "rgba(255,255,255,.55)" : "rgba(20,22,27,.5)" };
  }
  // A fill for the part of that number: its colour and its pattern.
  function fill(index, border = "surface") {
    const rgb = colour(`part${index % 12}`);
    return { color: rgb, decal: pattern(index, rgb), borderColor: colour(border), borderWidth: 1 };
  }

  // build(view, width) gives the option, or null where there is nothing to draw: then its panel is hidden.
  function add(id, build, { height = 320, renderer = "svg", after = null } = {}) {
    const element = document.getElementById(`chart-${id}`);
    if (element) charts.set(id, { element, build, height, renderer, after, view: null, chart: null, drawn: false });
  }
  function draw(entry) {
    const panel = entry.element.closest("[data-panel]");
    if (panel) panel.hidden = false;
    const width = entry.element.clientWidth || 600;
    const option = entry.build(entry.view, width);
    if (panel) panel.hidden = !option;
    if (!option) { entry.drawn = true; return; }
    const height = typeof entry.height === "function" ? entry.height(width) : entry.height;
    entry.element.style.height = `${height}px`;
    if (!entry.chart) {
      entry.chart = echarts.init(entry.element, null, { renderer: entry.renderer });
      entry.chart.on("finished", () => { entry.drawn = true; announce(); });
    } else entry.chart.resize({ width, height });
    entry.chart.setOption(option, { notMerge: true });
    entry.element.firstElementChild.setAttribute("aria-hidden", "true");
    if (entry.after) entry.after(entry);
  }
  function announce() {
    const all = [...charts.values()];
    if (!all.every((entry) => entry.drawn)) return;
    page.dataset.charts = String(all.length);
    page.dataset.ready = "yes";
  }
  function drawAll() { charts.forEach(draw); announce(); }
  function show(id, view) {
    const entry = charts.get(id);
    if (entry) { entry.view = view; draw(entry); }
  }

  return { data, charts, chosen, add, draw, drawAll, show, base, axis, text, tip, named, shown, short, labels, colour, population, mix, ramp, fill, pattern,
           readableOn, si, joules, percent, whole, isNumber, escape };
})();
