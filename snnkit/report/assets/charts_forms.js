// The answer of a converted network step by step, and several runs compared.
"use strict";
(() => {
  const R = Report, { conversion, comparison } = R.data;
  const DASHES = [[6, 4], [2, 3]];

  if (conversion) R.add("conversion", () => {
    const values = [...conversion.steps, ...conversion.lines].map((item) => item.value).filter(R.isNumber);
    if (!values.length) return null;
    const [lowest, highest] = [Math.min(...values), Math.max(...values)], room = 0.12 * (highest - lowest || 0.02);
    const flat = conversion.lines.map((line, index) => ({
      name: line.name, type: "line", symbol: "none", data: conversion.steps.map(() => line.value), silent: true,
      lineStyle: { color: R.colour("ink"), width: 1.5, type: DASHES[index] }, itemStyle: { color: R.colour("ink") },
    }));
    return R.base({
      grid: { left: 6, right: 24, top: 40, bottom: 10, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
      legend: { left: 0, top: 0, padding: 0, itemWidth: 26, itemGap: 18, textStyle: R.text(12, "ink"), selectedMode: false,
        data: ["Spiking", ...conversion.lines.map((line) => ({ name: line.name, itemStyle: { opacity: 0 } }))] },
      tooltip: { trigger: "axis", formatter: (points) => {
        const step = conversion.steps[points[0].dataIndex];
        return R.tip(step.at, [["Spiking", R.percent(step.value, 2)], ...conversion.lines.map((line) => [line.name, R.percent(line.value, 2)]),
          ...(R.isNumber(step.events) ? [["Events a neuron", step.events.toFixed(2)]] : [])], [conversion.measure]);
      } },
      xAxis: R.axis({ type: "category", boundaryGap: true, data: conversion.steps.map((step) => step.at), splitLine: { show: false } }),
      yAxis: R.axis({ type: "value", scale: true, splitNumber: 4, max: Math.min(1, highest + room), min: Math.max(0, lowest - 1.6 * room),
        axisLabel: { showMaxLabel: false, showMinLabel: false, formatter: (v) => R.percent(v, highest - lowest < 0.05 ? 1 : 0) } }),
      series: [{
        name: "Spiking", type: "line", data: conversion.steps.map((step) => step.value), symbol: "circle", symbolSize: 9, connectNulls: true,
        lineStyle: { width: 2.5, color: R.colour("accent") }, itemStyle: { color: R.colour("accent") },
        label: { show: true, position: "bottom", distance: 8, ...R.text(12, "ink"), formatter: ({ value }) => R.percent(value) },
      }, ...flat],
    });
  }, { height: 330 });

  // ---- several runs ----
  const SYMBOLS = ["circle", "rect", "triangle", "diamond", "pin", "roundRect", "arrow"];
  if (comparison && comparison.models.length) R.add("comparison", (view, width) => {
    const model = comparison.models[Number(view ?? 0)], J = (value) => R.joules(value, model.unit);
    const points = model.points.map((point, index) => ({ ...point, ...comparison.runs[index], index }))
      .filter((point) => R.isNumber(point.nominal) && R.isNumber(point.accuracy) && point.nominal > 0);
    if (!points.length) return null;
    const ends = points.flatMap((point) => [point.low, point.nominal, point.high]).filter((value) => R.isNumber(value) && value > 0);
    const [low, high] = [Math.min(...ends), Math.max(...ends)], far = high / low > 20;
    const reached = points.map((point) => point.accuracy), spread = Math.max(...reached) - Math.min(...reached) || 0.01;
    // Runs at the same place share one label.
    const same = (a, b) => a.nominal === b.nominal && a.accuracy === b.accuracy;
    const letters = (index) => (points.findIndex((point) => same(point, points[index])) === index
      ? points.filter((point) => same(point, points[index])).map((point) => point.letter).join(", ") : "");
    const colour = (index) => R.colour(index === 0 ? "accent" : "ink");
    return R.base({
      grid: { left: 6, right: 24, top: 34, bottom: 34, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
      tooltip: { trigger: "item", formatter: (item) => {
        const point = points[item.dataIndex];
        return R.tip(`${point.letter} · ${point.name}`, [["Accuracy", R.percent(point.accuracy, 2)], ["Energy", J(point.nominal)],
          ["Interval", `${J(point.low)} – ${J(point.high)}`]]);
      } },
      xAxis: R.axis({ type: far ? "log" : "value", min: far ? low / 1.3 : Math.max(0, low - (high - low) * 0.12), max: far ? high * 1.3 : high + (high - low) * 0.12,
        name: `energy of a sample, ${model.name}`, nameLocation: "middle", nameGap: 28, splitNumber: width < 500 ? 3 : 5,
        axisLabel: { formatter: J, hideOverlap: true, showMinLabel: false, showMaxLabel: false } }),
      yAxis: R.axis({ type: "value", scale: true, min: Math.min(...reached) - spread * 0.25, max: Math.min(1, Math.max(...reached) + spread * 0.35),
        name: "accuracy", nameLocation: "end", nameTextStyle: { ...R.text(), align: "left" },
        axisLabel: { showMinLabel: false, showMaxLabel: false, formatter: (v) => R.percent(v, spread < 0.05 ? 1 : 0) } }),
      series: [{
        type: "custom", silent: true, z: 1, data: points.map((point) => [point.low, point.high, point.accuracy]), encode: { x: [0, 1], y: 2 }, tooltip: { show: false },
        renderItem: ({ dataIndex }, api) => {
          if (!R.isNumber(points[dataIndex].low) || !R.isNumber(points[dataIndex].high)) return null;
          const [a, y] = api.coord([api.value(0), api.value(2)]), [b] = api.coord([api.value(1), api.value(2)]);
          const line = (x1, y1, x2, y2) => ({ type: "line", shape: { x1, y1, x2, y2 }, style: { stroke: colour(points[dataIndex].index), lineWidth: 1.5, opacity: 0.6 } });
          return { type: "group", children: [line(a, y, b, y), line(a, y - 5, a, y + 5), line(b, y - 5, b, y + 5)] };
        },
      }, {
        type: "scatter", symbolSize: 14, data: points.map((point) => ({ value: [point.nominal, point.accuracy], symbol: SYMBOLS[point.index % SYMBOLS.length],
          itemStyle: { color: colour(point.index), borderColor: R.colour("surface"), borderWidth: 1.5 } })),
        label: { show: true, position: "top", distance: 6, ...R.text(13, "ink"), fontWeight: 600, formatter: ({ dataIndex }) => letters(dataIndex) },
        labelLayout: { moveOverlap: "shiftY" },
      }],
    });
  }, { height: 360 });
})();
