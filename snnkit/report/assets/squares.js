// Squares of cells: what lies near what, what is taken for what.
"use strict";
(() => {
  const R = Report;

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

  // How much of each class, a row, was taken for each class, a column; shares of the row, counts in the cells where they fit.
  function taken({ classes, counts, unit, width }) {
    const sums = counts.map((row) => row.reduce((sum, value) => sum + (value ?? 0), 0));
    const share = counts.map((row, y) => row.map((value) => (sums[y] && R.isNumber(value) ? value / sums[y] : R.isNumber(value) ? 0 : null)));
    return square({
      names: classes, rows: share, low: 0, high: 1, width, letters: letters(width), across: (at) => String(at + 1), side: (name, at) => `${name}  ${at + 1}`,
      words: classes.length <= (width < 500 ? 10 : 16) ? (x, y) => (counts[y][x] ? (unit.shown || R.whole)(counts[y][x], share[y][x]) : "") : null,
      tip: (x, y) => R.tip(x === y ? "Put into their own class" : "Put into another class",
        [[unit.name, `${R.whole(counts[y][x])} of ${R.whole(sums[y])}`], ["Share", R.percent(share[y][x])]], [`Class: ${classes[y]}`, ...(x === y ? [] : [`Put into: ${classes[x]}`])]),
    });
  }

  Object.assign(R, { square, letters, tall, taken });
})();
