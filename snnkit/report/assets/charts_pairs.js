// Images and texts: what lies near what, what is taken for what, and how recall, temperature and gradient went.
"use strict";
(() => {
  const R = Report, it = R.data.pairs;
  if (!it) return;
  const { similarity, confusion, recall, steps, memory } = it;

  // A square of cells [column, row, value]; those on the diagonal have a frame, drawn over all others. Of many, cells are
  // too small for frames and gaps, and some rows alone have their name.
  function square({ names, rows, low, high, width, letters, across, tip, words, side }) {
    const cells = rows.flatMap((row, y) => row.map((value, x) => [x, y, value])).filter(([, , value]) => R.isNumber(value));
    const many = names.length > 30, thin = Math.ceil(names.length / 25) - 1;
    const shade = (value) => R.ramp(high > low ? Math.max(0, Math.min(1, (value - low) / (high - low))) : 0.5);
    return R.base({
      grid: { left: 2, right: 4, top: 26, bottom: 4, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
      tooltip: { formatter: ({ value }) => tip(value[0], value[1], value[2]) },
      xAxis: R.axis({ type: "category", position: "top", data: names, splitLine: { show: false },
        axisLabel: { interval: many || width < 500 ? "auto" : 0, hideOverlap: true, formatter: (_, at) => across(at) } }),
      yAxis: R.axis({ type: "category", inverse: true, data: names, splitLine: { show: false },
        axisLabel: { ...R.text(12, "ink"), interval: many ? thin : 0, hideOverlap: true, formatter: (name, at) => side(R.short(name, letters), at) } }),
      series: [{
        type: "heatmap", progressive: 0, emphasis: { itemStyle: { borderColor: R.colour("ink"), borderWidth: 2 } },
        data: cells.map(([x, y, value]) => ({ value: [x, y, value], itemStyle: { color: shade(value), borderWidth: many ? 0 : 1, borderColor: R.colour("surface") },
          label: { show: Boolean(words), color: R.readableOn(shade(value)), fontSize: 11, formatter: words ? words(x, y, value) : "" } })),
      }, {
        type: "heatmap", silent: true, progressive: 0, z: 3, data: cells.filter(([x, y]) => x === y && !many)
          .map((value) => ({ value, itemStyle: { color: "transparent", borderWidth: 2, borderColor: R.colour("ink") } })),
      }],
    });
  }
  const letters = (width) => (width < 500 ? 13 : 24);
  const tall = (count) => (width) => 34 + count * Math.max(count > 40 ? 5 : 14, Math.min(26, Math.floor((width - 7 * letters(width)) / count)));

  if (similarity) {
    const { texts, values } = similarity, known = values.flat().filter(R.isNumber);
    R.add("pairs-similarity", (_, width) => square({
      names: texts, rows: values, low: Math.min(...known), high: Math.max(...known), width, letters: letters(width),
      across: (at) => String(at + 1), side: (name, at) => `${name}  ${at + 1}`,
      tip: (x, y, value) => R.tip(x === y ? "An image and its own text" : "An image and another text",
        [["Similarity", value.toFixed(3)]], [`Image ${y + 1}: ${texts[y]}`, ...(x === y ? [] : [`Text ${x + 1}: ${texts[x]}`])]),
    }), { height: tall(texts.length), renderer: texts.length > 30 ? "canvas" : "svg" });
  }

  if (confusion) {
    const { classes, counts } = confusion, sums = counts.map((row) => row.reduce((sum, value) => sum + (value ?? 0), 0));
    const share = counts.map((row, y) => row.map((value) => (sums[y] && R.isNumber(value) ? value / sums[y] : R.isNumber(value) ? 0 : null)));
    R.add("pairs-confusion", (_, width) => square({
      names: classes, rows: share, low: 0, high: 1, width, letters: letters(width), across: (at) => String(at + 1), side: (name, at) => `${name}  ${at + 1}`,
      words: classes.length <= (width < 500 ? 10 : 16) ? (x, y) => (counts[y][x] ? R.whole(counts[y][x]) : "") : null,
      tip: (x, y) => R.tip(x === y ? "Put into their own class" : "Put into another class",
        [["Images", `${R.whole(counts[y][x])} of ${R.whole(sums[y])}`], ["Share", R.percent(share[y][x])]], [`Class: ${classes[y]}`, ...(x === y ? [] : [`Put into: ${classes[x]}`])]),
    }), { height: tall(classes.length), renderer: classes.length > 30 ? "canvas" : "svg" });
  }

  if (recall) R.add("pairs-recall", (view, width) => {
    const { curves } = recall.views.find(({ key }) => key === view) || recall.views[0];
    return R.curves({ x: recall.epochs, name: "epoch", lines: curves, width, log: false, words: (value) => R.percent(value, 1).replace(".0", "") });
  }, { height: 300 });

  if (steps) {
    R.add("pairs-scale", (_, width) => (steps.scale.some(R.isNumber)
      ? R.curves({ x: steps.steps, name: "step", number: "value", width, marks: (value) => R.si(value, "", 5),
        lines: [{ name: "Inverse temperature", values: steps.scale }] }) : null), { height: 260 });
    R.add("pairs-gradient", (_, width) => (steps.gradient_norm.some(R.isNumber) ? R.curves({
      x: steps.steps, name: "step", number: "value", width, lines: [{ name: "Gradient norm", values: steps.gradient_norm }],
      said: (at) => ({ more: steps.highest[at] === steps.gradient_norm[at] ? [] : [["Highest", R.si(steps.highest[at])]] }),
    }) : null), { height: 260 });
  }

  if (memory) R.add("pairs-memory", (_, width) => {
    const lines = [["Measured", memory.peak_bytes], ["Predicted", memory.predicted_bytes]]
      .map(([name, values]) => ({ name, values })).filter(({ values }) => values.some(R.isNumber));
    const far = memory.batch.length > 1 && memory.batch.at(-1) / memory.batch[0] > 10;
    return R.curves({ x: memory.batch, name: "images in a batch", number: far ? "log" : "value", lines, width, words: (value) => R.si(value, "B"),
      said: (at) => ({ title: `${R.whole(memory.batch[at])} images in a batch` }) });
  }, { height: 300 });
})();
