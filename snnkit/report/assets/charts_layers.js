// Energy layer by layer beside another network, and the rate every layer fires at beside the one that breaks even.
"use strict";
(() => {
  const R = Report, energy = R.data.energy;
  if (!energy) return;
  const { model, J, label, parts, legend, legendRows } = R.energy;
  const MOST = 40; // more rows cannot be told apart; the table has all

  function beside(view) {
    const others = model().entries.filter((key) => key !== "network");
    return others.includes(view) ? view : others[0];
  }
  // Layers that use energy; of a deep network its modules instead, as deep as fits, and at last the largest alone.
  function layers(view) {
    const other = model().entries.indexOf(beside(view));
    const most = (layer) => Math.max(layer.sums[0] ?? 0, other < 0 ? 0 : layer.sums[other] ?? 0);
    const all = model().layers.filter((layer) => most(layer) > 0);
    if (all.length <= MOST) return all;
    for (let depth = Math.max(...all.map((layer) => layer.name.split(".").length)) - 1; depth; depth -= 1) {
      const found = Map.groupBy(all, (layer) => layer.name.split(".").slice(0, depth).join("."));
      if (found.size <= MOST && found.size > 1) return [...found].map(([name, inside]) => together(name, inside));
    }
    const kept = new Set([...all].sort((a, b) => most(b) - most(a)).slice(0, MOST - 1));
    const rest = all.filter((layer) => !kept.has(layer));
    return [...all.filter((layer) => kept.has(layer)), together(`${rest.length} smaller layers`, rest)];
  }
  function together(name, inside) {
    if (inside.length === 1) return inside[0];
    const sums = model().entries.map((_, side) => inside.reduce((sum, layer) => sum + (layer.sums[side] ?? 0), 0));
    const added = model().entries.map((_, side) => inside.reduce((sum, layer) => {
      Object.entries(layer.parts[side] ?? {}).forEach(([part, value]) => { sum[part] = (sum[part] ?? 0) + value; });
      return sum;
    }, {}));
    return { name, kind: `${inside.length} layers`, population: null, sums, parts: added };
  }
  function bars(items, rows, side, thick) {
    const stack = thick ? "own" : "beside", width = thick ? 13 : 7;
    const stacked = items.map(({ name, index }) => ({
      name, type: "bar", stack, barWidth: width, barGap: "20%", itemStyle: { ...R.fill(index), opacity: thick ? 1 : 0.75 },
      data: rows.map((layer) => layer.parts[side]?.[name] ?? 0), side,
    }));
    // An empty piece at the end of the stack carries the sum.
    const sum = { type: "bar", stack, barWidth: width, silent: true, tooltip: { show: false }, data: rows.map(() => 0),
      label: { show: thick, position: "right", distance: 4, ...R.text(11, "ink"), formatter: ({ dataIndex }) => (rows[dataIndex].sums[side] ? J(rows[dataIndex].sums[side]) : "") } };
    return [...stacked, sum];
  }

  R.add("energy-layers", (view, width) => {
    const key = beside(view), other = model().entries.indexOf(key), rows = layers(view);
    const items = parts().filter(({ name }) => rows.some((layer) => layer.parts.some((side) => side[name])));
    if (!rows.length) return null;
    const note = document.getElementById("energy-layers-note");
    const whole = model().layers.length, names = R.labels(rows.map((layer) => layer.name), width < 500 ? 15 : 34);
    note.textContent = [key ? `Upper, thick bar: ${label("network").toLowerCase()}. Lower, thin bar: ${label(key).toLowerCase()}.` : "",
      whole > MOST && rows.some((layer) => / layers$/.test(layer.kind)) ? `${whole} layers in ${rows.length} rows; the table has each of them.` : ""].join(" ");
    document.querySelectorAll("[data-switch=energy-layers] button").forEach((button) => {
      button.hidden = !model().entries.includes(button.dataset.view);
      button.setAttribute("aria-pressed", String(button.dataset.view === key));
    });
    return R.base({
      grid: { left: 0, right: 58, top: 4, bottom: 22 + 22 * legendRows(items, width), outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
      legend: legend(items, { bottom: 0 }),
      tooltip: { trigger: "axis", axisPointer: { type: "shadow", shadowStyle: { color: R.colour("line"), opacity: 0.5 } }, formatter: (points) => {
        const layer = rows[points[0].dataIndex];
        const lines = [["", label("network"), ...(key ? [label(key)] : [])], ["Sum", J(layer.sums[0]), ...(key ? [J(layer.sums[other])] : [])]];
        items.filter(({ name }) => layer.parts[0]?.[name] || layer.parts[other]?.[name]).forEach(({ name, index }) => lines.push(
          [R.named(R.colour(`part${index % 12}`), name), J(layer.parts[0]?.[name]), ...(key ? [J(layer.parts[other]?.[name])] : [])]));
        return R.tip(layer.kind ? `${layer.name} · ${layer.kind}` : layer.name, lines);
      } },
      xAxis: R.axis({ type: "value", min: 0, splitNumber: 4, axisLabel: { formatter: J, hideOverlap: true } }),
      yAxis: R.axis({ type: "category", inverse: true, data: rows.map((layer) => layer.name),
        axisLabel: { ...R.text(12, "ink"), interval: 0, formatter: (_, row) => names[row] } }),
      series: [...bars(items, rows, 0, true), ...(other > 0 ? bars(items, rows, other, false) : [])],
    });
  }, { height: (width) => 50 + 31 * layers(R.charts.get("energy-layers").view).length + 22 * legendRows(parts(), width) });

  // ---- rates: a filled dot below its line, an empty triangle above it ----
  function known() {
    const all = model().layers.filter((layer) => R.isNumber(layer.rate) && R.isNumber(layer.even) && layer.even > 0);
    if (all.length <= MOST) return all;
    const nearest = new Set([...all].sort((a, b) => b.rate / b.even - a.rate / a.even).slice(0, MOST));
    return all.filter((layer) => nearest.has(layer));
  }
  const isAbove = (layer) => layer.rate > layer.even;
  const digits = (factor) => R.si(Number(factor.toPrecision(factor < 1.1 ? 3 : 2)));
  function stands(layer) {
    if (!(layer.rate > 0)) return "silent";
    return isAbove(layer) ? `▲ ${digits(layer.rate / layer.even)} × above` : `${digits(layer.even / layer.rate)} × below`;
  }

  R.add("energy-rates", (_, width) => {
    const rows = known(), narrow = width < 500, names = R.labels(rows.map((layer) => layer.name), narrow ? 15 : 34);
    if (!rows.length) return null;
    document.getElementById("energy-rates-note").textContent = rows.length < MOST ? ""
      : `Shown are the ${rows.length} layers that lie highest against their line; the table has every layer.`;
    const shown = rows.flatMap((layer) => [layer.rate, layer.even]).filter((value) => value > 0);
    const floor = 10 ** Math.floor(Math.log10(Math.min(...shown)) - 0.05), top = 10 ** Math.ceil(Math.log10(Math.max(...shown)) + 0.05);
    const at = (rate) => Math.max(rate, floor);
    const place = (api, row) => [api.coord([at(rows[row].rate), row]), api.coord([rows[row].even, row])];
    const warn = R.colour("warn"), ink = R.colour("ink"), own = R.colour("accent");
    return R.base({
      grid: { left: 0, right: narrow ? 92 : 110, top: 30, bottom: 8, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
      tooltip: { trigger: "item", formatter: (point) => {
        const layer = rows[point.dataIndex];
        return R.tip(R.named(R.population(layer.population), layer.name),
          [["Rate", R.percent(layer.rate, 2)], ["Breaks even at", R.percent(layer.even, 2)], ["The rate is", stands(layer)]]);
      } },
      xAxis: R.axis({ type: "log", min: floor, max: top, axisLabel: { hideOverlap: true, formatter: (v) => R.percent(v, v < 0.001 ? 2 : v < 0.01 ? 1 : 0) } }),
      yAxis: R.axis({ type: "category", inverse: true, data: rows.map((layer) => layer.name),
        axisLabel: { ...R.text(12, "ink"), interval: 0, formatter: (_, row) => names[row] } }),
      series: [{
        name: "Rates", type: "custom", data: rows.map((layer, row) => [at(layer.rate), row]), encode: { x: 0, y: 1 },
        renderItem: ({ dataIndex, coordSys }, api) => {
          const [[x, y], [line]] = place(api, dataIndex), above = isAbove(rows[dataIndex]), color = above ? warn : own;
          const mark = above
            ? { type: "polygon", shape: { points: [[x, y - 8], [x + 8, y + 6], [x - 8, y + 6]] }, style: { fill: R.colour("surface"), stroke: color, lineWidth: 2 } }
            : { type: "circle", shape: { cx: x, cy: y, r: 5.5 }, style: { fill: color } };
          return { type: "group", children: [
            { type: "line", shape: { x1: x, x2: line, y1: y, y2: y }, style: { stroke: color, lineWidth: above ? 4 : 1.5, lineDash: above ? null : [3, 3], opacity: 0.8 } },
            { type: "line", shape: { x1: line, x2: line, y1: y - 12, y2: y + 12 }, style: { stroke: ink, lineWidth: 2.5 } },
            mark,
            { type: "text", style: { text: stands(rows[dataIndex]), x: coordSys.x + coordSys.width + 12, y, verticalAlign: "middle",
              fill: above ? warn : ink, fontSize: 12, fontWeight: above ? 600 : 400, fontFamily: R.text().fontFamily } },
          ] };
        },
      }],
      graphic: [{ type: "group", left: 0, top: 0, silent: true, children: key(own, ink, warn) }],
    });
  }, { height: () => 66 + 28 * known().length });

  function key(own, ink, warn) {
    const text = (words, x) => ({ type: "text", style: { text: words, x, y: 8, verticalAlign: "middle", fill: R.colour("ink"), font: `12px ${R.text().fontFamily}` } });
    return [
      { type: "circle", shape: { cx: 6, cy: 8, r: 5.5 }, style: { fill: own } }, text("fires", 16),
      { type: "line", shape: { x1: 64, x2: 64, y1: -2, y2: 18 }, style: { stroke: ink, lineWidth: 2.5 } }, text("breaks even", 72),
      { type: "polygon", shape: { points: [[160, 1], [168, 15], [152, 15]] }, style: { fill: R.colour("surface"), stroke: warn, lineWidth: 2 } }, text("fires above it", 174),
    ];
  }
})();
