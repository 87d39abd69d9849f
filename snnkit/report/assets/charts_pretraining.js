// Training without labels: the loss and its parts, the spread of features above the line of collapse, assignments.
"use strict";
(() => {
  const R = Report, it = R.data.pretraining;
  if (!it) return;
  const { epochs, loss, spread, shares, limit } = it;

  if (loss.length) R.add("pretraining-loss", (_, width) => R.curves({
    x: epochs, name: "epoch", lines: loss, width, marks: (value) => R.si(value, "", 5),
  }), { height: 300 });

  // On a logarithmic axis, which has no zero: features that are all the same are drawn on its lower edge.
  const edge = limit / 10;
  if (spread.length) R.add("pretraining-spread", (_, width) => R.curves({
    x: epochs, width, name: "epoch", log: true, range: { min: edge, max: 1 }, words: (value) => (R.isNumber(value) ? String(Number(value.toPrecision(2))) : "–"),
    lines: [...spread.map((line) => ({ ...line, drawn: line.values.map((value) => (R.isNumber(value) ? Math.max(value, edge) : null)) })),
      { name: "Line of collapse", values: epochs.map(() => limit), silent: true, colour: "bad", dash: [6, 4] }],
    said: (at) => ({ notes: spread[0].values[at] < limit ? ["Below the line of collapse."] : [] }),
  }), { height: 300 });

  if (shares.length) R.add("pretraining-shares", (_, width) => R.curves({
    x: epochs, width, name: "epoch", lines: shares, log: false, range: { min: 0, max: 1, interval: 0.25 }, words: (value) => R.percent(value, 1).replace(".0", ""),
  }), { height: 300 });
})();
