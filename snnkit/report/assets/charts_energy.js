// Energy: stacked parts with the interval of the sum, and the layers beside those of the twin.
"use strict";
(() => {
  const R = Report, energy = R.data.energy;
  if (!energy) return;
  const J = (value) => R.joules(value, energy.unit);
  const partColour = (index) => R.colour(`part${index % 6}`);
  const interval = (value) => (value && R.isNumber(value.low) && R.isNumber(value.high) && value.low !== value.high
    ? `${J(value.low)} – ${J(value.high)}` : "");

  function whiskers() {
    const bars = energy.bars.map((bar, row) => [bar.low, bar.high, row]).filter(([low, high]) => R.isNumber(low) && R.isNumber(high));
    return {
      name: "Interval", type: "custom", data: bars, silent: true, z: 5, encode: { x: [0, 1], y: 2 },
      renderItem: (_, api) => {
        const [x0, y] = api.coord([api.value(0), api.value(2)]), [x1] = api.coord([api.value(1), api.value(2)]);
        const line = (a, b, c, d) => ({ type: "line", shape: { x1: a, y1: b, x2: c, y2: d }, style: { stroke: R.colour("ink"), lineWidth: 1.5 } });
        const below = y + 25;
        return { type: "group", children: [line(x0, below, x1, below), line(x0, below - 5, x0, below + 5), line(x1, below - 5, x1, below + 5)] };
      },
    };
  }

  function part(item, index) {
    return {
      name: item.name, type: "bar", stack: "parts", barWidth: 30, itemStyle: { color: partColour(index), borderColor: R.colour("surface"), borderWidth: 1 },
      data: item.values.map((value) => (value && R.isNumber(value.nominal) ? value.nominal : 0)),
    };
  }
  function partTip(point) {
    const item = energy.parts[point.seriesIndex], bar = energy.bars[point.dataIndex];
    if (!item || !bar) return "";
    const value = item.values[point.dataIndex], lines = [["Nominal", value ? J(value.nominal) : "–"]];
    if (interval(value)) lines.push(["Interval", interval(value)]);
    if (value && R.isNumber(bar.nominal) && bar.nominal > 0) lines.push(["Share", R.percent(value.nominal / bar.nominal)]);
    const source = document.querySelector("#energy .lead .muted");
    return R.tip(R.named(point.color, `${item.name} · ${bar.label}`), lines, [item.formula, source && source.textContent]);
  }
  function whole() {
    const fallback = { name: "Sum", type: "bar", barWidth: 30, itemStyle: { color: partColour(1) }, data: energy.bars.map((bar) => bar.nominal) };
    return energy.parts.length ? energy.parts.map(part) : [fallback];
  }

  R.add("energy", (_, width) => {
    const ends = energy.bars.flatMap((bar) => [bar.low, bar.nominal, bar.high]).filter(R.isNumber);
    return R.base({
      grid: { left: 0, right: 12, top: 4, bottom: 30 + legendRows(width) * 22, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
      legend: { left: 0, bottom: 0, type: "plain", icon: "roundRect", itemWidth: 12, itemHeight: 10, itemGap: 16, textStyle: R.text(12, "ink"),
        data: energy.parts.map((item) => item.name), selectedMode: false },
      tooltip: { trigger: "item", formatter: partTip },
      xAxis: R.axis({ type: "value", min: 0, max: Math.max(...ends) * 1.04, splitNumber: 4,
        axisLabel: { hideOverlap: true, showMaxLabel: false, formatter: J } }),
      yAxis: R.axis({ type: "category", inverse: true, data: energy.bars.map((bar) => bar.label),
        axisLabel: { ...R.text(13, "ink"), lineHeight: 18, formatter: (name, row) => `${name.replace(" ", "\n")}\n{b|${J(energy.bars[row].nominal)}}`,
          rich: { b: { ...R.text(13, "ink"), fontWeight: 600, lineHeight: 20 } } } }),
      series: [...whole(), whiskers()],
    });
  }, { height: (width) => 40 + 92 * energy.bars.length + legendRows(width) * 22 });

  function legendRows(width) {
    const needed = energy.parts.reduce((sum, item) => sum + 40 + 6.6 * item.name.length, 0);
    return Math.max(1, Math.ceil(needed / Math.max(width - 10, 200)));
  }

  const layers = energy.layers;
  if (!layers.length) {
    const panel = document.querySelector("[data-needs=energy-layers]");
    if (panel) { panel.parentElement.style.gridTemplateColumns = "minmax(0, 1fr)"; panel.remove(); }
    return;
  }
  const twinShown = layers.some((layer) => R.isNumber(layer.twin));
  R.add("energy-layers", () => R.base({
    grid: { left: 0, right: 20, top: 30, bottom: 10, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
    legend: { show: twinShown, left: 0, top: 0, icon: "roundRect", itemWidth: 12, itemHeight: 8, textStyle: R.text(12, "ink"), selectedMode: false,
      data: [{ name: "Spiking network, in the colour of the population", itemStyle: { color: R.colour("muted") } }, { name: "Ordinary twin" }] },
    tooltip: { trigger: "axis", axisPointer: { type: "shadow", shadowStyle: { color: R.colour("line"), opacity: 0.5 } }, formatter: (points) => {
      const layer = layers[points[0].dataIndex];
      return R.tip(R.named(R.population(layer.population), layer.name), [["Spiking network", J(layer.network)], ["Ordinary twin", J(layer.twin)]]);
    } },
    xAxis: R.axis({ type: "value", min: 0, splitNumber: 4, axisLabel: { formatter: J, hideOverlap: true } }),
    yAxis: R.axis({ type: "category", inverse: true, data: layers.map((layer) => layer.name),
      axisLabel: { ...R.text(12, "ink"), interval: 0, formatter: (name) => R.short(name, 30) } }),
    series: [
      { name: "Spiking network, in the colour of the population", type: "bar", barWidth: 10, barGap: "15%",
        data: layers.map((layer) => ({ value: layer.network, itemStyle: { color: R.population(layer.population), borderRadius: [0, 2, 2, 0] } })) },
      ...(twinShown ? [{ name: "Ordinary twin", type: "bar", barWidth: 6, itemStyle: { color: R.colour("line-strong"), borderRadius: [0, 2, 2, 0] },
        data: layers.map((layer) => layer.twin) }] : []),
    ],
  }), { height: () => 58 + 29 * layers.length });
})();
