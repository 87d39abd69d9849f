// Energy under the chosen model: stacked parts with the interval of their sum, and what drives that interval.
"use strict";
(() => {
  const R = Report, energy = R.data.energy;
  if (!energy) return;
  const model = () => energy.models[R.chosen.model];
  const J = (value) => R.joules(value, model().unit);
  const label = (key) => energy.labels[key] ?? key;
  const interval = (value) => (value && R.isNumber(value.low) && R.isNumber(value.high) && value.low !== value.high
    ? `${J(value.low)} – ${J(value.high)}` : "");
  // The parts that the chosen model has, with the number that gives their colour and pattern under every model.
  function parts() {
    const has = new Set([...model().parts.flatMap(Object.keys), ...model().layers.flatMap((layer) => layer.parts.flatMap(Object.keys))]);
    return Object.entries(energy.parts).map(([name, index]) => ({ name, index })).filter(({ name }) => has.has(name));
  }
  const ofBars = () => parts().filter(({ name }) => model().parts.some((side) => side[name]?.nominal || side[name]?.high));
  const legend = (items, extra) => ({
    left: 0, padding: 0, type: "plain", icon: "roundRect", itemWidth: 20, itemHeight: 12, itemGap: 14, textStyle: R.text(12, "ink"),
    selectedMode: false, data: items.map((item) => item.name), ...extra,
  });
  function legendRows(items, width) {
    let rows = 1, used = 0;
    items.forEach(({ name }) => {
      const needed = 40 + 6.4 * name.length;
      if (used && used + needed > width) { rows += 1; used = 0; }
      used += needed;
    });
    return rows;
  }
  const part = (name, value, bar, key, color) => {
    const lines = [["Nominal", value ? J(value.nominal) : "–"]];
    if (interval(value)) lines.push(["Interval", interval(value)]);
    if (value && R.isNumber(bar.nominal) && bar.nominal > 0) lines.push(["Share", R.percent(value.nominal / bar.nominal)]);
    return R.tip(R.named(color, `${name} · ${label(key)}`), lines, [model().formulas[name], "Sources: constants, below."]);
  };
  R.energy = { model, J, label, parts, legend, legendRows };

  const scale = (view, bar) => (view === "share" && R.isNumber(bar.nominal) && bar.nominal > 0 ? 1 / bar.nominal : 1);
  function whiskers(view) {
    const bars = model().bars.map((bar, row) => [bar.low * scale(view, bar), bar.high * scale(view, bar), row])
      .filter((_, row) => R.isNumber(model().bars[row].low) && R.isNumber(model().bars[row].high));
    return {
      name: "Interval", type: "custom", data: bars, silent: true, z: 5, encode: { x: [0, 1], y: 2 },
      renderItem: (_, api) => {
        const [x0, y] = api.coord([api.value(0), api.value(2)]), [x1] = api.coord([api.value(1), api.value(2)]);
        const line = (a, b, c, d) => ({ type: "line", shape: { x1: a, y1: b, x2: c, y2: d }, style: { stroke: R.colour("ink"), lineWidth: 1.5 } });
        const below = y + 24;
        return { type: "group", children: [line(x0, below, x1, below), line(x0, below - 5, x0, below + 5), line(x1, below - 5, x1, below + 5)] };
      },
    };
  }
  function stacked(view) {
    const items = ofBars(), bars = model().bars;
    if (!items.length) return [{ name: "Sum", type: "bar", barWidth: 28, itemStyle: R.fill(1), data: bars.map((bar) => bar.nominal * scale(view, bar)) }];
    return items.map(({ name, index }) => ({
      name, type: "bar", stack: "parts", barWidth: 28, itemStyle: R.fill(index),
      data: bars.map((bar, row) => (R.isNumber(model().parts[row][name]?.nominal) ? model().parts[row][name].nominal * scale(view, bar) : 0)),
    }));
  }

  R.add("energy", (view, width) => {
    const bars = model().bars;
    const ends = bars.flatMap((bar) => [bar.low, bar.nominal, bar.high].filter(R.isNumber).map((value) => value * scale(view, bar)));
    const words = view === "share" ? (value) => R.percent(value, 0) : J;
    return R.base({
      grid: { left: 0, right: 14, top: 4, bottom: 30 + legendRows(ofBars(), width) * 22, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
      legend: legend(ofBars(), { bottom: 0 }),
      tooltip: { trigger: "item", formatter: (point) => {
        const row = point.dataIndex, bar = bars[row];
        return bar ? part(point.seriesName, ofBars().length ? model().parts[row][point.seriesName] : bar, bar, model().entries[row], point.color) : "";
      } },
      xAxis: R.axis({ type: "value", min: 0, max: Math.max(...ends) * 1.04, splitNumber: 4,
        axisLabel: { hideOverlap: true, showMaxLabel: false, formatter: words } }),
      yAxis: R.axis({ type: "category", inverse: true, data: model().entries.map(label),
        axisLabel: { ...R.text(13, "ink"), lineHeight: 17, formatter: (name, row) => `${name.replace(/, | (?=\S+$)/, "\n")}\n{b|${J(bars[row].nominal)}}`,
          rich: { b: { ...R.text(13, "ink"), fontWeight: 600, lineHeight: 20 } } } }),
      series: [...stacked(view), whiskers(view)],
    });
  }, { height: (width) => 40 + 84 * model().bars.length + legendRows(ofBars(), width) * 22 });

  // The widest drivers, each as a bar from the total at one of its ends to the total at the other.
  const MOST = 12;
  const drivers = () => model().drivers.filter(({ low, high }) => R.isNumber(low) && R.isNumber(high) && high > low).slice(0, MOST);
  const KINDS = { constant: ["constant", 1], choice: ["what is counted", 2], samples: ["the samples", 5] };
  R.add("energy-drivers", (_, width) => {
    const rows = drivers(), bar = model().bars[0], letters = width < 500 ? 17 : 26;
    if (!rows.length) return null;
    const kinds = Object.entries(KINDS).filter(([kind]) => rows.some((row) => row.kind === kind));
    const low = Math.min(bar.nominal, ...rows.map((row) => row.low)), high = Math.max(bar.nominal, ...rows.map((row) => row.high));
    const room = (high - low) * 0.08 || high * 0.1;
    const fine = (value) => R.joules(value, model().unit, Math.min(7, 2 + Math.ceil(Math.log10(high / (high - low || high)))));
    return R.base({
      grid: { left: 0, right: 14, top: 24, bottom: 52, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
      legend: { ...legend(kinds.map(([, [name]]) => ({ name })), { bottom: 0 }) },
      tooltip: { trigger: "item", formatter: (point) => {
        const row = rows[point.dataIndex];
        return R.tip(R.named(point.color, row.name), [["Lowest total", J(row.low)], ["Highest total", J(row.high)], ["Width", J(row.high - row.low)]],
          [KINDS[row.kind]?.[0], "Everything else stays nominal."]);
      } },
      xAxis: R.axis({ type: "value", min: Math.max(0, low - room), max: high + room, splitNumber: 3,
        axisLabel: { hideOverlap: true, showMinLabel: false, showMaxLabel: false, formatter: fine } }),
      yAxis: R.axis({ type: "category", inverse: true, data: rows.map((row) => row.name),
        axisLabel: { ...R.text(12, "ink"), interval: 0, formatter: (name) => R.short(name, letters) } }),
      series: [
        { type: "bar", stack: "driver", silent: true, barWidth: 16, itemStyle: { color: "transparent" }, tooltip: { show: false },
          data: rows.map((row) => row.low), emphasis: { disabled: true } },
        ...kinds.map(([kind, [name, index]]) => ({
          name, type: "bar", stack: "driver", barWidth: 16, itemStyle: R.fill(index),
          data: rows.map((row) => (row.kind === kind ? row.high - row.low : 0)),
        })),
        { type: "custom", silent: true, z: 6, data: [[bar.nominal, 0]], tooltip: { show: false },
          renderItem: ({ coordSys }, api) => {
            const x = api.coord([api.value(0), 0])[0];
            return { type: "group", children: [
              { type: "line", shape: { x1: x, x2: x, y1: coordSys.y - 4, y2: coordSys.y + coordSys.height }, style: { stroke: R.colour("ink"), lineWidth: 1.5 } },
              { type: "text", style: { text: `nominal ${J(bar.nominal)}`, x, y: coordSys.y - 8, verticalAlign: "bottom",
                align: x > coordSys.x + coordSys.width * 0.75 ? "right" : x < coordSys.x + coordSys.width * 0.2 ? "left" : "center",
                fill: R.colour("ink"), fontSize: 12, fontFamily: R.text().fontFamily } },
            ] };
          } },
      ],
    });
  }, { height: () => 90 + 27 * drivers().length });
})();
