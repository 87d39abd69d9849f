// The core map: tiles of a mesh, the cores in them, coloured by population or by load.
"use strict";
(() => {
  const R = Report, it = R.data.cores;
  if (!it) return;
  const { mesh, limits } = it, LIMITED = [["Neurons", "neurons", "neurons"], ["Input axons", "in_axons", "in_axons"],
    ["Output axons", "out_axons", "out_axons"], ["Synapse memory, bits", "synapse_bits", "synapse_bits"]];
  const columns = Math.ceil(Math.sqrt(mesh.cores_per_tile)), lines = Math.ceil(mesh.cores_per_tile / columns);
  const mostEvents = Math.max(1e-12, ...it.cores.map((core) => core.events_per_image || 0));
  let lit = null;  // the population under the pointer in the table

  // Every spot of every tile: with its core, or empty.
  const tiles = new Map();
  it.cores.forEach((core) => {
    const key = `${core.x},${core.y}`;
    tiles.set(key, (tiles.get(key) || []).concat(core));
  });
  const spots = [];
  for (let y = 0; y < mesh.height; y++) for (let x = 0; x < mesh.width; x++) {
    const inside = (tiles.get(`${x},${y}`) || []).sort((a, b) => (a.id ?? 0) - (b.id ?? 0));
    for (let slot = 0; slot < mesh.cores_per_tile; slot++) spots.push({ x, y, slot, core: inside[slot] || null });
  }

  const fill = (core) => (limits.synapse_bits ? (core.synapse_bits || 0) / limits.synapse_bits : 0);
  function paint(core, view) {
    if (view === "memory") return [R.ramp(Math.min(fill(core), 1)), R.percent(fill(core), 0).replace(/\s/g, "")];
    if (view === "events") return [R.ramp((core.events_per_image || 0) / mostEvents), R.si(core.events_per_image)];
    return [R.population(core.population), R.isNumber(core.id) ? String(core.id) : ""];
  }

  // Either every core carries its words or none does.
  const longest = (view) => Math.max(...it.cores.map((core) => paint(core, view)[1].length));

  function layout(width) {
    const size = width / mesh.width, tall = Math.min(Math.max(size * 0.62, 16), 110);
    return { size, tall, height: Math.ceil(tall * mesh.height) };
  }

  function drawSpot(spot, view, letters, { size, tall }) {
    const gap = size > 60 ? 5 : size > 25 ? 2 : 1, inner = size > 60 ? 3 : 1;
    const w = (size - 2 * gap - (columns - 1) * inner - 2 * inner) / columns, h = (tall - 2 * gap - (lines - 1) * inner - 2 * inner) / lines;
    const x = spot.x * size + gap + inner + (spot.slot % columns) * (w + inner), y = spot.y * tall + gap + inner + Math.floor(spot.slot / columns) * (h + inner);
    const [colour, words] = spot.core ? paint(spot.core, view) : ["transparent", ""];
    const dimmed = spot.core && lit !== null && spot.core.population !== lit;
    const children = [{
      type: "rect", shape: { x, y, width: w, height: h, r: Math.min(4, w / 5) },
      style: spot.core ? { fill: colour, opacity: dimmed ? 0.13 : 1 } : { fill: "transparent", stroke: R.colour("line"), lineWidth: 1 },
    }];
    if (spot.slot === 0) children.unshift({
      type: "rect", shape: { x: spot.x * size + gap / 2, y: spot.y * tall + gap / 2, width: size - gap, height: tall - gap, r: Math.min(8, size / 10) },
      style: { fill: "transparent", stroke: R.colour("line"), lineWidth: 1 }, silent: true,
    });
    if (words && w > 6 * letters + 6 && h > 14 && !dimmed) children.push({
      type: "text", silent: true, style: { text: words, x: x + w / 2, y: y + h / 2, align: "center", verticalAlign: "middle",
        fill: R.readableOn(colour), fontSize: w > 56 ? 12 : 11, fontFamily: R.text().fontFamily },
    });
    return { type: "group", children };
  }

  function describe(point) {
    const { core, x, y } = spots[point.dataIndex];
    if (!core) return R.tip("Free core", [["Tile", `${x}, ${y}`]]);
    const rows = LIMITED.filter(([, key]) => R.isNumber(core[key])).map(([label, key, limit]) =>
      [label, R.whole(core[key]), R.isNumber(limits[limit]) ? `of ${R.whole(limits[limit])}` : "",
       limits[limit] ? R.percent(core[key] / limits[limit], 0) : ""]);
    if (R.isNumber(core.synapses)) rows.push(["Synapses", R.whole(core.synapses), "", ""]);
    if (R.isNumber(core.events_per_image)) rows.push(["Events per image", R.whole(core.events_per_image), "", ""]);
    return R.tip(R.named(R.population(core.population), core.name), rows, [`Core ${core.id ?? "–"}, tile ${x}, ${y}`]);
  }

  function legend(view) {
    const box = document.getElementById("cores-legend");
    const ends = view === "memory" ? ["0 %", "100 % of a core's synapse memory"] : ["0", `${R.si(mostEvents)} events per image`];
    const used = [...new Set(it.cores.map((core) => core.population))].filter((index) => index !== null).sort((a, b) => a - b);
    box.innerHTML = view === "population"
      ? used.map((index) => `<span>${R.shown(R.named(`var(--p${index})`, R.data.populations[index]))}</span>`).join("")
      : `<span>${ends[0]}</span><span class="ramp"></span><span>${ends[1]}</span>`;
  }

  R.add("cores", (view, width) => {
    const shown = view || "population", place = layout(width), letters = longest(shown);
    legend(shown);
    return R.base({
      tooltip: { trigger: "item", formatter: describe },
      xAxis: { show: false, min: 0, max: 1 }, yAxis: { show: false, min: 0, max: 1 },
      grid: { left: 0, right: 0, top: 0, bottom: 0 },
      series: [{ type: "custom", coordinateSystem: null, data: spots.map((_, index) => index), animation: false,
        renderItem: (params) => drawSpot(spots[params.dataIndex], shown, letters, place) }],
    });
  }, { height: (width) => layout(width).height });

  document.querySelectorAll("#cores-populations tbody tr").forEach((row) => {
    const light = (population) => { lit = population; R.draw(R.charts.get("cores")); };
    if (row.dataset.population === "") return;
    row.addEventListener("mouseenter", () => light(Number(row.dataset.population)));
    row.addEventListener("mouseleave", () => light(null));
  });
})();
