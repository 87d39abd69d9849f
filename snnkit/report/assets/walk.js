// What the mouse shows of a chart, the keyboard shows too: arrow keys go from value to value and say it aloud.
"use strict";
(() => {
  const R = Report, says = document.getElementById("walk-says");
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

  // [series, datum] of everything that has a box; where a box tells of all series at once, of the first alone.
  function stops(chart) {
    const option = chart.getOption(), together = option.tooltip[0].trigger === "axis";
    const known = option.series.flatMap((series, index) => (series.silent || !series.data ? [] : [[series, index]]));
    if (together) return known.slice(0, 1).flatMap(([series, index]) => series.data.map((_, datum) => [index, datum]));
    const empty = (value) => value === null || value === 0;
    return known.flatMap(([series, index]) => series.data.map((value, datum) => [index, datum, value])
      .filter(([, , value]) => !empty(value) && !empty(value?.value)));
  }
  function show(entry, place) {
    const all = stops(entry.chart);
    if (!all.length) return;
    entry.at = Math.max(0, Math.min(place, all.length - 1));
    const [seriesIndex, dataIndex] = all[entry.at];
    entry.chart.dispatchAction({ type: "showTip", seriesIndex, dataIndex });
    const box = entry.element.querySelector(".tip");
    says.textContent = box ? [...box.querySelectorAll("b, tr, p")].map((part) => [...(part.cells || [part])]
      .map((cell) => cell.textContent).join(" ")).join("; ") : "";
  }
  function hide(entry) {
    entry.chart.dispatchAction({ type: "hideTip" });
    says.textContent = "";
  }

  const shown = (event) => [...R.charts.values()].find(({ element }) => element === event.target);
  document.addEventListener("keydown", (event) => {
    const entry = shown(event);
    if (!entry || !entry.chart || event.altKey || event.ctrlKey || event.metaKey) return;
    const now = entry.at ?? -1;
    if (event.key in step) show(entry, now < 0 ? 0 : now + step[event.key]);
    else if (event.key === "Home") show(entry, 0);
    else if (event.key === "End") show(entry, Infinity);
    else if (event.key === "Escape") hide(entry);
    else return;
    event.preventDefault();
  });
  document.addEventListener("focusout", (event) => {
    const entry = shown(event);
    if (!entry || !entry.chart) return;
    entry.at = -1;
    hide(entry);
  });
})();
