// What a network finds in images: each chart as its block says.
"use strict";
(() => {
  const R = Report, it = R.data.found;
  if (!it) return;
  const DRAWN = {
    confusion: ({ classes, counts, unit }) => {
      const shown = (_, share) => (share < 0.005 ? "" : R.percent(share, 1).replace(".0", ""));
      return [(_, width) => R.taken({ classes, counts, unit: { name: unit, shown }, width }),
        { height: R.tall(classes.length), renderer: classes.length > 30 ? "canvas" : "svg" }];
    },
    // Shares from 0 to 1; colours of classes are made darker, or lighter on a dark page, so that thin lines are seen.
    curves: ({ x, axis, at, views, numbers }) => [(view, width) => {
      const { lines } = views.find(({ key }) => key === view) || views[0];
      const seen = lines.map(({ name, values, rgb }) => ({ name, values, rgb: rgb && R.mix(rgb, R.colour("ink"), 0.3) }));
      return R.curves({ x, name: axis, lines: seen, width, log: false, number: numbers ? "value" : "", spaced: !numbers, range: { min: 0, max: 1, interval: 0.25, scale: false },
        words: (value) => R.percent(value), marks: (value) => R.percent(value, 0), said: (place) => ({ title: at.replace("{}", x[place]) }) });
    }, { height: (width) => 300 + Math.max(...views.map(({ lines }) => R.legendRoom(lines, width))) }],
  };
  it.forEach(({ id, kind, ...block }) => { const [build, how] = DRAWN[kind](block); R.add(`found-${id}`, build, how); });
})();
