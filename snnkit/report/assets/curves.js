// Lines over epochs, steps or sizes of batches: what the charts of trainings without labels have in common.
"use strict";
(() => {
  const R = Report;
  // Lines differ in dash and symbol as well as in colour.
  const LOOKS = [["accent", "solid", "circle"], ["ink", [6, 4], "rect"], ["part6", [2, 3], "triangle"], ["warn", [9, 3, 2, 3], "diamond"],
    ["part8", [4, 2], "circle"], ["muted", [1, 3], "rect"]];

  // Positive values that span more than a decade stand on a logarithmic axis.
  function spans(lines) {
    const values = lines.flatMap((line) => line.values).filter(R.isNumber);
    return values.length > 1 && Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) > 10;
  }

  // The height of the lines' names above a chart.
  R.legendRoom = (lines, width) => 24 * Math.ceil(lines.reduce((sum, line) => sum + 46 + 7 * line.name.length, 0) / width);

  // x: values of the axis, name: what they are, lines: [{name, values}], words: a value as words, said: a title and
  // further lines of the box for a place, marks: words of the axis, log: "auto", true or false, number: "value" or "log"
  // where x is an axis of numbers, spaced: whether words have room at both ends.
  R.curves = ({ x, name, lines, width, words = (value) => R.si(value), marks = words, said = () => ({}), log = "auto", range = {}, number = "", spaced = x.length < 2 }) => {
    const onLog = log === "auto" ? spans(lines) : log, few = x.length < 40;
    const series = lines.map((line, index) => {
      const [colour, dash, symbol] = LOOKS[index % LOOKS.length], rgb = line.rgb || R.colour(line.colour || colour);
      // 0.35000000000000003 would lie outside of an axis that ends at 0.35, and have no box.
      const values = (line.drawn || line.values).map((value) => (R.isNumber(value) ? Number(value.toPrecision(12)) : null));
      return {
        name: line.name, type: "line", connectNulls: true, silent: line.silent === true, symbol: line.silent ? "none" : symbol, symbolSize: 6, showSymbol: few,
        data: number ? values.map((value, at) => [x[at], value]) : values, lineStyle: { width: index ? 1.8 : 2.4, type: line.dash || dash, color: rgb }, itemStyle: { color: rgb },
      };
    });
    return R.base({
      grid: { left: 6, right: 24, top: lines.length > 1 ? 16 + R.legendRoom(lines, width) : 18, bottom: 30, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
      legend: { show: lines.length > 1, left: 0, top: 0, padding: 0, itemWidth: 26, itemGap: 14, textStyle: R.text(12, "ink"), selectedMode: false },
      tooltip: { trigger: "axis", formatter: (points) => {
        const at = points[0].dataIndex, { title, more = [], notes = [] } = said(at);
        const found = lines.filter((line) => !line.silent).map((line) => [R.named(series[lines.indexOf(line)].itemStyle.color, line.name), words(line.values[at])]);
        return R.tip(title || `${name[0].toUpperCase()}${name.slice(1)} ${x[at]}`, [...found, ...more], notes);
      } },
      xAxis: R.axis({ type: number || "category", logBase: 2, ...(number ? { scale: true, min: "dataMin", max: "dataMax" } : { data: x, boundaryGap: spaced }), name, nameLocation: "middle", nameGap: 28,
        splitLine: { show: false }, axisLabel: { hideOverlap: true, ...(number ? { formatter: (value) => R.whole(value) } : {}) } }),
      yAxis: R.axis({ type: onLog ? "log" : "value", scale: true, splitNumber: 4, ...range, axisLabel: { formatter: marks, hideOverlap: true } }),
      series,
    });
  };
})();
