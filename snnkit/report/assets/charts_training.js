// Learning curves, firing rates and the spike rasters.
"use strict";
(() => {
  const R = Report, { training, rates, raster } = R.data;
  const NAMES = { train: "Training images", validation: "Images set aside", test: "Test images", network: "Firing rate" };
  const asPercent = (view) => training.shares.includes(view);

  function curve(view, name, values) {
    const main = name === "test" || name === "network";
    const colour = R.colour(main ? "accent" : "line-strong");
    const best = view === training.best.key && name === training.best.split && R.isNumber(training.best.value)
      ? training.epochs.indexOf(training.best.epoch) : -1;
    // Towards the middle at either end, and on a ground of its own where a curve passes.
    const align = best === 0 ? (values.length > 1 ? "left" : "center") : best === values.length - 1 ? "right" : "center";
    return {
      name: NAMES[name], type: "line", data: values, connectNulls: true, symbol: "circle", symbolSize: 5,
      showSymbol: values.length < 40, lineStyle: { width: main ? 2.5 : 1.5, color: colour }, itemStyle: { color: colour },
      markPoint: best < 0 ? undefined : {
        symbol: "circle", symbolSize: 11, itemStyle: { color: R.colour("surface"), borderColor: colour, borderWidth: 2.5 },
        label: { ...R.text(13, "ink"), position: "bottom", align, distance: 8, padding: [1, 3], backgroundColor: R.colour("surface"), formatter: `best ${asPercent(view) ? R.percent(training.best.value) : R.si(training.best.value)}` },
        data: [{ coord: [best, training.best.value] }],
      },
    };
  }

  if (training) R.add("training", (view) => {
    view = view || Object.keys(training.curves)[0];
    const shown = Object.entries(training.curves[view]).filter(([, values]) => values.some(R.isNumber));
    const words = asPercent(view) ? (value) => R.percent(value) : (value) => R.si(value);
    return R.base({
      grid: { left: 6, right: 24, top: 40, bottom: 30, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
      legend: { left: 0, top: 0, icon: "circle", itemWidth: 9, itemHeight: 9, itemGap: 22, textStyle: R.text(13, "ink") },
      tooltip: { trigger: "axis", formatter: (points) => {
        const index = points[0].dataIndex;
        const lines = points.map((point) => [R.named(point.color, point.seriesName), words(point.value)]);
        const rate = training.learning_rate[index], seconds = training.seconds[index];
        if (R.isNumber(rate)) lines.push(["Learning rate", rate.toPrecision(3)]);
        if (R.isNumber(seconds)) lines.push(["Time", R.si(seconds, "s")]);
        return R.tip(`Epoch ${training.epochs[index]}`, lines);
      } },
      xAxis: R.axis({ type: "category", data: training.epochs, boundaryGap: false, name: "epoch", nameLocation: "middle", nameGap: 28 }),
      yAxis: R.axis({ type: "value", scale: true, minInterval: asPercent(view) ? 0.001 : undefined, axisLabel: { formatter: asPercent(view) ? (v) => R.percent(v, 1).replace(".0", "") : (v) => R.si(v) } }),
      series: shown.map(([name, values]) => curve(view, name, values)),
    });
  }, { height: 340 });

  // Behind the bars, so that no number is crossed out.
  function meanLine() {
    return {
      type: "custom", silent: true, z: 1, data: [[rates.mean, 0]], tooltip: { show: false },
      renderItem: ({ coordSys }, api) => {
        const x = api.coord([api.value(0), 0])[0];
        return { type: "group", children: [
          { type: "line", shape: { x1: x, x2: x, y1: coordSys.y - 4, y2: coordSys.y + coordSys.height }, style: { stroke: R.colour("muted"), lineDash: [4, 4] } },
          { type: "text", style: { text: `all neurons ${R.percent(rates.mean)}`, x, y: coordSys.y - 8, align: "center", verticalAlign: "bottom",
            fill: R.colour("muted"), fontSize: 12, fontFamily: R.text().fontFamily } },
        ] };
      },
    };
  }

  if (rates) R.add("rates", (_, width) => R.base({
    grid: { left: 0, right: 64, top: 26, bottom: 10, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
    tooltip: { trigger: "item", formatter: (point) => {
      const layer = rates.layers[point.dataIndex];
      return R.tip(R.named(point.color, layer.name), [["Rate", R.percent(layer.rate, 2)],
        ["Spikes per image", R.si(layer.spikes)], ["Neurons", R.whole(layer.neurons)]]);
    } },
    xAxis: R.axis({ type: "value", min: 0, splitNumber: 5, axisLabel: { formatter: (v) => R.percent(v, 1).replace(".0", "") } }),
    yAxis: R.axis({ type: "category", inverse: true, data: rates.layers.map((layer) => layer.name),
      axisLabel: { ...R.text(13, "ink"), interval: 0, formatter: (name) => R.short(name, Math.max(24, width / 24)) } }),
    series: [{
      type: "bar", barWidth: 14, barMinHeight: 2,
      data: rates.layers.map((layer) => ({ value: layer.rate, itemStyle: { color: R.population(layer.population), borderRadius: [0, 3, 3, 0] } })),
      label: { show: true, position: "right", ...R.text(12, "ink"), backgroundColor: R.colour("bg"), padding: [2, 3],
        formatter: (point) => R.percent(point.value) },
    }, ...(R.isNumber(rates.mean) ? [meanLine()] : [])],
  }), { height: () => 50 + 27 * rates.layers.length });

  // Whole pixels for every bin, about the same height for every panel.
  const tall = (bins) => bins * Math.max(1, Math.round(192 / bins));
  (raster || []).forEach((panel, position) => R.add(`raster-${position}`, () => {
    const cells = panel.counts.flatMap((step, t) => step.map((value, bin) => [t, bin, value]));
    const most = Math.max(1, ...cells.map((cell) => cell[2]));
    const empty = R.mix(R.colour("surface"), R.colour("line"), 0.4);
    const perBin = R.isNumber(panel.neurons) ? panel.neurons / panel.bins : null;
    return R.base({
      grid: { left: 38, right: 2, top: 8, height: tall(panel.bins) },
      tooltip: { formatter: (point) => {
        const [t, bin, value] = point.value;
        const range = perBin ? `${R.whole(Math.round(bin * perBin))} – ${R.whole(Math.max(Math.round((bin + 1) * perBin) - 1, Math.round(bin * perBin)))}` : `bin ${bin + 1}`;
        return R.tip(R.named(R.population(panel.population), panel.name),
          [["Time step", t + 1], ["Neurons", range], ["Spikes", R.whole(value)]]);
      } },
      xAxis: R.axis({ type: "category", data: panel.counts.map((_, t) => t + 1), splitLine: { show: false } }),
      yAxis: R.axis({ type: "category", data: Array.from({ length: panel.bins }, (_, bin) => bin), splitLine: { show: false },
        axisLabel: { interval: (index) => index === 0 || index === panel.bins - 1,
          formatter: (bin) => (Number(bin) === 0 ? "0" : R.si(panel.neurons ?? panel.bins)) } }),
      visualMap: { show: false, min: 0, max: most,
        inRange: { color: [0, 0.25, 0.5, 0.75, 1].map((share) => R.mix(empty, R.population(panel.population), share)) } },
      series: [{ type: "heatmap", data: cells, emphasis: { itemStyle: { borderColor: R.colour("ink"), borderWidth: 1 } },
        progressive: 0 }],
      graphic: panel.spikes ? [] : [{ type: "text", left: "center", top: "38%", z: 50, silent: true,
        style: { text: "no spikes", fill: R.colour("muted"), font: `13px ${R.text().fontFamily}` } }],
    });
  }, { height: () => tall(panel.bins) + 30, renderer: "canvas" }));
})();
